"""`ccd label`: several teachers label photos, one teacher after another, into shards that a student can learn from.

The unit of work is one teacher and one shard. Each leaves a part file; when all teachers have theirs, agreement is
judged, and parts become shards. Whatever is stopped, the next run finds the files that are there and makes the rest.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ccd_cli.core.errors import CcdError
from ccd_cli.core.io import json_line, read_json_lines, write_json, write_text
from ccd_cli.core.label_schema import LabelRecipe
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Signals, memory_error
from ccd_cli.data.label_codec import Index
from ccd_cli.data.shards import read_index
from ccd_cli.pipelines.label_assemble import same_photos, write_index, write_shard
from ccd_cli.pipelines.label_quality import comparable, drop, shard_lines
from ccd_cli.pipelines.label_setup import (
    LabelFolder,
    LabelJob,
    bad_photos,
    choose_label_folder,
    is_finished,
    photos_changed,
    prepare,
)
from ccd_cli.pipelines.label_teacher import label_shard, read_part
from ccd_cli.teachers.load import load_teacher


@dataclass(frozen=True)
class Result:
    """What is in the folder: photos in shards, left out by rule, unreadable; shards and their bytes; the licence."""

    folder: Path
    samples: int
    dropped: int
    skipped: int
    shards: int
    bytes: int
    license: str


def run(
    recipe: LabelRecipe, *, out: str | None = None, overwrite: bool = False, device: str = "auto", report: Report
) -> Result:
    """Label photos as the recipe says, or go on where an earlier run stopped, and return what the folder holds.

    Raises CcdError subclasses: before any time is spent for a bad folder, photo list, teacher or disk; later
    TrainingStopped for too many unreadable photos and Interrupted after a signal, both with all finished parts kept.
    """
    folder = choose_label_folder(recipe, out, overwrite)
    if not overwrite and is_finished(folder):
        report.note(f"{folder.path} is finished: nothing to do (--overwrite starts anew)")
        if photos_changed(recipe, folder):
            report.warn("The list of photos has changed since; --overwrite or another --out labels the present one.")
        return _result(folder, read_index(folder.path))
    with Signals() as signals, ExitStack() as stack:
        job = prepare(recipe, folder, overwrite, device, report, stack)
        folder.index.unlink(missing_ok=True)  # not whole, or it would be finished
        pool = ThreadPoolExecutor(job.workers, "photos", torch.set_num_threads, (1,))
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)

        def stop_if_asked() -> None:
            if signals.received is not None:
                raise signals.interruption(
                    f"Stopped; finished parts are kept in {folder.path}.", "Go on with the same command."
                )

        todo = [number for number in range(job.plan.shards) if not folder.shard(number).exists()]
        report.note(
            f"{len(job.plan.photos)} photos, {job.plan.count} samples in {job.plan.shards} shards "
            f"({job.plan.shards - len(todo)} are there); {job.device.type}, {torch.get_num_threads()} threads"
        )
        for teacher in range(len(recipe.teachers)):
            _teach(job, teacher, todo, pool, stop_if_asked, report)
            gc.collect()  # it is gone before the next one loads
            if job.device.type == "cuda":
                torch.cuda.empty_cache()
        if not folder.quality.exists():
            _judge(job, pool, stop_if_asked, report)
        lines = {line["key"]: line for line in read_json_lines(folder.quality)}
        for number in _counted("Writing shards", todo, report):
            stop_if_asked()
            _assemble(job, number, lines)
        shutil.rmtree(folder.parts, ignore_errors=True)
        return _result(folder, write_index(job, lines, len(bad_photos(folder))))


def _teach(
    job: LabelJob, number: int, todo: list[int], pool: Executor, stop_if_asked: Callable[[], None], report: Report
) -> None:
    """Let one teacher label every shard of which its part is missing."""
    missing = [shard for shard in todo if not job.folder.part(number, shard).exists()]
    if not missing:
        return
    stop_if_asked()
    entry, ref = job.recipe.teachers[number], job.references[number]
    report.note(f"Loading teacher {ref.name} ({ref.kind}, {ref.license}, {job.precisions[number]})")
    bad = _bad_so_far(job, todo) if number == 0 else {}
    with _plain_memory_error(number):
        teacher = load_teacher(ref, None, job.device, job.precisions[number], entry.resolution)
        facts = {"teacher": _name(job, number), "kind": teacher.kind, "license": teacher.license}
        job.remember(number, {**facts, "checkpoint_sha256": teacher.checkpoint_sha256})
        done = sum(len(job.plan.positions(shard)) for shard in todo if shard not in missing)
        report.begin(ref.name, sum(len(job.plan.positions(shard)) for shard in todo), done)
        try:
            for shard in missing:

                def after_batch(count: int, before: int = done) -> None:
                    stop_if_asked()
                    report.advance(before + count)

                path = job.folder.part(number, shard)
                label_shard(job.plan, shard, teacher, job.device, entry.batch, path, pool, job.workers, after_batch)
                done += len(job.plan.positions(shard))
                if number == 0:
                    bad |= {one.path.as_posix(): one.reason for one in read_part(path).bad}
                    _list_bad(job, bad)
                else:
                    _compare(job, number, shard)
                stop_if_asked()
        finally:
            report.end()


def _compare(job: LabelJob, number: int, shard: int) -> None:
    """Raise CcdError, and remove the new part, where it was not made from the photos that the first teacher saw."""
    path = job.folder.part(number, shard)
    try:
        same_photos([read_part(job.folder.part(0, shard)), read_part(path)])
    except CcdError:
        path.unlink()
        raise


def _bad_so_far(job: LabelJob, todo: list[int]) -> dict[str, str]:
    """Return the unreadable photos of the parts that are there, and of shards that were finished before."""
    bad = bad_photos(job.folder)
    for path in (job.folder.part(0, shard) for shard in todo):
        if path.exists():
            bad |= {one.path.as_posix(): one.reason for one in read_part(path).bad}
    return bad


def _list_bad(job: LabelJob, bad: dict[str, str]) -> None:
    """Write `skipped.jsonl` and raise TrainingStopped where it is too long."""
    rows = [json_line({"photo": path, "reason": reason}) for path, reason in sorted(bad.items())]
    if rows:
        write_text(job.folder.skipped, "".join(rows))
    job.check_bad(bad)


def _judge(job: LabelJob, pool: Executor, stop_if_asked: Callable[[], None], report: Report) -> None:
    """Write `quality.jsonl`: agreement of the teachers on every photo, and which photos the recipe leaves out."""
    folder, count = job.folder, len(job.recipe.teachers)
    names = [job.state["teachers"][str(i)]["teacher"] for i in range(count)]
    lost = comparable([job.state["teachers"][str(i)]["kind"] for i in range(count)])
    for name, there in zip(names, lost, strict=True):
        if count > 1 and not there:
            report.warn(f"{name} gives affine depth and no teacher gives depth: it is left out of the agreement.")
    for number in _counted("Comparing teachers", list(range(job.plan.shards)), report):
        if not folder.judged(number).exists():
            stop_if_asked()
            parts = [read_part(folder.part(i, number)) for i in range(count)]
            same_photos(parts)
            write_json(folder.judged(number), shard_lines(parts, names, job.plan.size, pool, job.workers))
    lines: list[dict[str, Any]] = []
    for number in range(job.plan.shards):
        lines += json.loads(folder.judged(number).read_text(encoding="utf-8"))
    judged = drop(lines, job.recipe.drop.worst, job.recipe.drop.disagreement)
    if not judged:
        raise CcdError("None of the photos can be read.", f"See {folder.skipped}.")
    write_text(folder.quality, "".join(json_line(line) for line in judged))


def _assemble(job: LabelJob, number: int, lines: dict[str, dict[str, Any]]) -> None:
    """Make one shard of its parts, then remove them."""
    paths = [job.folder.part(i, number) for i in range(len(job.recipe.teachers))]
    write_shard(job, number, [read_part(path) for path in paths], lines)
    for path in paths:
        path.unlink()


@contextmanager
def _plain_memory_error(number: int) -> Iterator[None]:
    """Turn an exhausted memory into one line that names the key to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if memory_error(error) is None:
            raise
        raise CcdError(
            "Out of memory.",
            f"Start anew with a smaller batch: --overwrite --set teachers.{number}.batch=1, or lower crops.size.",
        ) from error


def _counted(what: str, numbers: list[int], report: Report) -> Iterator[int]:
    """Yield `numbers` under a progress bar."""
    report.begin(what, len(numbers))
    try:
        for done, number in enumerate(numbers):
            yield number
            report.advance(done + 1)
    finally:
        report.end()


def _name(job: LabelJob, number: int) -> str:
    """Return a teacher's name, with its place where another has the same."""
    names = [ref.name for ref in job.references]
    return names[number] if names.count(names[number]) == 1 else f"{names[number]} ({number + 1})"


def _result(folder: LabelFolder, index: Index) -> Result:
    size = sum(shard.bytes for shard in index.shards)
    return Result(folder.path, index.samples, index.dropped, index.skipped, len(index.shards), size, index.license)
