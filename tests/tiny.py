"""The smallest recipe that uses every part of the loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def tiny_values(photos: Path, make_teacher: Callable[..., Path]) -> dict[str, Any]:
    """Return a recipe as plain values: two tiny teachers, a tiny student, 64-pixel crops, 12 steps."""
    return {
        "name": "tiny",
        "images": str(photos),
        "student": {"arch": "timm", "encoder": "mobilenetv4_conv_small", "features": 16, "init": "scratch"},
        "teachers": [
            {"model": str(make_teacher("first", 1)), "weight": 0.7},
            {"model": str(make_teacher("second", 2, encoder="test_vit")), "weight": 0.3},
        ],
        "crops": {"size": 64, "min_side": 70, "patches": 2},
        "optim": {"steps": 12, "batch": 2, "lr": 1e-3, "encoder_lr": 1e-3, "checkpoint_every": 5, "ema": 0.9},
        "log": {"samples": 1, "tensorboard": False},
    }
