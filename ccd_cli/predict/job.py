"""Settings, outcome and fingerprints of `ccd predict`: what is requested, what was written, what can be skipped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import ccd_cli
from ccd_cli.core.errors import CcdError, Interrupted, Unwritable, UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Runtime, Signals
from ccd_cli.geometry.camera import Source, resolve_camera
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.media.colorize import color_table
from ccd_cli.media.exif import read_focal_35mm
from ccd_cli.media.find import Media
from ccd_cli.media.map_read import find_map
from ccd_cli.media.map_write import ITEMS, Origin, with_suffix
from ccd_cli.media.outputs import read_sidecar
from ccd_cli.pointcloud.cloud import CloudSettings
from ccd_cli.pointcloud.files import Format
from ccd_cli.predict.temporal import Mode
from ccd_cli.teachers.model import Model


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to make of each input; the model and its resolution are told apart from it.

    `cloud` None: no point clouds. `intrinsics` are in pixels of the photo. `start`, `end`: seconds of a video; `stride`:
    every n-th frame; `every`: a point cloud every n frames (None: one a second of the clip). `batch` None: one photo at a
    time on CPUs, eight on GPUs.
    """

    out: Path
    save: tuple[str, ...] = ("color", "png16")
    cmap: str = "inferno"
    batch: int | None = None
    overwrite: bool = False
    intrinsics: Camera | None = None
    fov: float | None = None
    cloud: CloudSettings | None = None
    cloud_format: Format = "ply"
    preview: bool = True
    align_to: Path | None = None
    ref_scale: float | None = None
    temporal: Mode | None = None
    start: float = 0.0
    end: float | None = None
    stride: int = 1
    every: int | None = None

    def __post_init__(self) -> None:
        """Raise UsageProblem for what cannot be made, before anything is loaded."""
        if unknown := sorted(set(self.save) - set(ITEMS)):
            raise UsageProblem(f"--save {','.join(unknown)}: no such output.", f"Choose from {', '.join(ITEMS)}.")
        if not self.save and self.cloud is None:
            raise UsageProblem("--save is empty, so there is nothing to make.", f"Choose from {', '.join(ITEMS)}.")
        if (self.batch or 1) < 1 or self.stride < 1 or (self.every or 1) < 1:
            raise UsageProblem("--batch, --stride and --every are 1 or more.")
        if self.end is not None and self.end <= self.start:
            raise UsageProblem(f"--start {self.start:g} --end {self.end:g}: the end must lie behind the start.")
        if self.align_to is not None and not self.align_to.exists():
            raise UsageProblem(f"--align-to: {self.align_to} does not exist.", "Give a file or a folder.")
        if self.ref_scale is not None and self.align_to is None:
            raise UsageProblem("--ref-scale belongs to --align-to, which is not given.")
        color_table(self.cmap)
        resolve_camera(1, 1, intrinsics=self.intrinsics, fov=self.fov)


@dataclass
class Outcome:
    """The result of a run: one record per finished or skipped input, and (input, reason) for each failed one."""

    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: int = 0


@dataclass(frozen=True)
class Job:
    """One run of `ccd predict`: the model, the settings, the runtime, and where progress and results are reported."""

    model: Model
    settings: Settings
    runtime: Runtime
    report: Report
    signals: Signals
    outcome: Outcome

    def batch(self, gpu_default: int) -> int:
        """Return the batch size: the user's, else 1 on a CPU and `gpu_default` on a GPU."""
        return self.settings.batch or (gpu_default if self.runtime.device.type == "cuda" else 1)

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


def existing_results(base: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the sidecar of complete results with this fingerprint, else None."""
    found = read_sidecar(base)
    if found is None or found["fingerprint"] != fingerprint:
        return None
    files = [base.parent / str(name) for name in found["files"].values()]
    return found if all(p.exists() and p.parent == base.parent for p in files) else None


class Fingerprints(NamedTuple):
    """Hashes of everything that determines the values of a map (`map`), and all results of an input (`all`)."""

    map: str
    all: str


def fingerprints_of(item: Media, job: Job, *extra: object) -> Fingerprints:
    """Return the fingerprints of an input: file size and time, model, settings; `extra` also determines the map.

    Raises CcdError where the file, or its reference depth, does not exist.
    """
    model, settings, runtime = job.model, job.settings, job.runtime
    try:
        about = item.path.stat()
        reference = reference_file(item, settings)
        measured = reference and (str(reference), reference.stat().st_size, reference.stat().st_mtime_ns)
    except OSError as error:
        raise CcdError(f"{item.path}: {error.strerror or error}.") from error
    cloud = settings.cloud
    values = [
        ccd_cli.__version__,
        (about.st_size, about.st_mtime_ns),
        (model.teacher.name, model.teacher.checkpoint_sha256, model.resolution, runtime.precision),
        (settings.intrinsics, settings.fov),  # some models use the focal length
        *extra,
    ]
    results = [
        (sorted(settings.save), settings.cmap),
        cloud and (settings.cloud_format, settings.preview, cloud, settings.every),
        (measured, settings.ref_scale),
    ]
    return Fingerprints(*(hashlib.sha256(repr(facts).encode()).hexdigest() for facts in (values, values + results)))


def reference_file(item: Media, settings: Settings) -> Path | None:
    """Return the reference depth file of an input, None without --align-to; raises ImageError where it is missing."""
    if settings.align_to is None or not settings.align_to.is_dir():
        return settings.align_to
    return find_map(settings.align_to, (item.stem, item.stem.with_name(item.path.name)), (".png", ".npy"))


def origin(model: Model, shape: tuple[int, int], source: Source | None, fingerprints: Fingerprints) -> Origin:
    """Return the provenance, for the sidecar, of a map of `shape` (height, width)."""
    teacher = model.teacher
    resolution = model.short_side(*shape)
    made_by = (teacher.name, teacher.checkpoint_sha256, teacher.license, ccd_cli.__version__)
    return Origin(*made_by, resolution, source, fingerprints.all, fingerprints.map)


def image_camera(
    item: Media, shape: tuple[int, int], depth_map: DepthMap | None, settings: Settings
) -> tuple[Camera, Source]:
    """Return an image's camera and its source; `depth_map` None: without the model's prediction."""
    return resolve_camera(
        *shape,
        intrinsics=settings.intrinsics,
        fov=settings.fov,
        focal_35mm=None if item.video else read_focal_35mm(item.path),
        model=None if depth_map is None else depth_map.camera,
    )
