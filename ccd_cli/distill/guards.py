"""Watch a run for the ways in which distillation is known to fail, and stop it with an explanation."""

from __future__ import annotations

import math
from typing import Any

from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import TrainingStopped
from ccd_cli.core.processes import gather
from ccd_cli.data.views import Stream


class Guard:
    """Drift of the student's scale, losses that are not finite, and flat students.

    Drift is log(student MAD / label MAD). A student may begin anywhere; what stops a run is a window's mean that is
    farther than `drift_limit` from both where it began and unit scale: the growth without bound that users of
    scale-invariant losses report.
    """

    def __init__(self, drift_limit: float, window: int, nonfinite_limit: int) -> None:
        self.drift_limit, self.window, self.nonfinite_limit = drift_limit, window, nonfinite_limit
        self.recent: list[float] = []
        self.start: float | None = None
        self.nonfinite_row = 0
        self.nonfinite_total = 0
        self.warned_flat = False
        self.stopped = False

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {
            "recent": list(self.recent),
            "start": self.start,
            "nonfinite_row": self.nonfinite_row,
            "nonfinite_total": self.nonfinite_total,
            "warned_flat": self.warned_flat,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state. A run that this guard stopped gets a fresh window and a fresh count."""
        for key in self.state_dict():
            setattr(self, key, state[key])
        if self.nonfinite_row >= self.nonfinite_limit or self.stopped:
            self.nonfinite_row, self.recent, self.start, self.stopped = 0, [], None, False

    def skipped(self, step: int) -> None:
        """Count a step whose loss or gradient was not finite; raises TrainingStopped after too many in a row."""
        self.nonfinite_row += 1
        self.nonfinite_total += 1
        if self.nonfinite_row >= self.nonfinite_limit:
            raise TrainingStopped(
                f"Step {step}: {self.nonfinite_row} steps in a row had a loss or gradient that is not finite.",
                "Start over with a lower optim.lr, or --resume with --precision fp32; look for photos or teachers that give NaN.",
            )

    def watch(self, step: int, drift: float, student_mad: float, label_mad: float = 1.0) -> str:
        """Check one step that was taken; returns a warning to show, or an empty string. Raises TrainingStopped on drift.

        Where labels have no relief (`label_mad` 0: all is masked) nothing is said of the student.
        """
        self.nonfinite_row = 0
        warning = ""
        if label_mad == 0:
            return warning
        if (not math.isfinite(drift) or student_mad < 1e-8) and not self.warned_flat:
            self.warned_flat = True
            warning = (
                f"Step {step}: the student's map is flat (MAD {student_mad:.1e}), so it learns little. If this stays, use "
                "student.init: pretrained or encoder, a smaller optim.lr, or loss.anchor.weight=0.01."
            )
        if math.isfinite(drift):
            self.recent = [*self.recent, drift][-self.window :]
        if len(self.recent) < self.window:
            return warning
        mean = sum(self.recent) / self.window
        if self.start is None:
            self.start = mean
        high, low = max(self.start, 0.0) + self.drift_limit, min(self.start, 0.0) - self.drift_limit
        if not low <= mean <= high:
            way = "grew" if mean > high else "shrank"
            self.stopped = True
            raise TrainingStopped(
                f"Step {step}: the student's scale {way} to {math.exp(mean):.3g} times the labels' (it began at "
                f"{math.exp(self.start):.3g}); scale-invariant losses do not hold it, and such a student does not become good.",
                "Start over with loss.anchor.weight=0.01 or a lower optim.lr; or --resume with a larger guards.drift_limit.",
            )
        return warning


def check_unreadable(count: int, images: int, limit: float) -> None:
    """Raise TrainingStopped when more than the fraction `limit` of the images cannot be read."""
    if count > limit * images:
        raise TrainingStopped(
            f"{count} of {images} photos cannot be read, more than images.max_skipped {limit:.3g} allows.",
            "Remove them (those of a begun run are in its skipped.jsonl), or raise it: --set images.max_skipped=0.1",
        )


def share_unreadable(stream: Stream, compute: Compute) -> int:
    """Let every process skip the images that one of them could not read; returns how many images all of them know of."""
    known = {path: why for each in gather(sorted(stream.bad.items()), compute) for path, why in each}
    for path, why in known.items():
        stream.mark_bad(path, why)
    return len(known)
