"""A user's own RGB-D images, small: rendered scenes whose depth was stored in millimeters, with holes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from ccd_cli.scenes import render

SIZE = (96, 128)


def write_pairs(folder: Path, clips: int = 3, frames: int = 3, first: int = 0, **changes: Any) -> Path:
    """Write `clips` folders of `frames` images each, with depth in millimeters (0: unknown), and return the file that says so."""
    made = render(range(first, first + clips * frames), *SIZE, family="room")
    rng = np.random.default_rng(first)
    for i in range(clips * frames):
        clip = folder / f"clip-{i // frames}"
        clip.mkdir(parents=True, exist_ok=True)
        rgb = made.rgb[i].permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(rgb)).save(clip / f"{i % frames}.jpg", quality=95)
        depth = np.where(rng.random(SIZE) < 0.1, 0, np.clip(made.depth[i].numpy() * 1000, 0, 60_000))
        Image.fromarray(depth.astype(np.uint16)).save(clip / f"{i % frames}.png")
    fx, fy, cx, cy = (float(value) for value in made.intrinsics[0])
    rule = {
        "name": "mine",
        "root": ".",
        "image": "clip-*/*.jpg",
        "depth": "clip-*/*.png",
        "divisor": 1000,
        "max": 20,
        "intrinsics": [fx, fy, cx, cy],
    }
    path = folder / "pairs.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in {**rule, **changes}.items() if value is not None}))
    return path
