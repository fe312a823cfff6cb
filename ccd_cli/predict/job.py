"""What became of the inputs of `ccd predict`, and the fingerprints that tell finished results from stale ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import ccd_cli
from ccd_cli.core.errors import CcdError, Interrupted, Unwritable
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Runtime
from ccd_cli.geometry.camera import Source, resolve_camera
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.media.exif import read_focal_35mm
from ccd_cli.media.find import Media
from ccd_cli.media.map_read import find_map
from ccd_cli.media.map_write import Origin
from ccd_cli.media.outputs import read_sidecar
from ccd_cli.predict.settings import Settings
from ccd_cli.teachers.model import Model


@dataclass
class Outcome:
    """What became of every input: one record for each that is finished, and the reasons of the others."""

    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: int = 0


def failed(item: Media, error: CcdError, outcome: Outcome, report: Report) -> None:
    """Note that one input could not be done; raises `error` again where it is not about this input alone."""
    if isinstance(error, Unwritable | Interrupted):
        raise error
    reason = error.message.removeprefix(f"{item.path}: ")
    reason += f"{'' if reason.endswith('.') else '.'} {error.hint}" if error.hint else ""
    outcome.failed.append((str(item.path), reason))
    report.warn(f"{item.path}: {reason}")


def finished(base: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the sidecar of results that are complete and were made with these settings from this input, else None."""
    found = read_sidecar(base)
    if found is None or found["fingerprint"] != fingerprint:
        return None
    files = [base.parent / str(name) for name in found["files"].values()]
    return found if all(p.exists() and p.parent == base.parent for p in files) else None


class Fingerprints(NamedTuple):
    """Hashes: of what decides the values of a map (`map`), and of what decides all results of an input (`all`)."""

    map: str
    all: str


def fingerprints_of(item: Media, model: Model, settings: Settings, runtime: Runtime, *extra: object) -> Fingerprints:
    """Return the marks of an input: its size and time, the model, the settings; `extra` decides the map as well.

    Raises CcdError where the file, or its reference depth, is gone.
    """
    try:
        about = item.path.stat()
        reference = reference_file(item, settings)
        measured = reference and (str(reference), reference.stat().st_size, reference.stat().st_mtime_ns)
    except OSError as error:
        raise CcdError(f"{item.path}: {error.strerror or error}.") from error
    values = [
        ccd_cli.__version__,
        (about.st_size, about.st_mtime_ns),
        (model.teacher.name, model.teacher.checkpoint_sha256, model.resolution, runtime.precision),
        (settings.intrinsics, settings.fov),  # some models use the focal length
        *extra,
    ]
    results = [
        (sorted(settings.save), settings.cmap),
        settings.pointcloud and (settings.cloud_format, settings.preview, settings.cloud, settings.every),
        (measured, settings.ref_scale),
    ]
    return Fingerprints(*(hashlib.sha256(repr(facts).encode()).hexdigest() for facts in (values, values + results)))


def reference_file(item: Media, settings: Settings) -> Path | None:
    """Return the reference depth of an input, None where none is asked for; raises ImageError where it is absent."""
    if settings.align_to is None or not settings.align_to.is_dir():
        return settings.align_to
    return find_map(settings.align_to, (item.stem, item.stem.with_name(item.path.name)), (".png", ".npy"))


def origin(model: Model, shape: tuple[int, int], source: Source | None, fingerprints: Fingerprints) -> Origin:
    """Return what a sidecar says about how a map of `shape` (height, width) was made."""
    teacher = model.teacher
    seen = model.short_side(*shape)
    made_by = (teacher.name, teacher.checkpoint_sha256, teacher.license, ccd_cli.__version__)
    return Origin(*made_by, seen, source, fingerprints.all, fingerprints.map)


def photo_camera(
    item: Media, shape: tuple[int, int], made: DepthMap | None, settings: Settings
) -> tuple[Camera, Source]:
    """Return a photo's camera and where it comes from; without a map, what is known before prediction."""
    return resolve_camera(
        *shape,
        intrinsics=settings.intrinsics,
        fov=settings.fov,
        focal_35mm=None if item.video else read_focal_35mm(item.path),
        model=None if made is None else made.camera,
    )
