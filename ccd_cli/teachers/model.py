"""A loaded model with the resolution it predicts at, and how the default one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.compute import Compute, memory_error
from ccd_cli.core.errors import CcdError, Interrupted, UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.teachers.adapters.native import NativeTeacher
from ccd_cli.teachers.adapters.sizes import network_size
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.download.choose import DEFAULT_MODEL
from ccd_cli.teachers.download.pull import HubUnreachable, ensure
from ccd_cli.teachers.load import load_teacher, resolve_model

FALLBACK = "builtin:tiny"


@dataclass(frozen=True)
class Model:
    """A loaded teacher, the side in pixels that the user asked for (None: the model's own), and what its own is (None: the
    photo's).
    """

    teacher: Teacher
    asked: int | None = None
    own: int | None = None

    @property
    def resolution(self) -> int | None:
        """Return the side in pixels at which it sees photos; None: their own."""
        return self.asked or self.own

    def short_side(self, height: int, width: int) -> int | None:
        """Return the short side in pixels at which the network sees a photo of this size; None where it is not known."""
        if isinstance(self.teacher, NativeTeacher):
            return min(network_size(self.teacher.model.arch, height, width, self.resolution))
        return self.resolution

    def upsampling(self, height: int, width: int) -> float:
        """Return how many pixels of a map come from one pixel of the network, at least 1."""
        return max(1.0, min(height, width) / (self.short_side(height, width) or min(height, width)))


def load(
    name: str | None,
    arch: str | None,
    resolution: int | None,
    compute: Compute,
    report: Report,
    compiled: bool = False,
) -> Model:
    """Return the model called `name`, or without a name the default one, which is pulled on first use.

    Where the hub cannot be reached the default becomes `builtin:tiny`, with one warning. A named model is never replaced:
    raises what `load_teacher` raises. `compiled` compiles the network first; UsageProblem where its family has none.
    """
    word = _default(report) if name is None else name
    ref = resolve_model(word, arch)
    report.note(f"Loading {ref.name} ({ref.kind}, {ref.license})")
    teacher = load_teacher(ref, None, compute.device, compute.precision)
    if isinstance(teacher, NativeTeacher):
        if compiled:
            report.note("Compiling the network, which takes a minute or more: it pays for many images of few sizes")
            teacher.compile()
        return Model(teacher, resolution, teacher.model.arch.resolution)
    if compiled:
        raise UsageProblem(f"--compile: {ref.name} runs in its authors' library.", "Run without --compile.")
    return Model(teacher, resolution, ref.card.resolution if ref.card else None)


def predict_each(
    teacher: Teacher,
    photos: Sequence[NDArray[np.uint8]],
    side: int | None,
    focals: Sequence[float | None],
) -> list[DepthMap | CcdError]:
    """Return a map, or why there is none, for each photo uint8 RGB [H, W, 3].

    `side` is the side in pixels that the network sees (None: its own), `focals` are focal lengths in pixels where they are
    known. Photos are predicted together; where that fails (memory, a photo that is refused), half as many at a time, so that
    one photo alone is without a map. Raises Interrupted, and what is neither a CcdError nor exhausted memory.
    """
    if not photos:
        return []
    try:
        return list(teacher.predict_photos(photos, side, focals))
    except Interrupted:
        raise
    except CcdError as error:
        problem = error
    except (RuntimeError, MemoryError) as error:
        if memory_error(error) is None:
            raise
        problem = CcdError("Out of memory.", "Lower --resolution, or use --device cpu.")
    if len(photos) == 1:
        return [problem]
    middle = len(photos) // 2
    return [
        *predict_each(teacher, photos[:middle], side, focals[:middle]),
        *predict_each(teacher, photos[middle:], side, focals[middle:]),
    ]


def _default(report: Report) -> str:
    try:
        ensure(DEFAULT_MODEL, report)
    except HubUnreachable:
        report.warn(
            f"{DEFAULT_MODEL} is not on this machine and the hub cannot be reached: using {FALLBACK}, which is small "
            "and rough. Online, `ccd teachers pull` gets the better one; --model chooses another."
        )
        return FALLBACK
    return DEFAULT_MODEL
