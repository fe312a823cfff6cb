"""The three stages of labeling as units of work, one a shard: whoever runs them, and where, the files are the same.

A stage goes to a worker as its name and a plain job; a unit is a plain JSON value: the shard's number and what only this
shard needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import write_json
from ccd_cli.core.runtime import memory_error
from ccd_cli.label.assemble import same_photos, write_shard
from ccd_cli.label.parts import label_shard, read_part
from ccd_cli.label.quality import shard_lines
from ccd_cli.label.setup import LabelJob, job_from
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.load import load_teacher

Unit = dict[str, Any]
"""`shard`: its number; for `Teach` the `paths` of its photos, for `Assemble` the `lines` of quality by key."""
Tick = Callable[[int], None]
"""Called with the photos of the unit that are done; may raise to stop, and nothing of the unit is left then."""


class Stage(Protocol):
    """Does units of one kind. What it writes depends on the unit alone, and a unit that is done is not done again."""

    @property
    def name(self) -> str:
        """Short, for file names."""
        ...

    def __call__(self, unit: Unit, pool: Executor, workers: int, tick: Tick) -> dict[str, Any]:
        """Do a unit, with a pool of `workers` threads, and return an answer in plain JSON values."""
        ...

    def release(self) -> None:
        """Give up what was loaded."""
        ...


@dataclass
class Teach:
    """One teacher labels a shard. The teacher is loaded for the first unit and stays."""

    job: LabelJob
    number: int
    _teacher: Teacher | None = None

    @property
    def name(self) -> str:
        """Short, for file names."""
        return f"teacher-{self.number}"

    def units(self, shards: list[int]) -> Iterator[Unit]:
        """Yield the unit of each shard."""
        for shard in shards:
            yield {"shard": shard, "paths": [path.as_posix() for path in self.job.plan.paths(shard)]}

    def __call__(self, unit: Unit, pool: Executor, workers: int, tick: Tick) -> dict[str, Any]:
        """Write the shard's part and return who made it and the photos that cannot be read (reason by path)."""
        job, shard = self.job, unit["shard"]
        entry, path = job.recipe.teachers[self.number], job.folder.part(self.number, shard)
        photos = [Path(text) for text in unit["paths"]]
        with _plain_memory_error(self.number):
            teacher, facts = self._loaded()
            torch.set_num_threads(job.recipe.threads)  # an engine's thread may have a number of its own
            if not path.exists():
                label_shard(job.plan, shard, photos, teacher, facts, job.device, entry.batch, path, pool, workers, tick)
        part = read_part(path)
        if self.number > 0 and (first := job.folder.part(0, shard)).exists():
            try:
                same_photos([read_part(first), part])
            except CcdError:
                path.unlink()
                raise
        return {"shard": shard, "facts": part.teacher, "bad": {one.path.as_posix(): one.reason for one in part.bad}}

    def release(self) -> None:
        """Give up the teacher."""
        self._teacher = None

    def _loaded(self) -> tuple[Teacher, dict[str, Any]]:
        """Return the teacher and what is said of it; raises UsageProblem where its weights are not those of before."""
        job, number = self.job, self.number
        if self._teacher is None:
            ref, entry = job.references[number], job.recipe.teachers[number]
            self._teacher = load_teacher(ref, None, job.device, job.precisions[number], entry.resolution)
        teacher = self._teacher
        facts = {
            "teacher": job.name(number),
            "kind": teacher.kind,
            "license": teacher.license,
            "checkpoint_sha256": teacher.checkpoint_sha256,
        }
        job.check_teacher(number, facts)
        return teacher, facts


@dataclass
class Judge:
    """The teachers' labels of a shard are compared: its lines of `quality.jsonl`, before the dropping rules."""

    job: LabelJob
    name: ClassVar[str] = "quality"

    def __call__(self, unit: Unit, pool: Executor, workers: int, tick: Tick) -> dict[str, Any]:
        """Write the shard's lines."""
        job, shard = self.job, unit["shard"]
        if not job.folder.judged(shard).exists():
            parts = [read_part(job.folder.part(i, shard)) for i in range(len(job.recipe.teachers))]
            for i, part in enumerate(parts):
                try:
                    job.check_teacher(i, part.teacher)
                except CcdError:
                    part.path.unlink()
                    raise
            same_photos(parts)
            names = [job.state["teachers"][str(i)]["teacher"] for i in range(len(parts))]
            write_json(job.folder.judged(shard), shard_lines(parts, names, job.plan.size, pool, workers))
        return {"shard": shard}

    def release(self) -> None:
        """Nothing was loaded."""


@dataclass
class Assemble:
    """The parts of a shard become the shard, without the photos that are left out."""

    job: LabelJob
    name: ClassVar[str] = "shards"

    def __call__(self, unit: Unit, pool: Executor, workers: int, tick: Tick) -> dict[str, Any]:
        """Write the shard and remove its parts."""
        job, shard = self.job, unit["shard"]
        paths = [job.folder.part(i, shard) for i in range(len(job.recipe.teachers))]
        if not job.folder.shard(shard).exists():
            write_shard(job, shard, [read_part(path) for path in paths], unit["lines"])
        for path in paths:
            path.unlink(missing_ok=True)
        return {"shard": shard}

    def release(self) -> None:
        """Nothing was loaded."""


def stage_of(name: str, job: dict[str, Any]) -> Stage:
    """Return the stage of a name, for a job that `LabelJob.plain` has described."""
    restored = job_from(job)
    if name.startswith("teacher-"):
        return Teach(restored, int(name.removeprefix("teacher-")))
    return Judge(restored) if name == Judge.name else Assemble(restored)


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
