"""Which size an image is resized to before a network sees it. No torch here."""

from __future__ import annotations

import math

from ccd_cli.core.errors import UsageProblem
from ccd_cli.models.arch import Arch


def network_size(arch: Arch, height: int, width: int, resolution: int | None = None) -> tuple[int, int]:
    """Return the (height, width) in pixels that a photo is resized to, aspect kept up to rounding.

    `resolution` (None: the network's default) bounds the short side from below or the long side from above, by the
    network's rule; both sides are multiples of `arch.multiple`. Raises `UsageProblem` for a senseless resolution.
    """
    bound = arch.resolution if resolution is None else resolution
    step = arch.multiple
    if not step <= bound <= 8192:
        raise UsageProblem(f"{arch.name} takes a resolution of {step} to 8192, not {bound}.")
    lower = arch.resolution_rule == "lower"
    scale = bound / (min(height, width) if lower else max(height, width))

    def fit(side: int) -> int:
        size = round(side * scale / step) * step
        if lower and size < bound:
            size = math.ceil(side * scale / step) * step
        if not lower and size > bound:
            size = math.floor(side * scale / step) * step
        return max(size, step)

    return fit(height), fit(width)


def nearest_size(height: int, width: int, multiple: int) -> tuple[int, int]:
    """Return (height, width) rounded to the nearest multiples, at least one each."""

    def fit(side: int) -> int:
        return max(1, (side + multiple // 2) // multiple) * multiple

    return fit(height), fit(width)
