"""`ccd distill --profile N`: where the time of a step goes, in N steps of the run's own loop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals
from ccd_cli.distill.images import worker_count
from ccd_cli.distill.state import Run, TrainState
from ccd_cli.distill.train import PARTS
from ccd_cli.rehearsal.steps import rehearsal, wait, walk

WARM_UP = 2
"""Steps before the first one that is timed: they set up more than they compute."""
NAMES = {
    "data": "waiting for images",
    "teacher": "teacher",
    "student": "student, forward",
    "loss": "loss",
    "backward": "backward",
    "optimizer": "optimizer",
    "log": "log",
}


class Clock:
    """Seconds by part, once started; the device is waited for at every mark, so that its work counts where it was given.

    Time between two marks belongs to the part that the second one ends: nothing is left out.
    """

    def __init__(self, run: Run) -> None:
        self._device = run.compute.device
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._last: float | None = None
        self._first_cpu = self._last_cpu = 0.0

    @property
    def running(self) -> bool:
        """Whether it counts."""
        return self._last is not None

    def start(self) -> None:
        """Begin to count."""
        wait(self._device)
        self._first_cpu = self._last_cpu = time.process_time()
        self._last = time.perf_counter()

    def mark(self, part: str) -> None:
        """A part has ended."""
        if self._last is None:
            return
        wait(self._device)
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last, self._last_cpu = now, time.process_time()

    @property
    def cpu(self) -> float:
        """Processor seconds of all of this process's threads up to the last mark."""
        return self._last_cpu - self._first_cpu


def profile(recipe: DistillRecipe, settings: DistillSettings, steps: int, report: Report) -> dict[str, Any]:
    """Time `steps` steps after a warm-up and return seconds a step by part, the slowest part and advice, as JSON values.

    Nothing is written, and a run that is in the folder already is not touched. Raises what a run raises before its first step,
    Interrupted after a signal.
    """
    folder = Path(settings.out or recipe.out or Path("runs") / recipe.name)
    with rehearsal(recipe, settings, folder, report) as (run, state, signals):
        return timed(run, state, signals, steps, report)


def timed(run: Run, state: TrainState, signals: Signals, steps: int, report: Report) -> dict[str, Any]:
    """Time the next steps of a run."""
    clock, done, began = Clock(run), 0, 0.0

    def mark(part: str) -> None:
        nonlocal done, began
        clock.mark(part)
        if part == PARTS[-1]:
            done += 1
            report.advance(done)
            if done == WARM_UP:
                clock.start()
                began = time.perf_counter()

    report.begin("Timing steps", WARM_UP + steps)
    try:
        walk(run, state, signals, WARM_UP + steps, mark)
    finally:
        report.end()
    whole = (time.perf_counter() - began) / steps
    optim = run.recipe.optim
    seconds = {part: value / steps for part, value in clock.seconds.items()}
    slowest = max(seconds, key=lambda part: seconds[part])
    return {
        "name": run.recipe.name,
        "device": run.compute.describe(),
        "steps": steps,
        "seconds_per_step": whole,
        "images_per_second": optim.batch * optim.accumulate / whole,
        "parts": {part: {"seconds": value, "share": value / whole} for part, value in seconds.items()},
        "slowest": slowest,
        "advice": advice(run, slowest),
    }


def profile_table(found: dict[str, Any]) -> list[dict[str, object]]:
    """Return the rows of the table from `timed`: seconds a step and shares."""
    rows = [(NAMES[part], each["seconds"], each["share"]) for part, each in found["parts"].items()]
    rows.append(("a step", found["seconds_per_step"], 1.0))
    return [{"part": name, "seconds": f"{seconds:.4f}", "share": f"{share:.1%}"} for name, seconds, share in rows]


def advice(run: Run, part: str) -> str:
    """Return one sentence on what makes the slowest part faster in this run."""
    recipe = run.recipe
    workers = worker_count(recipe)
    slow = {
        "data": f"Images arrive too late: raise images.workers (now {workers}), up to the processor's cores, or store the "
        "images smaller.",
        "teacher": "Label once with `ccd label` and train from the labels, or lower crops.patches, "
        f"of which the teacher sees {recipe.crops.patches} an image.",
        "student": "Lower crops.size or take a smaller student.arch.",
        "loss": "Lower crops.size or the number of contexts in loss.shared.levels and loss.local_global.levels.",
        "backward": "Set student.checkpointing to false if the memory allows it."
        if recipe.student.checkpointing
        else "Lower crops.size, take a smaller student.arch, or train the head alone (student.freeze_encoder).",
        "optimizer": "Raise optim.batch or optim.accumulate: the same images then take fewer steps.",
        "log": "Raise the intervals of `log`, or write the run to a faster disk.",
    }
    if recipe.labels is not None:
        slow["teacher"] = "The labels are computed already: lower crops.size."
    elif run.compute.precision == "fp32" and run.compute.device.type == "cuda":
        return (
            f"{slow[part]} --precision bf16 makes networks faster."
            if part in ("teacher", "student", "backward")
            else slow[part]
        )
    return slow[part]
