"""Videos as files: what `ccd predict` writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from ccd_cli.api.clouds import GeometryOptions
from ccd_cli.api.depth import Intrinsics
from ccd_cli.api.model import Model, as_model
from ccd_cli.api.options import settings_from, text_of
from ccd_cli.api.reporting import plain_errors, report_for, warn
from ccd_cli.core.errors import CcdError, ImageError, UsageProblem
from ccd_cli.core.report import Report, Silent
from ccd_cli.media.find import find_media
from ccd_cli.media.outputs import read_sidecar
from ccd_cli.predict.run import run
from ccd_cli.predict.settings import Settings

if TYPE_CHECKING:
    from ccd_cli.pointcloud.settings import Format
    from ccd_cli.predict.temporal import Mode


class VideoOptions(GeometryOptions, total=False):
    """The options of `ccd predict` that concern a video; `save` also as a list."""

    save: str | tuple[str, ...] | list[str]
    cmap: str
    overwrite: bool
    verify: bool
    batch: int | None
    temporal: Mode | None
    start: float
    end: float | None
    stride: int
    intrinsics: Intrinsics | None
    fov: float | None
    pointcloud: bool
    every: int | None
    cloud_format: Format
    preview: bool
    align_to: str | os.PathLike[str] | None
    ref_scale: float | None


@dataclass(frozen=True)
class VideoResult:
    """What was written of a video: the `sidecar` JSON, the `files` by item, how many `frames`, of what `kind`; `skipped`: it was
    there already, made by the same settings.
    """

    sidecar: Path
    files: dict[str, Path]
    frames: int
    kind: str
    skipped: bool


def predict_video(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] = "ccd-out",
    model: Model | str | os.PathLike[str] | None = None,
    progress: bool = False,
    **options: Unpack[VideoOptions],
) -> VideoResult:
    """Predict a video and write color video, 16-bit video and sidecar into the folder `out`, as `ccd predict` does.

    `model` is what `load` returns or takes; `options` are those of the command, such as `save=("color", "npy")`, `temporal="ema"`,
    `start=2.0`. Temporally aligned; results of the same settings are skipped, and an interrupted run resumes. Raises CcdError for
    a file that is no video, that ends early (what decodes is written), and for results of other settings (`overwrite=True`
    replaces them); Interrupted after Ctrl-C.
    """
    with plain_errors():
        word = text_of("path", path)
        settings = settings_from(Settings, {**options, "out": out})
        if settings.shard is not None:
            raise UsageProblem("--shard divides many inputs: a video belongs to one shard.", "Predict it without.")
        found = find_media([word], out=settings.out)
        for _, reason in found[1]:
            raise ImageError(f"{word}: {reason}.")
        if len(found[0]) != 1 or not found[0][0].video:
            raise ImageError(f"{word}: not one video.", "Images are for load(...).predict.")
        loaded = as_model(model)
        report: Report = report_for(progress) if progress else Silent()
        outcome = run([word], loaded._loaded, settings, loaded._compute, report)
        for name, reason in outcome.failed:
            raise CcdError(f"{name}: {reason}")
        for text in report.warnings if isinstance(report, Silent) else ():
            warn(text)
        (record,) = outcome.done
        sidecar = Path(record["sidecar"])
        content = read_sidecar(sidecar.with_name(sidecar.name.removesuffix(".json")))
        if content is None:
            raise CcdError(f"{sidecar} cannot be read.")
        files = {item: sidecar.parent / str(name) for item, name in content["files"].items()}
        return VideoResult(sidecar, files, content["video"]["frames"], content["kind"], record["skipped"])
