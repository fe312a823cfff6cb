"""Depth for photos and videos: `ccd predict`.

Photos are read, predicted and written at the same time, a bounded number ahead; videos frame by frame. What is finished
and was made by the same settings is not made again. A bad input is named, and the rest is done.
"""

from __future__ import annotations

from collections.abc import Sequence

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Runtime, Signals
from ccd_cli.media.find import Media, find_media
from ccd_cli.media.outputs import claim
from ccd_cli.predict.job import Outcome, failed
from ccd_cli.predict.photos import predict_photos
from ccd_cli.predict.settings import Settings
from ccd_cli.predict.video import predict_video
from ccd_cli.teachers.model import Model


def run(
    words: Sequence[str], model: Model, settings: Settings, runtime: Runtime, report: Report, lines: Sequence[str] = ()
) -> Outcome:
    """Predict everything that `words` (and for `-` the list `lines`) stand for; see `find_media`.

    Raises Unwritable where nothing more can be written, UsageProblem for one reference of many inputs, and Interrupted
    after Ctrl-C with finished work in place.
    """
    media, bad = find_media(words, lines, settings.out)
    if settings.align_to is not None and settings.align_to.is_file() and len(media) > 1:
        raise UsageProblem(f"--align-to is one file for {len(media)} inputs.", "Give a folder of <stem>.png.")
    outcome = Outcome(failed=list(bad))
    for name, reason in bad:
        report.warn(f"{name}: {reason}")
    media = _claimed(media, settings, outcome, report)
    with Signals() as signals:
        predict_photos([m for m in media if not m.video], model, settings, runtime, report, signals, outcome)
        for clip in (m for m in media if m.video):
            if signals.received is None:
                predict_video(clip, model, settings, runtime, report, signals, outcome)
        if signals.received is not None:
            raise signals.interruption("Interrupted.", "What is finished is in place; run again to go on.")
    return outcome


def _claimed(media: list[Media], settings: Settings, outcome: Outcome, report: Report) -> list[Media]:
    """The inputs whose results replace nothing that is not a result; the others fail."""
    inputs, free = {item.path.resolve() for item in media}, []
    for item in media:
        try:
            claim(settings.out / item.stem, inputs, settings.overwrite)
            free.append(item)
        except CcdError as error:
            failed(item, error, outcome, report)
    return free
