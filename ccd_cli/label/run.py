"""`ccd label`: several teachers label images, one teacher after another, into shards that a student can learn from.

A unit of work is one shard of one stage, and each leaves a file: every teacher predicts every shard (a part per teacher and
shard), agreement of the teachers is scored, parts become shards, the index names them. Whatever stops a run, the next one
skips what exists, and which engine runs the units makes no difference to what they write.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

from ccd_cli.config.label import LabelRecipe
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import json_line, write_text
from ccd_cli.core.report import Report
from ccd_cli.core.shard import FINISH, Shard, part_of
from ccd_cli.core.signals import Signals
from ccd_cli.label.assemble import write_index
from ccd_cli.label.engine import Engine, LocalEngine
from ccd_cli.label.folder import (
    LabelFolder,
    choose_label_folder,
    images_changed,
    is_finished,
    retain_whole_shards,
    written_facts,
)
from ccd_cli.label.job import LabelJob
from ccd_cli.label.parts import read_part
from ccd_cli.label.plan import key_of
from ccd_cli.label.quality import Line, apply_drop_rules, read_quality, read_scores
from ccd_cli.label.ray import RayEngine
from ccd_cli.label.setup import prepare
from ccd_cli.label.stages import Answer, Predict, ScoreAgreement, Stage, WriteShards
from ccd_cli.labels.agreement import comparable
from ccd_cli.labels.format import Index, old_format_note
from ccd_cli.labels.shards import read_index
from ccd_cli.teachers.licenses import strictest
from ccd_cli.teachers.runtime import prepare_graph


@dataclass(frozen=True)
class Result:
    """What the folder holds: images in shards, dropped by a rule, unreadable; shards and their bytes; the license.

    After a run with --shard, what that part of the work came to so far. Where a network fills the holes of ground truth: the mean
    fraction of `filled` pixels, and the number of crops whose fit was `refused`; else None, and of a part.
    """

    folder: Path
    samples: int
    dropped: int
    skipped: int
    shards: int
    bytes: int
    license: str
    filled: float | None = None
    refused: int | None = None


@dataclass(frozen=True)
class EngineOptions:
    """The engine: `local` (this process), or `ray` with `workers` processes (None: one per GPU, or as many as fit the cores).

    `verbose` shows Ray's own messages. `runtime` is the software that runs the teachers; `auto` on Ray is torch. `only` is the
    part of the work that this process does, None: all of it.
    """

    name: str = "local"
    workers: int | None = None
    verbose: bool = False
    runtime: str = "torch"
    only: Shard | None = None

    @property
    def wanted(self) -> str:
        """Return the runtime that is asked for: on machines that differ, torch unless another one is named."""
        return "torch" if self.runtime == "auto" and self.name == "ray" else self.runtime

    def start(self, stop_if_asked: Callable[[], None], report: Report) -> Engine:
        """Return the engine; it is running."""
        if self.name == "ray":
            return RayEngine(self.workers, self.verbose, stop_if_asked, report)
        return LocalEngine(report)


def run(
    recipe: LabelRecipe,
    *,
    out: str | None = None,
    overwrite: bool = False,
    verify: bool = False,
    device: str = "auto",
    engine: EngineOptions = EngineOptions(),
    report: Report,
) -> Result:
    """Label images as the recipe says, or resume where a run has stopped, and return what the folder holds.

    Shards that are there are checked: their size, and with `verify`, or where that takes seconds, their hash. Damaged ones
    are made again.

    Raises CcdError subclasses: before any time is spent for a bad folder, list of images, teacher or disk; later
    TrainingStopped for too many unreadable images and Interrupted after a signal, both with all finished parts kept.
    """
    folder = choose_label_folder(recipe, out, overwrite, engine.only)
    if not overwrite and is_finished(folder, verify):
        report.note(f"{folder.path} is finished: nothing to do (--overwrite starts over)")
        if note := old_format_note(read_index(folder.path)):
            report.warn(f"{folder.path}: {note}")
        if images_changed(recipe, folder):
            report.warn("The list of images has changed since; --overwrite or another --out labels the present one.")
        return _result(folder, read_index(folder.path))
    with Signals() as signals, ExitStack() as stack:

        def stop_if_asked() -> None:
            if signals.received is not None:
                raise signals.interruption(
                    f"Stopped; finished parts are kept in {folder.path}.", f"Continue with: {_resume_command(folder)}"
                )

        runner = engine.start(stop_if_asked, report)
        stack.callback(runner.close)
        job = prepare(recipe, folder, overwrite, partial(runner.resolve_device, device), engine.wanted, report, stack)
        stages = _Stages(job, runner, stop_if_asked, report)
        mine = part_of(range(job.plan.shards), folder.only)
        missing = retain_whole_shards(folder, mine, verify, report)
        report.note(
            f"{len(job.plan.images)} images, {job.plan.count} samples in {job.plan.shards} shards "
            f"({_count(mine, missing, folder.only)}); {runner.describe()}"
        )
        for teacher in range(len(recipe.teachers)):
            _predict(stages, teacher, missing)
        if folder.only is not None:
            return _write_part(stages, folder.only, mine, missing)
        if not folder.quality.exists():
            _write_quality(stages)
        lines: dict[str, Line] = {line["key"]: line for line in read_quality(folder.quality)}
        stages.run("Writing shards", WriteShards(job, lines), missing)
        runner.close()  # no worker writes any more
        index = write_index(job, lines, len(folder.unreadable()))
        shutil.rmtree(folder.parts, ignore_errors=True)
        folder.sweep()
        return _result(folder, index)


@dataclass(frozen=True)
class _Stages:
    """Runs the stages of a job on an engine."""

    job: LabelJob
    engine: Engine
    stop_if_asked: Callable[[], None]
    report: Report

    def run(
        self, title: str, stage: Stage, shards: list[int], after: Callable[[Answer], None] = lambda answer: None
    ) -> None:
        """Run a stage over `shards` under a progress bar of images; `after` gets every answer."""
        plan = self.job.plan
        total, done = sum(len(plan.positions(shard)) for shard in shards), 0

        def progress(images: int) -> None:
            self.stop_if_asked()
            self.report.advance(done + images)

        if not shards:
            return
        self.report.begin(title, total)
        try:
            for answer in self.engine.run_stage(self.job, stage, shards, progress):
                after(answer)
                done += len(plan.positions(answer.shard))
                progress(0)
        finally:
            self.report.end()


def _predict(stages: _Stages, number: int, shards: list[int]) -> None:
    """Let one teacher label every shard of which its part is missing."""
    job, folder = stages.job, stages.job.folder
    existing = [shard for shard in shards if folder.part(number, shard).exists()]
    missing = sorted({*shards} - {*existing})
    if existing and str(number) not in job.state["teachers"]:
        job.record_teacher(number, read_part(folder.part(number, existing[0])).teacher)
    unreadable = _unreadable_so_far(folder, existing) if number == 0 else {}
    if unreadable:
        job.list_unreadable(unreadable)
    if not missing:
        return
    stages.stop_if_asked()
    reference, name = job.references[number], job.teacher_name(number)
    if reference is not None:
        fills = ", which fills the holes of ground truth" if job.recipe.teachers[number].fill is not None else ""
        stages.report.note(
            f"Loading teacher {reference.name} ({reference.kind}, {reference.license}, {job.precisions[number]}){fills}"
        )
    if reference is not None and job.runtimes[number] != "torch" and reference.exported is None:
        prepare_graph(reference, stages.report)  # here, where a note is read

    def after(answer: Answer) -> None:
        try:
            job.record_teacher(number, answer.teacher)
        except CcdError:
            folder.part(number, answer.shard).unlink()
            raise
        if number == 0 and answer.unreadable:
            unreadable.update(answer.unreadable)
            job.list_unreadable(unreadable)

    stages.run(name, Predict(job, number), missing, after)


def _unreadable_so_far(folder: LabelFolder, shards: list[int]) -> dict[str, str]:
    """Return the unreadable images of the first teacher's parts of `shards`, and those listed before."""
    reasons = folder.unreadable()
    for shard in shards:
        part = read_part(folder.part(0, shard))
        reasons |= {image.path.as_posix(): image.reason for image in part.unreadable}
    return reasons


