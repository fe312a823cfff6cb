"""Videos whose results are there: what they were made with, and whether they are complete."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

from ccd_cli.core.errors import CcdError
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.geometry.kinds import Kind
from ccd_cli.media.find import Media
from ccd_cli.media.map_write import with_suffix
from ccd_cli.media.video.read import READER
from ccd_cli.media.video.write import parts_folder
from ccd_cli.predict.camera import kind_with
from ccd_cli.predict.job import Fingerprints, Job, existing_results, fingerprints_of
from ccd_cli.predict.temporal import Mode, default_mode
from ccd_cli.predict.video_clouds import discard_frames


def kind_of(job: Job) -> Kind:
    """Return the kind of the maps of a video, whose focal length is known where the user tells it."""
    told = job.settings.intrinsics is not None or job.settings.fov is not None
    return kind_with(job.model.about.arch, job.model.about.kind, told)


def mode_of(job: Job) -> Mode:
    """Return how the maps of a video are stabilized."""
    return job.settings.temporal or default_mode(kind_of(job))


def skip_finished(item: Media, job: Job) -> Fingerprints | None:
    """Return what a video's results are made with; None where they are complete already, which is recorded.

    A truncated video fails again. Raises what `fingerprints_of` raises.
    """
    settings, base = job.settings, job.settings.out / item.stem
    facts = {"temporal": mode_of(job), "start": settings.start, "end": settings.end, "stride": settings.stride}
    fingerprints = fingerprints_of(item, job, facts, READER)
    found = None if settings.overwrite else existing_results(base, fingerprints.all, job)
    if found is None:
        return fingerprints
    _remove_leftovers(base)
    job.skip(item)
    job.report.note(f"{item.path}: has results with the same settings and is skipped (--overwrite redoes it)")
    if truncated := found.get("video", {}).get("truncated"):
        job.fail(item, CcdError(f"{truncated}"))
    return None


def _remove_leftovers(base: Path) -> None:
    """Remove the unfinished work of a run that was killed between its sidecar and its end, unless a run is at work there."""
    parts = parts_folder(with_suffix(base, ".json"))
    try:
        with exclusive_lock(parts, "") if parts.is_dir() else nullcontext():
            discard_frames(base)
            shutil.rmtree(parts, ignore_errors=True)
    except CcdError:
        return
