"""What a forward pass will take, said before it starts: minutes, and memory that is not there."""

from __future__ import annotations

import time

import numpy as np

from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError
from ccd_cli.core.memory import available_memory
from ccd_cli.core.report import Report
from ccd_cli.models.arch import Arch
from ccd_cli.teachers.adapters.sizes import network_size
from ccd_cli.teachers.model import Model

LONG_S = 30.0
"""Seconds of one forward pass from which on it is worth a warning: nothing is shown while it lasts."""
_PROBED = {"cpu": 4, "cuda": 64}  # times the model's own pixels, from which on a small pass is timed first
_BYTES, _BYTES_A_FEATURE = 250, 7
"""Peak bytes per input pixel: measured 540 to 740 with 64 features in the head, 1200 with 128, 1890 with 256 (fp32);
412 to 442 for `builtin:tiny` (32 features), 351 to 377 with 16: 0.8 to 1.05 of what is told."""
_FEATURES = 256  # of a network whose head is not known
_PATCH, _TOKENS = 14, 10_000
"""Attention takes as long as all the rest at so many tokens: Depth Anything V2 Small (random weights, fp32, two cores shared with
other work) took 4.9 s of processor time for 686x518 pixels, 24 s for 1386x1036 and 85 s for 2058x1540; told were 28 s and 96 s.
By the operations of a ViT alone, 6 times its width (2304), it would have been 45 s and 194 s.
"""
_PROBE = 518
"""Least side of the pass that is timed: at 160 pixels, the own ones of `builtin:tiny`, what a pass takes beside its pixels makes it
2 to 20 times too long."""
_REPEATED_S = 5.0
"""Seconds up to which the timed pass is run again: the first one also sets the network up (`builtin:tiny`: up to 12 times)."""


def warn_of_cost(model: Model, compute: Compute, size: tuple[int, int], batch: int, report: Report) -> None:
    """Warn where one pass over `batch` images of `size` (height, width) will take minutes, or more memory than is free.

    The time is that of a pass at the model's own resolution, at least 518, which is run for it, times pixels and the growth of
    attention.
    """
    try:
        height, width = network_input(model, size, model.resolution)
    except CcdError:  # of a resolution that the network does not take: the prediction says so
        return
    free = free_memory(compute)
    needed = height * width * batch * bytes_per_pixel(model)
    what = f"A network input of {width}x{height} pixels" + (f" for {batch} images at once" if batch > 1 else "")
    lower = "--batch or --resolution" if batch > 1 else "--resolution"
    if free is not None and needed > free:
        report.warn(
            f"{what} takes about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: it may fail, or the "
            f"system may end it. Lower {lower}"
        )
    own = network_input(model, size, max(model.own or 0, _PROBE))
    ratio = height * width * batch / (own[0] * own[1])
    if ratio < _PROBED.get(compute.type, 4) or (seconds := _timed(model, size)) is None:
        return
    seconds *= ratio * _attention(model, height * width) / _attention(model, own[0] * own[1])
    if seconds > LONG_S:
        report.warn(
            f"{what} takes about {duration(seconds)} per forward pass on this device. Lower {lower} if that is long"
        )


def network_input(model: Model, size: tuple[int, int], resolution: int | None) -> tuple[int, int]:
    """Return the (height, width) that the network sees of an image of `size`."""
    arch = _arch(model)
    if arch is not None:
        return network_size(arch, *size, resolution)
    scale = 1.0 if resolution is None else resolution / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def bytes_per_pixel(model: Model) -> int:
    """Return about how many bytes a forward pass takes at its peak for each pixel of the network's input."""
    arch = _arch(model)
    return _BYTES + _BYTES_A_FEATURE * (_FEATURES if arch is None else arch.features)


def free_memory(compute: Compute) -> int | None:
    """Return the free bytes of the device's memory; None where it is not known."""
    if compute.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(compute.device)[0])
    return available_memory()


def duration(seconds: float) -> str:
    """Return seconds in words: seconds below two minutes, minutes below two hours."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"


def _timed(model: Model, size: tuple[int, int]) -> float | None:
    """Return the seconds of a pass at the model's own resolution, at least 518; None where it fails."""
    scale = min(1.0, 518 / min(size))
    small = np.full((max(16, round(size[0] * scale)), max(16, round(size[1] * scale)), 3), 128, np.uint8)
    taken: list[float] = []
    while not taken or (len(taken) < 2 and taken[0] < _REPEATED_S):
        begun = time.monotonic()
        try:
            model.teacher.predict_photos([small], max(model.own or 0, _PROBE), [None])
        except (CcdError, RuntimeError, MemoryError):
            return None
        taken.append(time.monotonic() - begun)
    return min(taken)


def _attention(model: Model, pixels: int) -> float:
    """Return by how much attention between N tokens lengthens a ViT: 1 + N / 10,000; 1 for convolutions."""
    arch = _arch(model)
    return 1.0 if arch is not None and arch.layout == "pyramid" else 1 + pixels / _PATCH**2 / _TOKENS


def _arch(model: Model) -> Arch | None:
    return model.about.arch
