"""A tiny NYUv2 and predictors of it that make no mistake, for tests of `ccd eval`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (480, 640)
PERFECT = {  # values of a predictor of each kind that makes no mistake, from depth in meters
    "disparity": lambda d: 3.0 / d + 0.5,
    "depth": lambda d: 0.2 * d,
    "affine-depth": lambda d: 0.1 * d + 0.7,
    "metric": lambda d: d,
}


def true_depth(i: int) -> np.ndarray:
    """Meters [480, 640]: a slope with a box, each image another one."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    depth = 1.0 + 6.0 * (1 - y / SIZE[0]) + 0.3 * np.sin(x / 40 + i)
    depth[200 + 30 * i : 330, 100:300] = 1.5 + 0.2 * i
    return np.round(depth * 1000) / 1000


def make_nyu(root: Path, scene: str = "room", count: int = 3) -> Path:
    """A folder with NYUv2's layout and `count` photos; returns the data root."""
    folder = root / "nyuv2" / "test" / scene
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(folder / f"rgb_{i:04d}.png")
        code = np.round(true_depth(i) * 1000).astype(np.uint16)
        code[:60] = 0
        Image.fromarray(code).save(folder / f"depth_{i:04d}.png")
    return root


def predict(root: Path, kind: str, scene: str = "room", count: int = 3, noise: float = 0.0) -> Path:
    folder = root / "nyuv2" / "test" / scene
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        made = PERFECT[kind](true_depth(i)) * np.exp(noise * np.random.default_rng(i).normal(size=SIZE))
        np.save(folder / f"pred_{i:04d}.npy", made.astype(np.float32))
    return root


def document(result) -> dict:
    return json.loads(result.stdout)


def rows(result) -> dict:
    return {row["dataset"]: row for row in document(result)["results"]}


def files_of(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("results.json", "per_image.csv")}
