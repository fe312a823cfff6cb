"""Who labels, loaded, and what is to come of it: plain data for the ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ccd_cli.config.common import GROUND_TRUTH, Noise
from ccd_cli.core.errors import TeacherError
from ccd_cli.teachers.base import Teacher


@dataclass(frozen=True)
class Filler:
    """A loaded network that fills the holes of ground truth, and when; see the recipe's `fill`."""

    teacher: Teacher
    weight: float
    min_points: int
    max_error: float


@dataclass(frozen=True)
class DepthUnit:
    """What depth a student learns: `metric` (meters, or canonical: meters * canonical_focal / focal length), else up to a scale.

    `max_depth`: the farthest that the student can say, in meters.
    """

    metric: bool
    canonical_focal: float | None = None
    max_depth: float | None = None


@dataclass(frozen=True)
class Member:
    """A loaded teacher, its weight, for affine depth the index of the teacher it is fitted to, and noise for its labels.

    `errors` is the network whose errors `noise.errors_of` puts there. `fill` fills holes of ground truth, whose pixels count less
    beyond `full_weight_to` meters. `sky`: its labels hold what is sky. `device` and `batch`: see `Passes`.
    """

    teacher: Teacher
    weight: float
    fit_to: int | None = None
    noise: Noise = field(default_factory=Noise)
    errors: Teacher | None = None
    device: str | None = None
    batch: int | None = None
    fill: Filler | None = None
    full_weight_to: float | None = None
    sky: bool = False

    @property
    def metric(self) -> bool:
        """Whether its depth is in meters: that of ground truth beside its images is, or a student of meters is refused before."""
        return self.teacher.kind == "metric" or (self.measured and self.teacher.kind == "disparity")

    @property
    def measured(self) -> bool:
        """Whether it is ground truth, whose farthest values are no end of a network's range."""
        return self.teacher.name == GROUND_TRUTH


def reference_for(kinds: Sequence[str], index: int, names: Sequence[str], fit_to: str | None) -> int | None:
    """Return the index of the teacher that an affine-depth teacher is fitted to; None for other kinds.

    Raises TeacherError, before any time is spent, where there is none of kind depth or metric.
    """
    if kinds[index] != "affine-depth":
        if fit_to is not None:
            raise TeacherError(f"{names[index]} has kind {kinds[index]} and needs no `fit_to`.", "Remove the key.")
        return None
    wanted = [i for i, kind in enumerate(kinds) if kind in ("depth", "metric") and fit_to in (None, names[i])]
    if not wanted:
        named = f"'{fit_to}' has kind {kinds[list(names).index(fit_to)]}" if fit_to else "the recipe has none"
        raise TeacherError(
            f"{names[index]} gives affine depth (unknown shift), which becomes disparity only by a fit to a teacher of kind "
            f"depth or metric; {named}.",
            "Add one, for instance depth-anything-3-mono-large, or use a teacher of kind disparity.",
        )
    return wanted[0]
