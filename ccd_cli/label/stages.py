"""The three stages of labeling: predict, score agreement, write shards. A unit of work is one shard of a stage.

Whoever runs the units, and in which order, the files are the same. A stage is sent to another process as it is (pickled);
what a unit needs beyond its shard's number is in `Unit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import torch

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.core.compute import Compute, plain_memory_errors
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import write_json
from ccd_cli.core.report import Silent
from ccd_cli.data.source import Source
from ccd_cli.geometry.kinds import Kind
from ccd_cli.label.assemble import check_same_images, write_shard
from ccd_cli.label.job import LabelJob
from ccd_cli.label.labelers import Labeler, LoadedTeacher, TruthLabels
from ccd_cli.label.parts import read_part, write_part
from ccd_cli.label.plan import key_of
from ccd_cli.label.quality import Line, score_shard
from ccd_cli.label.threads import ImageThreads
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.licenses import GROUND_TRUTH_LICENSE
from ccd_cli.teachers.load import load_teacher
from ccd_cli.teachers.runtime import load_in

Progress = Callable[[int], None]
"""Called with the number of the unit's images that are done; may raise to stop, and nothing of the unit is left then."""


@dataclass(frozen=True)
class Unit:
    """One shard of a stage: for `Predict` its images alone, for `WriteShards` its lines of quality by key."""

    shard: int
    images: Source = field(default_factory=lambda: Source([]))
    lines: dict[str, Line] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """See `cluster.pool.Item`."""
        return f"shard-{self.shard:06d}"

    @property
    def words(self) -> str:
        """See `cluster.pool.Item`."""
        return f"Shard {self.shard}"

    def split(self) -> list[Unit]:
        """See `cluster.pool.Item`: a shard is one file."""
        return [self]


@dataclass(frozen=True)
class Answer:
    """What a unit came to: its shard; from `Predict` also the teacher's facts and the unreadable images (reason by path)."""

    shard: int
    teacher: dict[str, Any] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


class Stage(Protocol):
    """Runs units of one kind. What it writes depends on the unit alone, and a unit whose file exists is skipped."""

    def unit(self, shard: int) -> Unit:
        """Return the unit of a shard."""
        ...

    def run(self, unit: Unit, threads: ImageThreads, progress: Progress) -> Answer:
        """Do a unit and write its file."""
        ...

    def for_worker(self) -> Self:
        """Return the stage as another process needs it: without what is large and in every unit, or not picklable."""
        ...

    def release(self) -> None:
        """Free what was loaded."""
        ...


