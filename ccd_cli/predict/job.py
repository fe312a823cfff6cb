"""Outcome and fingerprints of `ccd predict`: what was written, what can be skipped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import ccd_cli
from ccd_cli.cluster.pool import Pool
from ccd_cli.core.checksums import is_intact, is_sealed
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError, Interrupted, Unwritable
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals
from ccd_cli.geometry.camera import Source
from ccd_cli.media.find import Media
from ccd_cli.media.map_read import find_map
from ccd_cli.media.map_write import SKY, Origin, with_suffix
from ccd_cli.media.not_read import NotRead
from ccd_cli.media.outputs import read_sidecar
from ccd_cli.predict.settings import Settings
from ccd_cli.runtimes.choose import Work
from ccd_cli.teachers.model import Model


@dataclass
class Outcome:
    """The result of a run: one record per finished or skipped input, (input, reason) for each failed one, and what lies in
    folders and is passed over.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: int = 0
    not_read: NotRead = field(default_factory=NotRead)


@dataclass(frozen=True)
class Job:
    """One run of `ccd predict`: the model, the settings, the compute, and where progress and results are reported.

    `inputs` are all of the run, those of other shards too. `passes` counts what the network does for them, where shards do that
    together: all of them choose one runtime. `pool` None: this process predicts.
    """

    model: Model
    settings: Settings
    compute: Compute
    report: Report
    signals: Signals
    outcome: Outcome
    inputs: list[Media]
    passes: Callable[[], int] | None = None
    pool: Pool | None = None

    def batch(self, gpu_default: int) -> int:
        """Return the batch size: the user's, else 1 on a CPU and `gpu_default` on a GPU."""
        return self.settings.batch or (gpu_default if self.compute.type == "cuda" else 1)

    def begin(self, images: int, frames: Callable[[], int] = lambda: 0) -> None:
        """Load the model, unless that is done, for `images` and `frames()` of videos; raises what loading it raises."""
        if not self.model.loaded:
            size = self.model.input_size(3, 4)  # as most photos are
            passes = images + frames() if self.passes is None else self.passes()
            self.model.begin(Work(passes, size and size[0] * size[1]))

    def fail(self, item: Media, error: CcdError) -> None:
        """Record that one input failed; re-raises `error` where it is not specific to this input."""
        if isinstance(error, Unwritable | Interrupted):
            raise error
        reason = error.message.removeprefix(f"{item.path}: ")
        reason += f"{'' if reason.endswith('.') else '.'} {error.hint}" if error.hint else ""
        self.outcome.failed.append((str(item.path), reason))
        self.report.warn(f"{item.path}: {reason}")

    def skip(self, item: Media) -> None:
        """Record that the results of one input exist already."""
        sidecar = with_suffix(self.settings.out / item.stem, ".json")
        self.outcome.done.append({"input": str(item.path), "sidecar": str(sidecar), "skipped": True})
        self.outcome.skipped += 1


def existing_results(base: Path, fingerprint: str, job: Job) -> dict[str, Any] | None:
    """Return the sidecar of complete results with this fingerprint, else None; says which of them are damaged.

    Sizes and checksums are compared with the sidecar's; of large files a sample, with `--verify` every byte.
    """
    found = read_sidecar(base)
    if found is None or found["fingerprint"] != fingerprint:
        return None
    side, names = with_suffix(base, ".json"), [str(name) for name in found["files"].values()]
    if "checksums" not in found:
        return None  # of an earlier version
    if not is_sealed(found) or not isinstance(recorded := found["checksums"], dict):
        job.report.warn(f"{side} was changed or damaged since it was written: the results are made again.")
        return None
    if SKY in job.settings.save and SKY not in found["files"] and job.model.can_mark_sky:
        return None  # made in a runtime that gives no mask
    for name in names:
        if not is_intact(base.parent / name, recorded.get(name), job.settings.verify):
            job.report.warn(f"{base.parent / name} is gone, changed or damaged: the results are made again.")
            return None
    return found


class Fingerprints(NamedTuple):
    """Hashes of everything that determines the values of a map (`map`), and all results of an input (`all`).

    `made_with` are the facts behind `map` in words, for the sidecar: from them a later run tells what differs.
    """

    map: str
    all: str
    made_with: dict[str, Any]


def fingerprints_of(
    item: Media, job: Job, facts: Mapping[str, object] = MappingProxyType({}), reader: int = 1
) -> Fingerprints:
    """Return the fingerprints of an input: file size and time, model, settings.

    Runtimes that compute in fp32 make the same map (to 1e-5 of its range), so they do not count: what one has finished, another
    does not do again. `facts` (a video's span and temporal alignment) and the version of the `reader` also determine the map.

    Raises CcdError where the file, or its reference depth, does not exist.
    """
    model, settings = job.model, job.settings
    precision = model.computed or job.compute.precision
    try:
        about = item.path.stat()
        reference = reference_file(item, settings)
        measured = reference and (str(reference), reference.stat().st_size, reference.stat().st_mtime_ns)
    except OSError as error:
        raise CcdError(f"{item.path}: {error.strerror or error}.") from error
    values: list[object] = [
        ccd_cli.__version__,
        (about.st_size, about.st_mtime_ns),
        (model.about.name, model.about.checkpoint_sha256, model.about.network, model.resolution, precision),
        (settings.intrinsics, settings.fov),  # some models use the focal length
        *([tuple(facts.items()), reader] if facts else []),
        *(["full size"] if settings.full_size else []),
    ]
    made_with = {
        "input": _relative(item.path, settings.out),
        "input_bytes": about.st_size,
        "input_time_ns": about.st_mtime_ns,
        "network": model.about.network,
        "resolution": model.resolution,
        "precision": precision,
        "intrinsics": settings.intrinsics and list(astuple(settings.intrinsics)),
        "fov": settings.fov,
        **({"full_size": True} if settings.full_size else {}),
        **facts,
    }
    results: list[object] = [
        (sorted(settings.save), settings.cmap),
        settings.pointcloud and (settings.cloud_format, settings.preview, settings.cloud, settings.every),
        (measured, settings.ref_scale),
    ]
    return Fingerprints(_hash(values), _hash(values + results), made_with)


def _relative(path: Path, folder: Path) -> str:
    """The path as seen from the folder; on Windows whole, where it is on another drive."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.as_posix()


def _hash(facts: list[object]) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def reference_file(item: Media, settings: Settings) -> Path | None:
    """Return the reference depth file of an input, None without --align-to; raises ImageError where it is missing."""
    if settings.align_to is None or not settings.align_to.is_dir():
        return settings.align_to
    return find_map(settings.align_to, (item.stem, item.stem.with_name(item.path.name)), image=item.path)


def origin(model: Model, shape: tuple[int, int], source: Source | None, fingerprints: Fingerprints) -> Origin:
    """Return the provenance, for the sidecar, of a map of `shape` (height, width)."""
    about = model.about
    resolution = model.short_side(*shape)
    made_by = (about.name, about.checkpoint_sha256, about.license, ccd_cli.__version__)
    return Origin(*made_by, resolution, source, fingerprints.all, fingerprints.map)
