"""Several models on the same inputs: the results of each in a folder of its own, and one picture of all side by side.

Models run one after the other, so that one network at a time is in memory. Each folder is what `ccd predict` makes with that
model alone; the pictures are made of the colored maps in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import ccd_cli
from ccd_cli.cluster.pool import Pool
from ccd_cli.core.compute import Compute
from ccd_cli.core.concurrency import BackgroundWork
from ccd_cli.core.errors import CcdError, Unwritable
from ccd_cli.core.files import write_json
from ccd_cli.core.paths import folder_name
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals
from ccd_cli.media.find import Media
from ccd_cli.media.map_sidecar import SIDECAR_KEY, SIDECAR_VERSION
from ccd_cli.media.map_write import SUFFIX, with_suffix, write_png
from ccd_cli.media.not_read import NotRead
from ccd_cli.media.outputs import read_sidecar, settle
from ccd_cli.media.photos import Limits, load_photo
from ccd_cli.predict.earlier import HINT
from ccd_cli.predict.job import Job, Outcome, existing_results
from ccd_cli.predict.panels import COLORS, LAYOUT, side_by_side_of
from ccd_cli.predict.photos import WORKING_BYTES, WORKING_PIXELS
from ccd_cli.predict.run import (
    check_media,
    claimed,
    note_shard,
    predict_media,
    raise_if_stopped,
    shard_of,
)
from ccd_cli.predict.settings import Settings
from ccd_cli.teachers.model import Model

SIDE, COLOR = "side", "color"
WORKERS = 2
NO_CLIPS = (
    "a video: several models are put side by side for images alone. Leave side out of --save, or give one --model."
)


@dataclass(frozen=True)
class _One:
    """One of the models: its name, and where its results go."""

    label: str
    folder: Path

    def sidecar(self, item: Media) -> dict[str, Any] | None:
        """Return what its results of an input say; None where there are none."""
        return read_sidecar(self.folder / item.stem)


def compare(
    models: dict[str, Model],
    settings: Settings,
    compute: Compute,
    report: Report,
    found: tuple[list[Media], list[tuple[str, str]], NotRead],
    pool: Pool | None = None,
) -> Outcome:
    """Predict what `found` holds (see `find_media`) with every one of `models`, {name: model}; each is dropped when it is done.

    The results of a model go into a folder of its name in `settings.out`. With `side` among the outputs each photo gets
    `<stem>.side.png` there, of the models' colored maps; videos fail then. `pool` and what is raised are those of
    `predict.run.run`.
    """
    inputs, failed, not_read = found
    outcome = Outcome(failed=[*failed], not_read=not_read)
    check_media(inputs, settings, outcome, report)
    media = shard_of(inputs, settings.shard)
    wanted = tuple(name for name in settings.save if name != SIDE)
    own = replace(settings, save=tuple(dict.fromkeys((*wanted, COLOR)))) if SIDE in settings.save else settings
    ones: list[_One] = []
    for label in models:
        ones.append(_One(label, settings.out / folder_name(label, {one.folder.name for one in ones})))
    report.note(f"{len(ones)} models, one after the other, so that one at a time is in memory")
    with Signals() as signals:
        if SIDE in settings.save:
            job = Job(models[ones[0].label], settings, compute, report, signals, outcome, inputs)
            media = _sides(media, ones, job)
            del job  # and with it the model
        for one in ones:
            model = models.pop(one.label)
            job = Job(model, replace(own, out=one.folder), compute, report, signals, Outcome(), inputs, pool=pool)
            predict_media(media, job)
            _merge(outcome, one, job.outcome)
            raise_if_stopped(signals)
        if SIDE in settings.save:
            _draw(media, ones, replace(job, settings=settings, outcome=outcome))
            raise_if_stopped(signals)
    note_shard(job)
    return outcome


def _merge(outcome: Outcome, one: _One, made: Outcome) -> None:
    """Add what one model made to what all made."""
    outcome.done += [{**record, "model": one.label} for record in made.done]
    outcome.skipped += made.skipped
    outcome.failed += [(name, f"{one.label}: {reason}") for name, reason in made.failed]


def _sides(media: list[Media], ones: list[_One], job: Job) -> list[Media]:
    """The inputs that can get a picture; the others fail before any model runs."""
    free = []
    for item in claimed(media, job):
        old = read_sidecar(job.settings.out / item.stem)
        if item.video:
            job.fail(item, CcdError(NO_CLIPS))
        elif old is not None and old.get("model") != _together(ones) and not job.settings.overwrite:
            job.fail(item, CcdError(f"has results made by {old.get('model')}, which are kept.", HINT))
        else:
            free.append(item)
    return free


def _draw(media: list[Media], ones: list[_One], job: Job) -> None:
    """Draw the picture of every photo that all models have a map of, unless it is there."""
    todo: list[tuple[Media, dict[str, dict[str, Any]], str]] = []
    there, failed = 0, {name for name, _ in job.outcome.failed}
    for item in media:
        if str(item.path) in failed:
            continue  # its results, if any, are of other settings
        sides = {one.label: side for one in ones if (side := one.sidecar(item)) is not None and COLOR in side["files"]}
        if len(sides) < len(ones):
            continue
        made_of = [(label, side["map"], side["checksums"][side["files"][COLOR]]) for label, side in sides.items()]
        mark = hashlib.sha256(repr((ccd_cli.__version__, LAYOUT, made_of)).encode()).hexdigest()
        base = job.settings.out / item.stem
        if job.settings.overwrite or existing_results(base, mark, job) is None:
            todo.append((item, sides, mark))
        else:
            there += 1
            job.skip(item)
    if there:
        job.report.note(f"{there} of {len(media)} side-by-side images exist and are skipped")
    if not todo:
        return
    done = 0

    def take(made: Any) -> None:
        nonlocal done
        item, result = made
        if isinstance(result, CcdError):
            job.fail(item, result)
        else:
            job.outcome.done.append(result)
        done += 1
        job.report.advance(done)

    job.report.begin("Side by side", len(todo))
    try:
        with ThreadPoolExecutor(WORKERS) as pool:
            work = BackgroundWork(pool, WORKERS, take)
            for item, sides, mark in todo:
                if job.signals.received is not None:
                    break
                work.add(partial(_try_write, item, sides, mark, ones, job.settings))
            work.finish()
    finally:
        job.report.end()


def _try_write(
    item: Media, sides: Mapping[str, dict[str, Any]], mark: str, ones: list[_One], settings: Settings
) -> tuple[Media, dict[str, Any] | CcdError]:
    try:
        return item, _write(item, sides, mark, ones, settings)
    except Unwritable:
        raise
    except CcdError as error:
        return item, error
    except MemoryError:
        return item, CcdError("The side-by-side image does not fit into memory.")


def _write(
    item: Media, sides: Mapping[str, dict[str, Any]], mark: str, ones: list[_One], settings: Settings
) -> dict[str, Any]:
    """Write the picture of one photo and its sidecar; return its record."""
    base = settings.out / item.stem
    photo = load_photo(item.path, Limits(None if settings.full_size else WORKING_PIXELS, WORKING_BYTES)).rgb
    maps = [(one.label, _color(one.folder / item.stem.parent / sides[one.label]["files"][COLOR])) for one in ones]
    try:
        picture = side_by_side_of(photo, maps)
    except ValueError as error:
        raise CcdError(f"{item.path}: the color maps are not of the photo's size.", "Add --overwrite.") from error
    path = with_suffix(base, SUFFIX[SIDE])
    write_png(path, picture, photo=True)
    facts = ("kind", "checkpoint_sha256", "license", "resolution")
    content = {
        SIDECAR_KEY: SIDECAR_VERSION,
        "model": _together(ones),
        "models": {label: {key: side.get(key) for key in facts} for label, side in sides.items()},
        "folders": {one.label: one.folder.name for one in ones},
        "colors": COLORS,
        "version": ccd_cli.__version__,
        "fingerprint": mark,
        "map": mark,
        "files": {SIDE: path.name},
    }
    sidecar = with_suffix(base, ".json")
    write_json(sidecar, settle(base, content))
    return {
        "input": str(item.path),
        "sidecar": str(sidecar),
        "kind": " and ".join(dict.fromkeys(str(side.get("kind")) for side in sides.values())),
        "files": [str(path)],
        "skipped": False,
        "notes": [],
        "model": None,
    }


def _color(path: Path) -> NDArray[np.uint8]:
    """Read a colored map, RGB."""
    data = np.fromfile(path, np.uint8)  # cv2.imread takes no path beyond ASCII on Windows
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise CcdError(f"{path} cannot be read.", "Add --overwrite.")
    return np.asarray(picture[..., ::-1], np.uint8)


def _together(ones: list[_One]) -> str:
    return ", ".join(one.label for one in ones)
