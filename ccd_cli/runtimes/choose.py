"""Which runtime `--runtime auto` takes: the fastest exact one whose preparation the work pays back. No torch here."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ccd_cli.models.arch import Arch
from ccd_cli.runtimes.sessions import is_installed

FASTEST = ("openvino", "onnxruntime")
"""Exact runtimes beside torch, the fastest first."""
SAVED = {"openvino": 0.4, "onnxruntime": 0.15}
"""What a pass saves of torch's time, as a share."""
_TOKEN_S = {384: 0.0010, 768: 0.0032, 1024: 0.0100}
"""Seconds of one core that torch takes for a token of a ViT of this width, head included."""
_PYRAMID_S = 1.5e-6
"""Seconds of one core that torch takes for an input pixel of a small convolutional network."""
_EXPORT_S = {"pyramid": 20.0, "small": 30.0, "base": 40.0, "large": 90.0}
"""Seconds that the export of a graph takes, on one core."""


@dataclass(frozen=True)
class Work:
    """What a network is loaded for: `passes` images or frames of `pixels` input pixels (None: its own resolution)."""

    passes: int = 1
    pixels: int | None = None


def can_export() -> bool:
    """Return whether the packages are there that write graphs."""
    return is_installed("onnx") and is_installed("onnxscript")


def installed() -> list[str]:
    """Return the exact runtimes beside torch that are installed, the fastest first."""
    return [name for name in FASTEST if is_installed(name)]


def export_seconds(arch: Arch) -> float:
    """Return about how long the export of a network's graph takes."""
    return _EXPORT_S[_size(arch)]


def pass_seconds(arch: Arch, pixels: int | None, threads: int | None) -> float:
    """Return about how long torch takes for one image of `pixels` network input on this many cores."""
    area = arch.resolution**2 * 4 / 3 if pixels is None else float(pixels)
    if arch.layout == "pyramid":
        seconds = area * _PYRAMID_S
    else:
        width = {"small": 384, "base": 768, "large": 1024}[_size(arch)]
        seconds = area / arch.multiple**2 * _TOKEN_S[width]
    return seconds / (threads or os.cpu_count() or 1)


def is_worth(runtime: str, arch: Arch, work: Work, threads: int | None) -> bool:
    """Return whether exporting a network costs less time than `runtime` saves on this work."""
    saved = work.passes * pass_seconds(arch, work.pixels, threads) * SAVED[runtime]
    return saved > export_seconds(arch)


def _size(arch: Arch) -> str:
    if arch.layout == "pyramid":
        return "pyramid"
    return next((size for size in ("large", "base") if f"_{size}" in arch.encoder), "small")
