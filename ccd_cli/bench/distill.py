"""`ccd bench distill`: the loop of `ccd distill` beside a plain one, in turns.

The plain one is what a first version looks like: float32, one image at a time, read when its turn comes, labeled crop by crop,
its loss by masks over the whole map, context by context.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ccd_cli.bench.networks import crop_size, student_entry, teacher_entry
from ccd_cli.bench.photos import photos
from ccd_cli.bench.plain_losses import plain_loss
from ccd_cli.bench.settings import DistillSettings
from ccd_cli.bench.work import OURS, PLAIN, Way, document, forget_peak, matmul_peak, note_peak, write
from ccd_cli.config.load import check_recipe
from ccd_cli.config.settings import DistillSettings as RunSettings
from ccd_cli.core.errors import Interrupted
from ccd_cli.core.report import Report, Silent
from ccd_cli.core.signals import Signals
from ccd_cli.data.batch import collate
from ccd_cli.distill.optimizer import finish_gradients, optimizer_step
from ccd_cli.distill.state import Run, TrainState
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.members import Member
from ccd_cli.distill.train import PARTS
from ccd_cli.rehearsal.cost import count_step
from ccd_cli.rehearsal.profile import Clock
from ccd_cli.rehearsal.steps import rehearsal, walk
from ccd_cli.teachers.adapters.native import NativeTeacher

NETWORKS = ("teacher", "student", "backward")
PHOTOS = 8
"""Photos that are generated; steps go over them again and again."""


def run(settings: DistillSettings, report: Report) -> dict[str, Any]:
    """Measure and return the results as JSON values; after Ctrl-C what there is, with `interrupted` true.

    Writes bench.json and bench.md where `settings.out` says. Raises CcdError for models that cannot be measured, sizes that they
    do not take, and a folder without photos.
    """
    student, arch = student_entry(settings.student)
    size = crop_size(settings.size, arch.multiple)
    about: dict[str, Any] = {"what": "distill", "student": settings.student, "teacher": settings.teacher, "size": size}
    about |= {"patches": settings.patches, "batch": settings.batch, "steps": settings.steps}
    about |= {"rounds_done": 0, "interrupted": False}
    with TemporaryDirectory() as place:
        folder = Path(place)
        recipe = {
            "name": "bench",
            "images": [str(path) for path in _photos(settings, folder)],
            "student": student,
            "teachers": [teacher_entry(settings.teacher, folder)],
            "crops": {"size": size, "min_side": size, "patches": settings.patches},
            "optim": {"batch": settings.batch},
            "masks": {"flat": False},  # random weights may see no relief, and would then leave the loss nothing to do
        }
        chosen = RunSettings(device=settings.device, precision=settings.precision, threads=settings.threads)
        checked = check_recipe(recipe, "ccd bench distill")
        with rehearsal(checked, chosen, folder / "run", Silent()) as (work, state, signals):
            compute = work.compute
            report.note(f"{compute.describe()}; the loop and a plain one in turns, {settings.rounds} rounds")
            ways = [Way(OURS, compute.precision), Way(PLAIN, "fp32")]
            peaks: list[float] = []
            flops = 0.0
            try:
                counts = count_step(work, state, signals)  # it warms up, too
                flops = sum(counts[part].flops for part in NETWORKS) / settings.batch
                _rounds(work, state, signals, settings, (ways, peaks, about), report)
            except Interrupted:
                about["interrupted"] = True
            finally:
                report.end()
    found = document(ways, about, compute, flops, peaks)
    write(found, settings.out)
    return found


def _photos(settings: DistillSettings, folder: Path) -> list[Path]:
    (folder / "photos").mkdir()
    return photos(settings.images, PHOTOS, folder / "photos")


def _rounds(
    run: Run,
    state: TrainState,
    signals: Signals,
    settings: DistillSettings,
    into: tuple[list[Way], list[float], dict[str, Any]],
    report: Report,
) -> None:
    """Measure both ways once a round; each begins with a step that is not timed, in which its images arrive."""
    (ours, plain), peaks, about = into
    images = settings.steps * settings.batch
    report.begin("Measuring", 2 * settings.rounds)
    for number in range(settings.rounds):
        peaks.append(matmul_peak(run.compute))
        forget_peak(run.compute)
        clock = Clock(run)

        def mark(part: str, clock: Clock = clock) -> None:
            clock.mark(part)
            if part == PARTS[-1] and not clock.running:
                clock.start()

        walk(run, state, signals, 1 + settings.steps, mark)
        ours.add(images, clock.seconds, clock.cpu)
        note_peak(ours, run.compute)
        report.advance(2 * number + 1)
        forget_peak(run.compute)
        bare = plain_run(run)
        clock = Clock(run)
        plain_step(bare, state, signals, clock)
        clock.start()
        for _ in range(settings.steps):
            plain_step(bare, state, signals, clock)
        plain.add(images, clock.seconds, clock.cpu)
        note_peak(plain, run.compute)
        report.advance(2 * number + 2)
        about["rounds_done"] = number + 1


class CropByCrop:
    """A teacher in float32 that sees one view at a time."""

    def __init__(self, teacher: NativeTeacher) -> None:
        self._one = copy.copy(teacher)
        self._one.precision = "fp32"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._one, name)

    def predict(self, rgb: Tensor) -> Tensor:
        """See `Teacher`."""
        return torch.cat([self._one.predict(view) for view in rgb.split(1)])

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `Teacher`."""
        made = [self._one.predict_with_features(view) for view in rgb.split(1)]
        return torch.cat([each[0] for each in made]), torch.cat([each[1] for each in made if each[1] is not None])


def plain_run(run: Run) -> Run:
    """Return the run with its teachers in float32, view by view."""
    members = []
    for member in run.ensemble.members:
        assert isinstance(member.teacher, NativeTeacher)
        teacher: Any = CropByCrop(member.teacher)
        members.append(Member(teacher, member.weight))
    old = run.ensemble
    ensemble = TeacherEnsemble(members, old.mixing, old.saturated_fraction, old.drop_flat, old.seed, old.region_unit)
    return replace(run, ensemble=ensemble)


def plain_step(run: Run, state: TrainState, signals: Signals, clock: Clock) -> None:
    """Train for a step image by image, and tell the clock its parts."""
    step = state.step + 1
    positions = next(run.positions(state.step))
    teacher, total = run.ensemble.draw(step), 0.0
    for position in positions:
        if signals.received is not None:
            raise signals.interruption("Interrupted.", "")
        batch = collate([run.stream[position]]).to(run.compute.device)
        clock.mark("data")
        labels = run.ensemble.label(batch, teacher, run.features, run.noise_seed(step, 0))
        clock.mark("teacher")
        prediction = state.predict(batch.student)
        clock.mark("student")
        loss = plain_loss(prediction, labels, batch.boxes, run.recipe.loss) / len(positions)
        clock.mark("loss")
        state.scaler.scale(loss).backward()
        total += float(loss.detach())
        clock.mark("backward")
    norm = finish_gradients(state, run.recipe.optim.clip)
    optimizer_step(state, total, float(norm))
    state.step = step
    clock.mark("optimizer")