def _score_agreement(stages: _Stages, shards: Sequence[int]) -> None:
    """Score the agreement of the teachers on the images of `shards`."""
    job, folder, count = stages.job, stages.job.folder, len(stages.job.recipe.teachers)
    teachers = [job.state["teachers"][str(i)] for i in range(count)]
    for teacher, can_compare in zip(teachers, comparable([one["kind"] for one in teachers]), strict=True):
        if count > 1 and not can_compare:
            stages.report.warn(
                f"{teacher['teacher']} gives affine-invariant depth and no teacher gives depth: "
                "it is excluded from the agreement."
            )
    missing = [shard for shard in shards if not folder.scores(shard).exists()]
    stages.run("Comparing teachers", ScoreAgreement(job), missing)


def _judged(job: LabelJob, shards: Sequence[int]) -> list[Line]:
    """Return the lines of `quality.jsonl` of `shards`, which are scored, with the images that the recipe drops."""
    rules = job.recipe.drop
    lines = [line for shard in shards for line in read_scores(job.folder.scores(shard))]
    return apply_drop_rules(lines, rules.worst, rules.disagreement)


def _write_quality(stages: _Stages) -> None:
    """Write `quality.jsonl`: agreement of the teachers on every image, and which images the recipe drops."""
    job, folder, shards = stages.job, stages.job.folder, range(stages.job.plan.shards)
    _score_agreement(stages, shards)
    lines = _judged(job, shards)
    if not lines:
        raise CcdError("None of the images can be read.", f"See {folder.skipped}.")
    write_text(folder.quality, "".join(json_line(line) for line in lines))


