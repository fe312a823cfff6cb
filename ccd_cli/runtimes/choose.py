"""Which runtime `--runtime auto` takes: the fastest exact one whose preparation the work pays back. No torch here."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ccd_cli.models.arch import Arch
from ccd_cli.runtimes.sessions import is_installed

FASTEST = ("openvino", "onnxruntime")
"""Exact runtimes beside torch, the fastest first."""
SAVED = {"openvino": 0.5, "onnxruntime": 0.3}
"""What a pass saves of torch's time, as a share; at least. Measured, processor seconds of a pass in torch, OpenVINO and
onnxruntime (float32, two threads of a Xeon with AVX-512 and AMX that others were using too): Depth Anything V2 Small at 518x518
2.79, 1.08, 1.86; `builtin:tiny` at 160x160 0.12, 0.02, 0.02; MobileNetV4 small with 16 features at 512x512 0.99, 0.08, 0.13.
"""
_TOKEN_S = {"small": 0.0020, "base": 0.0060, "large": 0.0200}
"""Seconds of one core that torch takes for a token of a ViT, head included: `small` measured (above), the others by the
operations of their blocks.
"""
_PYRAMID_S = 4e-6
"""Seconds of one core that torch takes for an input pixel of a small convolutional network (measured 3.8e-6 and 4.7e-6)."""
_EXPORT_S = {"pyramid": 8.0, "small": 12.0, "base": 22.0, "large": 60.0}
"""Processor seconds that a graph takes, with the imports: measured without them 4.4 (MobileNetV4 small), 8.1 and 17.4 (Depth
Anything V2 Small and Base) on one core; large by its bytes.
"""


@dataclass(frozen=True)
class Work:
    """What a network is loaded for: `passes` images or frames of `pixels` input pixels (None: its own resolution)."""

    passes: int = 1
    pixels: int | None = None


def can_export() -> bool:
    """Return whether the package is there that writes graphs."""
    return is_installed("onnx")


def installed() -> list[str]:
    """Return the exact runtimes beside torch that are installed, the fastest first."""
    return [name for name in FASTEST if is_installed(name)]


def export_seconds(arch: Arch) -> float:
    """Return about how long the export of a network's graph takes."""
    return _EXPORT_S[_size(arch)]


def pass_seconds(arch: Arch, pixels: int | None, threads: int | None) -> float:
    """Return about how long torch takes for one image of `pixels` network input on this many cores."""
    area = arch.resolution**2 * 4 / 3 if pixels is None else float(pixels)
    a_pixel = _PYRAMID_S if arch.layout == "pyramid" else _TOKEN_S[_size(arch)] / arch.multiple**2
    return area * a_pixel / (threads or os.cpu_count() or 1)


def is_worth(runtime: str, arch: Arch, work: Work, threads: int | None) -> bool:
    """Return whether exporting a network costs less time than `runtime` saves on this work."""
    saved = work.passes * pass_seconds(arch, work.pixels, threads) * SAVED[runtime]
    return saved > export_seconds(arch)


def _size(arch: Arch) -> str:
    if arch.layout == "pyramid":
        return "pyramid"
    return next((size for size in ("large", "base") if f"_{size}" in arch.encoder), "small")