@dataclass
class Predict:
    """One teacher labels a shard. The teacher is loaded for the first unit and stays loaded."""

    job: LabelJob
    number: int
    teacher: Labeler | None = None

    def unit(self, shard: int) -> Unit:
        """Return the shard with its images: their paths, and where their ground truth lies."""
        return Unit(shard, images=self.job.plan.shard_images(shard))

    def run(self, unit: Unit, threads: ImageThreads, progress: Progress) -> Answer:
        """Write the shard's part."""
        job, path = self.job, self.job.folder.part(self.number, unit.shard)
        smaller = (
            f"Start over with a smaller batch: --overwrite --set teachers.{self.number}.batch=1, or lower crops.size."
        )
        with plain_memory_errors(smaller):
            teacher = self.load()
            torch.set_num_threads(job.recipe.threads)  # an engine's thread may have a number of its own
            if not path.exists():
                write_part(path, job.plan, unit.shard, unit.images, teacher, threads, progress)
        part = read_part(path)
        if self.number > 0 and (first := job.folder.part(0, unit.shard)).exists():
            try:
                check_same_images([read_part(first), part])
            except CcdError:
                path.unlink()
                raise
        return Answer(unit.shard, part.teacher, {image.path.as_posix(): image.reason for image in part.unreadable})

    def for_worker(self) -> Self:
        """Return the stage without the list of images and without a loaded teacher."""
        return replace(self, job=self.job.for_worker(), teacher=None)

    def release(self) -> None:
        """Free the teacher."""
        self.teacher = None

    def load(self) -> Labeler:
        """Return the teacher; raises UsageProblem where its weights are not those that labeling began with."""
        job, entry = self.job, self.job.recipe.teachers[self.number]
        if self.teacher is None:
            network = self._network()
            if entry.model != GROUND_TRUTH:
                assert network is not None
                self.teacher = network
            else:
                kind = job.plan.truth_kind
                facts = self._facts(kind, None if network is None else network.model)
                self.teacher = TruthLabels(kind, facts, entry.batch, network, entry.fill)
        job.check_teacher(self.number, self.teacher.facts)
        return self.teacher

    def _network(self) -> LoadedTeacher | None:
        """The network that the teacher runs, loaded; None where it is ground truth alone."""
        job, entry = self.job, self.job.recipe.teachers[self.number]
        reference, precision, keys = job.references[self.number], job.precisions[self.number], entry.network
        if reference is None or keys is None:
            return None
        model: Teacher
        if (runtime := job.runtimes[self.number]) == "torch":
            model = load_teacher(reference, None, job.device, precision, keys.resolution)
        else:
            compute = Compute(str(job.device), precision, threads=job.recipe.threads)
            model = load_in(reference, runtime, compute, Silent(), keys.resolution)
        return LoadedTeacher(model, self._facts(model.kind, model), job.device, entry.batch)

    def _facts(self, kind: Kind, network: Teacher | None) -> dict[str, Any]:
        return {
            "teacher": self.job.teacher_name(self.number),
            "kind": kind,
            "license": GROUND_TRUTH_LICENSE if network is None else network.license,
            "checkpoint_sha256": "" if network is None else network.checkpoint_sha256,
        }


@dataclass
class ScoreAgreement:
    """The teachers' labels of a shard are compared: its lines of `quality.jsonl`, before the drop rules."""

    job: LabelJob

    def unit(self, shard: int) -> Unit:
        """Return the shard."""
        return Unit(shard)

    def run(self, unit: Unit, threads: ImageThreads, progress: Progress) -> Answer:
        """Write the shard's lines."""
        job, path = self.job, self.job.folder.scores(unit.shard)
        if not path.exists():
            parts = [read_part(job.folder.part(i, unit.shard)) for i in range(len(job.recipe.teachers))]
            for i, part in enumerate(parts):
                try:
                    job.check_teacher(i, part.teacher)
                except CcdError:
                    part.path.unlink()
                    raise
            check_same_images(parts)
            names = [job.state["teachers"][str(i)]["teacher"] for i in range(len(parts))]
            write_json(path, score_shard(parts, names, job.plan.size, threads))
        return Answer(unit.shard)

    def for_worker(self) -> Self:
        """Return the stage without the list of images."""
        return replace(self, job=self.job.for_worker())

    def release(self) -> None:
        """Nothing was loaded."""


@dataclass
class WriteShards:
    """The parts of a shard become the shard, without the images that the rules drop. `lines` are those of quality by key."""

    job: LabelJob
    lines: Mapping[str, Line]

    def unit(self, shard: int) -> Unit:
        """Return the shard with its lines of quality."""
        keys = map(key_of, self.job.plan.positions(shard))
        return Unit(shard, lines={key: self.lines[key] for key in keys if key in self.lines})

    def run(self, unit: Unit, threads: ImageThreads, progress: Progress) -> Answer:
        """Write the shard and remove its parts."""
        job = self.job
        parts = [job.folder.part(i, unit.shard) for i in range(len(job.recipe.teachers))]
        if not (job.folder.written(unit.shard).exists() and job.folder.shard(unit.shard).exists()):
            write_shard(job, unit.shard, [read_part(path) for path in parts], unit.lines)
        for path in parts:
            path.unlink(missing_ok=True)
        return Answer(unit.shard)

    def for_worker(self) -> Self:
        """Return the stage without the list of images and without the lines, which are in the units."""
        return replace(self, job=self.job.for_worker(), lines={})

    def release(self) -> None:
        """Nothing was loaded."""
