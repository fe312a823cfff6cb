"""`ccd label`: several teachers label photos, one teacher after another, into shards that a student can learn from.

The unit of work is one teacher and one shard. Each leaves a part file; when all teachers have theirs, agreement is
judged, and parts become shards. Whatever is stopped, the next run finds the files that are there and makes the rest,
and which engine runs the units makes no difference to what they write.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ccd_cli.config.label import LabelRecipe
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.files import json_line, read_json_lines, write_text
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Signals
from ccd_cli.label.assemble import write_index
from ccd_cli.label.engine import Engine, LocalEngine
from ccd_cli.label.parts import read_part
from ccd_cli.label.plan import key_of
from ccd_cli.label.quality import drop
from ccd_cli.label.ray import RayEngine
from ccd_cli.label.setup import (
    LabelFolder,
    LabelJob,
    bad_photos,
    choose_label_folder,
    is_finished,
    photos_changed,
    prepare,
)
from ccd_cli.label.stages import Assemble, Judge, Stage, Teach, Unit
from ccd_cli.labels.agreement import comparable
from ccd_cli.labels.format import Index
from ccd_cli.labels.shards import read_index


@dataclass(frozen=True)
class Result:
    """What is in the folder: photos in shards, left out by rule, unreadable; shards and their bytes; the license."""

    folder: Path
    samples: int
    dropped: int
    skipped: int
    shards: int
    bytes: int
    license: str


def run(
    recipe: LabelRecipe,
    *,
    out: str | None = None,
    overwrite: bool = False,
    device: str = "auto",
    engine: str = "local",
    workers: int | None = None,
    verbose: bool = False,
    report: Report,
) -> Result:
    """Label photos as the recipe says, or go on where an earlier run stopped, and return what the folder holds.

    `engine` is `local` or `ray`, there with `workers` processes (None: one a GPU, or as many as the cores allow) and with
    Ray's own messages if `verbose`. Raises CcdError subclasses: before any time is spent for a bad folder, photo list,
    teacher or disk; later TrainingStopped for too many unreadable photos and Interrupted after a signal, both with all
    finished parts kept.
    """
    if workers is not None and engine != "ray":
        raise UsageProblem("--workers is for --engine ray.", "Threads that read photos: --set images.workers=N.")
    folder = choose_label_folder(recipe, out, overwrite)
    if not overwrite and is_finished(folder):
        report.note(f"{folder.path} is finished: nothing to do (--overwrite starts anew)")
        if photos_changed(recipe, folder):
            report.warn("The list of photos has changed since; --overwrite or another --out labels the present one.")
        return _result(folder, read_index(folder.path))
    with Signals() as signals, ExitStack() as stack:

        def stop_if_asked() -> None:
            if signals.received is not None:
                raise signals.interruption(
                    f"Stopped; finished parts are kept in {folder.path}.", "Go on with the same command."
                )

        runner: Engine = RayEngine(workers, verbose, stop_if_asked, report) if engine == "ray" else LocalEngine()
        stack.callback(runner.close)
        job = prepare(recipe, folder, overwrite, partial(runner.runtimes, device), report, stack)
        folder.index.unlink(missing_ok=True)  # not whole, or it would be finished
        todo = [number for number in range(job.plan.shards) if not folder.shard(number).exists()]
        report.note(
            f"{len(job.plan.photos)} photos, {job.plan.count} samples in {job.plan.shards} shards "
            f"({job.plan.shards - len(todo)} are there); {runner.describe()}"
        )
        work = _Work(job, runner, stop_if_asked, report)
        for teacher in range(len(recipe.teachers)):
            _teach(work, teacher, todo)
        if not folder.quality.exists():
            _judge(work)
        lines = {line["key"]: line for line in read_json_lines(folder.quality)}
        _assemble(work, todo, lines)
        runner.close()  # nobody writes any more
        shutil.rmtree(folder.parts, ignore_errors=True)
        folder.sweep()
        return _result(folder, write_index(job, lines, len(bad_photos(folder))))


@dataclass(frozen=True)
class _Work:
    """What every stage of a run needs."""

    job: LabelJob
    engine: Engine
    stop_if_asked: Callable[[], None]
    report: Report

    def do(
        self, what: str, stage: Stage, units: Iterable[Unit], shards: list[int], after: Callable[[dict[str, Any]], None]
    ) -> None:
        """Run a stage over the units of `shards` under a progress bar of photos; `after` gets every answer."""
        plan = self.job.plan
        every, done = sum(len(plan.positions(shard)) for shard in shards), 0

        def tick(count: int) -> None:
            self.stop_if_asked()
            self.report.advance(done + count)

        self.report.begin(what, every)
        try:
            for answer in self.engine.each(self.job, stage, units, tick):
                after(answer)
                done += len(plan.positions(answer["shard"]))
                tick(0)
        finally:
            self.report.end()


def _teach(work: _Work, number: int, todo: list[int]) -> None:
    """Let one teacher label every shard of which its part is missing."""
    job, folder = work.job, work.job.folder
    there = [shard for shard in todo if folder.part(number, shard).exists()]
    missing = sorted({*todo} - {*there})
    if there and str(number) not in job.state["teachers"]:
        job.remember(number, read_part(folder.part(number, there[0])).teacher)
    if not missing:
        return
    work.stop_if_asked()
    ref = job.references[number]
    work.report.note(f"Loading teacher {ref.name} ({ref.kind}, {ref.license}, {job.precisions[number]})")
    bad = _bad_so_far(job, there) if number == 0 else {}
    if bad:
        _list_bad(job, bad)

    def after(answer: dict[str, Any]) -> None:
        try:
            job.remember(number, answer["facts"])
        except CcdError:
            folder.part(number, answer["shard"]).unlink()
            raise
        if number == 0 and answer["bad"]:
            bad.update(answer["bad"])
            _list_bad(job, bad)

    stage = Teach(job, number)
    work.do(ref.name, stage, stage.units(missing), missing, after)


def _bad_so_far(job: LabelJob, shards: list[int]) -> dict[str, str]:
    """Return the unreadable photos of the parts that are there, and of shards that were finished before."""
    bad = bad_photos(job.folder)
    for path in (job.folder.part(0, shard) for shard in shards):
        bad |= {one.path.as_posix(): one.reason for one in read_part(path).bad}
    return bad


def _list_bad(job: LabelJob, bad: dict[str, str]) -> None:
    """Write `skipped.jsonl` and raise TrainingStopped where it is too long."""
    rows = [json_line({"photo": path, "reason": reason}) for path, reason in sorted(bad.items())]
    write_text(job.folder.skipped, "".join(rows))
    job.check_bad(bad)


def _judge(work: _Work) -> None:
    """Write `quality.jsonl`: agreement of the teachers on every photo, and which photos the recipe leaves out."""
    job, folder, count = work.job, work.job.folder, len(work.job.recipe.teachers)
    names = [job.state["teachers"][str(i)]["teacher"] for i in range(count)]
    lost = comparable([job.state["teachers"][str(i)]["kind"] for i in range(count)])
    for name, there in zip(names, lost, strict=True):
        if count > 1 and not there:
            work.report.warn(f"{name} gives affine depth and no teacher gives depth: it is left out of the agreement.")
    missing = [number for number in range(job.plan.shards) if not folder.judged(number).exists()]
    if missing:
        units = ({"shard": number} for number in missing)
        work.do("Comparing teachers", Judge(job), units, missing, lambda answer: None)
    lines: list[dict[str, Any]] = []
    for number in range(job.plan.shards):
        lines += json.loads(folder.judged(number).read_text(encoding="utf-8"))
    judged = drop(lines, job.recipe.drop.worst, job.recipe.drop.disagreement)
    if not judged:
        raise CcdError("None of the photos can be read.", f"See {folder.skipped}.")
    write_text(folder.quality, "".join(json_line(line) for line in judged))


def _assemble(work: _Work, todo: list[int], lines: dict[str, dict[str, Any]]) -> None:
    """Make shards of their parts."""
    plan = work.job.plan

    def of_shard(number: int) -> dict[str, dict[str, Any]]:
        return {key: lines[key] for key in map(key_of, plan.positions(number)) if key in lines}

    if todo:
        units = ({"shard": number, "lines": of_shard(number)} for number in todo)
        work.do("Writing shards", Assemble(work.job), units, todo, lambda answer: None)


def _result(folder: LabelFolder, index: Index) -> Result:
    size = sum(shard.bytes for shard in index.shards)
    return Result(folder.path, index.samples, index.dropped, index.skipped, len(index.shards), size, index.license)
