"""`ccd bench label`: the whole of `ccd label` beside a plain loop, in turns.

The plain loop is float32, one image at a time, crop by crop, and encodes in between; it writes one tar, which nothing resumes
and nothing checks, and so it does less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ccd_cli.bench.networks import crop_size, teacher_entry
from ccd_cli.bench.photos import photos
from ccd_cli.bench.settings import LabelSettings
from ccd_cli.bench.subjects import native
from ccd_cli.bench.work import OURS, PLAIN, Way, document, forget_peak, matmul_peak, note_peak, write
from ccd_cli.config.label import LabelRecipe
from ccd_cli.config.load import check_label_recipe
from ccd_cli.core.compute import Compute, choose_compute
from ccd_cli.core.errors import CcdError, Interrupted
from ccd_cli.core.report import Report, Silent
from ccd_cli.core.signals import Signals
from ccd_cli.data.source import Source
from ccd_cli.label.engine import Engine, LocalEngine
from ccd_cli.label.job import LabelJob
from ccd_cli.label.labelers import Crops, LoadedTeacher
from ccd_cli.label.parts import crop_facts
from ccd_cli.label.plan import Plan, Unreadable, key_of
from ccd_cli.label.run import EngineOptions
from ccd_cli.label.run import run as label
from ccd_cli.label.stages import Answer, Predict, Progress, Stage, WriteShards
from ccd_cli.labels.format import FloatMap, encode_label, label_name
from ccd_cli.labels.shards import write_tar
from ccd_cli.models.arch import ARCHS, get_arch
from ccd_cli.rehearsal.counting import counting
from ccd_cli.teachers.base import Teacher

PARTS = ("teacher", "waiting", "comparing", "writing")
"""`waiting`: for images that are read and maps that are encoded. `comparing`: agreement of teachers, and facts of maps."""


def run(settings: LabelSettings, report: Report) -> dict[str, Any]:
    """Measure and return the results as JSON values; after Ctrl-C what there is, with `interrupted` true.

    Loading the teacher and looking through the list of images, which long runs do not notice, are not timed. Writes bench.json
    and bench.md where `settings.out` says. Raises CcdError for models that cannot be measured and a folder without photos.
    """
    arch = get_arch(settings.teacher) if settings.teacher in ARCHS else native(settings.teacher, None, "fp32").arch
    size = crop_size(settings.size, arch.multiple)
    compute = choose_compute(settings.device, settings.precision, settings.threads)
    about: dict[str, Any] = {"what": "label", "teacher": settings.teacher, "size": size, "patches": settings.patches}
    about |= {"batch": settings.batch, "photos": settings.photos, "rounds_done": 0, "interrupted": False}
    ways = [Way(OURS, compute.precision), Way(PLAIN, "fp32")]
    with TemporaryDirectory() as place, Signals() as signals:
        folder = Path(place)
        (folder / "photos").mkdir()
        paths = photos(settings.images, settings.photos, folder / "photos")
        name = teacher_entry(settings.teacher, folder)
        recipe = _recipe(settings, name, size, [str(path) for path in paths], compute)
        plain = native(name, None, "fp32").to(compute.device)
        peaks: list[float] = []
        flops = 0.0
        report.note(f"{compute.describe()}; `ccd label` and a plain loop in turns, {settings.rounds} rounds")
        report.begin("Measuring", 2 * settings.rounds)
        try:
            crops = torch.rand(1 + settings.patches, 3, size, size, device=compute.device)
            with counting() as so_far:
                plain.predict(crops)
                flops = so_far().flops
            for number in range(settings.rounds):
                peaks.append(matmul_peak(compute))
                watch = _Watch(runtime="torch")
                forget_peak(compute)
                label(
                    recipe, out=str(folder / f"labels-{number}"), device=settings.device, engine=watch, report=Silent()
                )
                ways[0].add(settings.photos, watch.seconds, watch.cpu[0])
                note_peak(ways[0], compute)
                report.advance(2 * number + 1)
                forget_peak(compute)
                began = time.process_time()
                seconds = plain_labels(recipe, paths, plain, folder / "plain", signals)
                ways[1].add(settings.photos, seconds, time.process_time() - began)
                note_peak(ways[1], compute)
                report.advance(2 * number + 2)
                about["rounds_done"] = number + 1
        except Interrupted:
            about["interrupted"] = True
        finally:
            report.end()
    found = document(ways, about, compute, flops, peaks)
    write(found, settings.out)
    return found


def _recipe(settings: LabelSettings, teacher: str, size: int, paths: list[str], compute: Compute) -> LabelRecipe:
    entry = {"model": teacher, "batch": settings.batch, "precision": compute.precision}
    crops = {"size": size, "min_side": size, "patches": settings.patches}
    values: dict[str, Any] = {"task": "label", "name": "bench", "images": paths, "teachers": [entry], "crops": crops}
    return check_label_recipe(values | {"threads": torch.get_num_threads()}, "ccd bench label")


def _nothing() -> dict[str, float]:
    return dict.fromkeys(PARTS, 0.0)


@dataclass(frozen=True)
class _Watch(EngineOptions):
    """The engine of this process, whose stages are timed: seconds by part, and processor seconds."""

    seconds: dict[str, float] = field(default_factory=_nothing)
    cpu: list[float] = field(default_factory=lambda: [0.0])

    def start(self, stop_if_asked: Callable[[], None], report: Report) -> Engine:
        """Return the engine."""
        return _WatchedEngine(self, report)


class _WatchedEngine(LocalEngine):
    def __init__(self, watch: _Watch, report: Report) -> None:
        super().__init__(report)
        self._watch = watch

    def run_stage(self, job: LabelJob, stage: Stage, shards: Sequence[int], progress: Progress) -> Iterator[Answer]:
        """Run a stage; a teacher is loaded, and has seen a crop, before the clock starts."""
        seconds, in_teacher = self._watch.seconds, 0.0
        if isinstance(stage, Predict):
            timed = _TimedTeacher(**{each.name: getattr(stage.load(), each.name) for each in fields(LoadedTeacher)})
            timed.predict([np.zeros((job.plan.size, job.plan.size, 3), np.uint8)])
            timed.seconds.clear()
            stage.teacher = timed
        began, cpu = time.perf_counter(), time.process_time()
        yield from super().run_stage(job, stage, shards, progress)
        whole = time.perf_counter() - began
        self._watch.cpu[0] += time.process_time() - cpu
        if isinstance(stage, Predict):
            in_teacher = sum(timed.seconds)
            seconds["teacher"] += in_teacher
            seconds["waiting"] += whole - in_teacher
        else:
            seconds["writing" if isinstance(stage, WriteShards) else "comparing"] += whole


@dataclass(frozen=True)
class _TimedTeacher(LoadedTeacher):
    """A teacher that keeps the seconds of each forward pass; its maps are on the host then."""

    seconds: list[float] = field(default_factory=list)

    def predict(self, crops: Crops) -> FloatMap:
        """See `LoadedTeacher`."""
        began = time.perf_counter()
        made = super().predict(crops)
        self.seconds.append(time.perf_counter() - began)
        return made


def plain_labels(
    recipe: LabelRecipe, paths: list[Path], teacher: Teacher, folder: Path, signals: Signals
) -> dict[str, float]:
    """Label photos one after another, crop by crop, into one tar; return seconds by part.

    Raises CcdError for an unreadable photo, Interrupted between two of them after a signal.
    """
    plan, seconds = Plan(recipe, Source(paths)), _nothing()
    last = time.perf_counter()

    def mark(part: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[part] += now - last
        last = now

    members: list[tuple[str, bytes]] = []
    for position in range(plan.count):
        if signals.received is not None:
            raise signals.interruption("Interrupted.", "")
        read = plan.read(position)
        if isinstance(read, Unreadable):
            raise CcdError(read.reason)
        mark("waiting")
        for number, crop in enumerate(read[1]):
            one = torch.from_numpy(crop)[None].permute(0, 3, 1, 2).float().div_(255.0)
            values = teacher.predict(one).float().cpu().numpy()[0]
            mark("teacher")
            members.append((label_name(key_of(position), 0, number), encode_label(values, teacher.kind)[0]))
            mark("waiting")
            crop_facts(values, teacher.kind)
            mark("comparing")
        members.append((f"{key_of(position)}.photo", read[0].path.read_bytes()))
    folder.mkdir(exist_ok=True)
    write_tar(folder / "labels.tar", members)
    mark("writing")
    return seconds
