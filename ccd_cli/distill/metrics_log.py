"""The numbers of a step: summed over its micro-steps, brought to the host at once, written to `metrics.jsonl`, TensorBoard and
experiment trackers.
"""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import Interrupted
from ccd_cli.core.files import disk_error, json_line
from ccd_cli.core.processes import average
from ccd_cli.core.report import Report
from ccd_cli.distill.state import Run, TrainState
from ccd_cli.distill.trackers.feeds import Trackers

OF_SOME = "fit_error"
"""Is NaN in a micro-step without a fit, and averaged over the others."""
_KNOWN = "fit_error known"
SHOWN = ("loss", "shared", "local_global", "gradient", "feature", "depth", "drift")
"""Drift of students of disparity alone: others have a unit of their own."""


@dataclass(frozen=True)
class Events:
    """What a step leaves to decide, the same on every process: its gradient norm, whether one of them was asked to stop, and
    whether one has found images that cannot be read."""

    gradient_norm: float
    stop: bool
    unreadable: bool


class StepMetrics:
    """The mean of loss terms and statistics over the micro-steps of a step and over processes.

    `unreadable`: how many images are known to be so when it begins.
    """

    def __init__(self, compute: Compute, accumulate: int, unreadable: int = 0) -> None:
        self.compute, self.accumulate, self.unreadable = compute, accumulate, unreadable
        self._sums: dict[str, Tensor] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Add the scalars of one micro-step; they stay on their device."""
        values = {name: value.detach() for name, value in values.items()}
        if (error := values.get(OF_SOME)) is not None:
            values |= {OF_SOME: error.nan_to_num(0.0), _KNOWN: (~error.isnan()).to(error.dtype)}
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros(())) + value / self.accumulate

    def reduce(self, gradient_norm: Tensor, stop_requested: bool, unreadable: int) -> tuple[dict[str, float], Events]:
        """Return (metrics, what happened), the same on every process, and begin the next step.

        One transfer to the host, the only one of a step. One process that asks for it stops all of them, after the same step.
        """
        dtype = torch.float32 if self.compute.device.type == "mps" else torch.float64
        new, self.unreadable = unreadable - self.unreadable, unreadable
        told = torch.tensor([float(stop_requested), float(new)], dtype=dtype)
        parts = [*(torch.atleast_1d(value) for value in (*self._sums.values(), gradient_norm)), told]
        values = torch.cat([part.to(self.compute.device, dtype, non_blocking=True) for part in parts])
        average([values], self.compute)
        *means, norm, stop, found = values.tolist()
        metrics = dict(zip(self._sums, means, strict=True))
        if (known := metrics.pop(_KNOWN, None)) is not None:
            metrics[OF_SOME] = metrics[OF_SOME] / known if known else math.nan
        self._sums = {}
        return metrics, Events(norm, stop > 0, found > 0)


class MetricsLog:
    """Writes `metrics.jsonl` and TensorBoard events, feeds trackers and shows progress; only in the first process.

    Lines go into the state too, whose lines are those of the file at the beginning.
    """

    def __init__(self, run: Run, state: TrainState, report: Report) -> None:
        self.run, self.first, self.lines, self.report = run, state.step, state.lines, report
        self.last_loss = float("nan")
        self._lines: Any = None
        self._events: Any = None
        self._trackers: Trackers | None = None

    def __enter__(self) -> Self:
        if not self.run.compute.main:
            return self
        folder, recipe = self.run.folder, self.run.recipe
        earlier = self.lines.content().splitlines()
        if earlier and (loss := json.loads(earlier[-1])["loss"]) is not None:
            self.last_loss = loss
        self._lines = folder.metrics.open("a", encoding="utf-8")
        if recipe.log.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder.events), purge_step=self.first + 1)
        self._trackers = Trackers(recipe, folder, self.report)
        self.report.begin("Distilling", recipe.optim.steps, self.first)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self.run.compute.main:
            return
        self.report.end()
        if self._trackers is not None:
            stopped = kind is not None and issubclass(kind, Interrupted)
            self._trackers.close("stopped" if stopped else "finished" if kind is None else "failed")
        with contextlib.suppress(OSError):
            self._lines.close()
            if self._events is not None:
                self._events.close()

    def step(
        self, step: int, metrics: dict[str, float], teacher: str, lr: float, grad_norm: float | None, seconds: float
    ) -> None:
        """Write one line, whole and flushed, and show it; `grad_norm` None marks a skipped step."""
        self.last_loss = metrics["loss"]
        if not self.run.compute.main:
            return
        speed = self.run.recipe.optim.batch * self.run.recipe.optim.accumulate / seconds
        line = {
            "step": step,
            **metrics,
            "lr": lr,
            "teacher": teacher,
            "gradient_norm": grad_norm,
            "images_per_second": speed,
        }
        if grad_norm is None:
            line["skipped"] = True
        text = json_line(line)
        self.lines.add(text)
        try:
            self._lines.write(text)
            self._lines.flush()
        except OSError as error:
            raise disk_error(error, self.run.folder.metrics) from error
        self.events({f"train/{key}": value for key, value in line.items() if isinstance(value, float)}, step)
        shown = SHOWN if self.run.recipe.student.kind == "disparity" else SHOWN[:-1]
        self.report.advance(step, **{key: metrics[key] for key in shown if key in metrics}, **{"img/s": speed})

    def events(self, values: dict[str, Any], step: int) -> None:
        """Add numbers and images (uint8 H,W,3) to TensorBoard and trackers; where that fails, warn once and continue without."""
        if self._trackers is not None:
            self._trackers.log(values, step)
        if self._events is None:
            return
        try:
            for key, value in values.items():
                if isinstance(value, np.ndarray):
                    self._events.add_image(key, value, step, dataformats="HWC")
                else:
                    self._events.add_scalar(key, value, step)
        except OSError as error:
            self._events = None
            self.report.warn(f"TensorBoard events stop here ({error.strerror or error}); the run continues.")
