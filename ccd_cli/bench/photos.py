"""The photos of a benchmark: a user's own, or generated ones of about a megapixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ccd_cli.core.errors import CcdError
from ccd_cli.media.find import find_media

SIZES = ((800, 1200), (768, 1024), (960, 960), (1000, 640))
"""(height, width) of generated photos, in turns."""


def photos(images: Path | None, count: int, folder: Path) -> list[Path]:
    """Return `count` photos: those of the folder `images` in order, again from the first where there are fewer, or generated ones.

    Results are named after photos, so copies under other names are made in `folder`. Raises CcdError for a folder without photos.
    """
    if images is None:
        return [_generated(folder / f"{i:04d}.jpg", i) for i in range(count)]
    found = [media.path for media in find_media([str(images)], [], folder)[0] if not media.video]
    if not found:
        raise CcdError(f"{images} holds no photos.", "Give another --images, or none for generated ones.")
    made = []
    for i in range(count):
        source = found[i % len(found)]
        made.append(folder / f"{i:04d}{source.suffix.lower()}")
        made[-1].write_bytes(source.read_bytes())
    return made


def _generated(path: Path, number: int) -> Path:
    """Write a smooth JPEG with the grain of a camera."""
    rng = np.random.default_rng(number)
    height, width = SIZES[number % len(SIZES)]
    small = Image.fromarray(rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = rng.normal(0, 2, smooth.shape).astype(np.float32)
    Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(path, quality=92)
    return path
