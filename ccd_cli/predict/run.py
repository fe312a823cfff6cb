"""Depth for images and videos: `ccd predict`.

Images are prefetched, predicted in batches and written in the background; videos are processed frame by frame. Existing
results with the same fingerprint are skipped. A bad input is reported, and the rest is processed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ccd_cli.cluster.pool import Pool
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.files import sweep_again
from ccd_cli.core.options import changed
from ccd_cli.core.report import Report
from ccd_cli.core.shard import FINISH, Shard
from ccd_cli.core.signals import Signals
from ccd_cli.media.find import Media, find_media
from ccd_cli.media.not_read import NotRead
from ccd_cli.media.outputs import claim, read_sidecar, write_failures
from ccd_cli.predict.job import Job, Outcome
from ccd_cli.predict.photos import predict_images
from ccd_cli.predict.remote import place_in, predict_in_pool
from ccd_cli.predict.settings import Settings
from ccd_cli.predict.video import count_frames, predict_video
from ccd_cli.teachers.model import Model


def run(
    inputs: Sequence[str],
    model: Model,
    settings: Settings,
    compute: Compute,
    report: Report,
    found: tuple[list[Media], list[tuple[str, str]], NotRead] | None = None,
    pool: Pool | None = None,
) -> Outcome:
    """Predict all images and videos that `inputs` name; see `find_media`.

    `found` is what `find_media` returned where the caller has looked already. With `settings.shard` one shard of them is
    predicted, with a `pool` its workers predict.

    Raises Unwritable where the output cannot be written, UsageProblem for one reference file with several inputs, and
    Interrupted after Ctrl-C, with finished results in place.
    """
    outcome = Outcome()
    if found is None:
        media, outcome.failed = find_media(inputs, (), settings.out, outcome.not_read)
    else:
        media, outcome.failed, outcome.not_read = found
    check_media(media, settings, outcome, report)
    with Signals() as signals:
        job = Job(model, settings, compute, report, signals, outcome, media, pool=pool)
        predict_media(shard_of(media, settings.shard), job)
        raise_if_stopped(signals)
    note_shard(job)
    return outcome


def shard_of(media: list[Media], shard: Shard | None) -> list[Media]:
    """Return the inputs of a shard: its images and its videos, which take longer, each by their index; all without a shard."""
    if shard is None:
        return media
    return shard.of([m for m in media if not m.video]) + shard.of([m for m in media if m.video])


def note_shard(job: Job) -> None:
    """Say that a shard is done, and how the whole is finished."""
    if (shard := job.settings.shard) is None:
        return
    count = len(shard_of(job.inputs, shard))
    done = f"is done ({count} of {len(job.inputs)} inputs)" if count else "has nothing to do (fewer inputs than shards)"
    job.report.note(f"Shard {shard} {done}. {FINISH}")


def check_media(media: list[Media], settings: Settings, outcome: Outcome, report: Report) -> None:
    """Warn of what is no input. Raises UsageProblem for one reference file with several inputs, and for inputs of a shard in the
    folder that other shards write to: these might take a result for one.
    """
    sweep_again()
    if settings.shard is not None:
        out = settings.out.resolve()
        if inside := next((m.path for m in media if m.path.resolve().is_relative_to(out)), None):
            raise UsageProblem(f"--shard: {inside} lies in the output folder.", "Choose another --out.")
    if settings.align_to is not None and settings.align_to.is_file() and len(media) > 1:
        raise UsageProblem(f"--align-to is one file for {len(media)} inputs.", "Give a folder of <stem>.png.")
    for name, reason in outcome.failed:
        report.warn(f"{name}: {reason}")
    for warning in outcome.not_read.warnings():
        report.warn(warning)
    if not any(m.video for m in media) and (unused := changed(settings, "Video")):
        report.warn(f"{', '.join(unused)}: for videos only; images are predicted one by one")


def predict_media(media: list[Media], job: Job) -> None:
    """Predict images and videos with one model, until a signal comes; what comes of them goes to `job.outcome`."""
    media = claimed(media, job)
    images, clips = [m for m in media if not m.video], [m for m in media if m.video]
    if job.settings.shard is not None:
        job = replace(job, passes=partial(_passes, job))
    if job.pool is not None:
        predict_in_pool(images, clips, job, job.pool, partial(_frames, clips, job))
    else:
        predict_images(images, job, partial(_frames, clips, job))
        for place, clip in enumerate(clips):
            if job.signals.received is None:
                predict_video(clip, job, partial(_frames, clips[place:], job))
    if job.settings.shard is not None:
        return  # no file is of two processes: without --shard, inputs that fail are tried again and listed
    there = {
        str(m.path) for m in media if read_sidecar(job.settings.out / m.stem)
    }  # also of earlier runs, which are kept
    failed = sorted(job.outcome.failed, key=place_in(job.inputs))
    write_failures(job.settings.out, ((name, why) for name, why in failed if name not in there), there)


def raise_if_stopped(signals: Signals) -> None:
    """Raise Interrupted after a signal."""
    if signals.received is not None:
        raise signals.interruption("Interrupted.", "Finished results are in place; run again to resume.")


def _frames(clips: list[Media], job: Job) -> int:
    """About how many frames of these videos will be predicted."""
    return sum(count_frames(clip, job) for clip in clips)


def _passes(job: Job) -> int:
    """About how many images and frames all shards together predict."""
    clips = [m for m in job.inputs if m.video]
    return len(job.inputs) - len(clips) + _frames(clips, job)


def claimed(media: list[Media], job: Job) -> list[Media]:
    """Return those of `media` whose results would not overwrite an input or a foreign file; the others fail."""
    inputs, free = {item.path.resolve() for item in job.inputs}, []
    for item in media:
        try:
            claim(job.settings.out / item.stem, inputs, job.settings.overwrite)
            free.append(item)
        except CcdError as error:
            job.fail(item, error)
    return free