def _write_part(stages: _Stages, only: Shard, mine: list[int], missing: list[int]) -> Result:
    """Finish the part of the work that the shards of labels `mine` are, of which `missing` are to be written.

    Which images `drop.worst` drops depends on all of them: until the others are scored too, nothing is written.
    """
    job, folder, report = stages.job, stages.job.folder, stages.report
    lines = _lines_of_part(stages, mine) if mine else {}
    if lines is None:
        report.note("Labels are made and compared; drop.worst needs those of the other shards before they are written.")
    else:
        stages.run("Writing shards", WriteShards(job, lines), missing)
    facts, teachers = written_facts(folder, mine), job.state["teachers"].values()
    keys = {key_of(position) for shard in mine for position in job.plan.positions(shard)}
    dropped = sum(line["dropped"] is not None for key, line in (lines or {}).items() if key in keys)
    done = f"is done ({len(mine)} of {job.plan.shards} shards of labels)" if mine else "has nothing to do"
    report.note(f"Shard {only} {done}. {FINISH}")
    return Result(
        folder=folder.path,
        samples=sum(each.samples for each in facts),
        dropped=dropped,
        skipped=len(folder.unreadable()),
        shards=len(facts),
        bytes=sum(each.bytes for each in facts),
        license=strictest(teacher["license"] for teacher in teachers) if teachers else "",
    )


def _lines_of_part(stages: _Stages, mine: list[int]) -> dict[str, Line] | None:
    """Return the lines of quality by key that the shards of labels `mine` are written by; None until they are known."""
    job, folder = stages.job, stages.job.folder
    if folder.quality.exists():
        return {line["key"]: line for line in read_quality(folder.quality)}
    _score_agreement(stages, mine)
    needed = range(job.plan.shards) if job.recipe.drop.worst else mine
    if not all(folder.scores(shard).exists() for shard in needed):
        return None
    return {line["key"]: line for line in _judged(job, needed)}


def _count(mine: list[int], missing: list[int], only: Shard | None) -> str:
    existing = f"{len(mine) - len(missing)} exist"
    return existing if only is None else f"{len(mine)} of them in shard {only}, {existing}"


def _resume_command(folder: LabelFolder) -> str:
    """Return the command that continues: by the recipe in the folder, once there is one."""
    if not folder.recipe.exists():
        return "the same command"
    part = "" if folder.only is None else f" --shard {folder.only}"
    return f"ccd label {quote(str(folder.recipe))} --out {quote(str(folder.path))}{part}"


def _result(folder: LabelFolder, index: Index) -> Result:
    size = sum(shard.bytes for shard in index.shards)
    fill = next((about for about in index.teachers if "filled" in about), None)
    return Result(
        folder=folder.path,
        samples=index.samples,
        dropped=index.dropped,
        skipped=index.skipped,
        shards=len(index.shards),
        bytes=size,
        license=index.license,
        filled=None if fill is None else float(fill["filled"] or 0),
        refused=None if fill is None else int(fill["refused"] or 0),
    )
