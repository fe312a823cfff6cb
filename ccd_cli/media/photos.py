"""Read photos. A photo is uint8 RGB (H, W, 3), upright; anything that cannot be read whole is an ImageError."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ccd_cli.core.errors import ImageError, first_line
from ccd_cli.core.report import Report
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.media.pillow import without_pillow_limit

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
MAX_PIXELS = 250_000_000
MIN_SIDE = 16


def check_header(path: Path) -> tuple[int, int]:
    """Return (height, width) from the file's header alone; raises ImageError with the reason."""
    with _opened(path) as image:
        return image.height, image.width


def read_photo(path: Path) -> np.ndarray:
    """Return uint8 RGB (H, W, 3), EXIF rotation applied, alpha laid over white, 16-bit scaled to 8.

    Raises ImageError for a file that is missing, no image, truncated, smaller than 16 or larger than 250 megapixels.
    """
    with _opened(path) as image:
        try:
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
        except Exception as error:  # a decoder may raise anything for a damaged file
            raise ImageError(f"{path}: damaged ({_reason(error)})") from error


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image lazily and check its size before any pixel is decoded."""
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: empty file")
        with without_pillow_limit():
            image: Image.Image = Image.open(path)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except Exception as error:
        raise ImageError(f"{path}: not a readable image ({_reason(error)})") from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageError(f"{path}: {width}x{height} is over {MAX_PIXELS // 1_000_000} megapixels")
        if min(width, height) < MIN_SIDE:
            raise ImageError(f"{path}: {width}x{height} is under {MIN_SIDE} pixels")
        yield image


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return a decoded image of any mode as uint8 RGB: alpha laid over white, 16-bit and float scaled to 8."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image).astype(np.float32)
        top = 65535.0 if image.mode != "F" else max(float(np.nanmax(values)), 1e-6)
        gray = np.clip(np.nan_to_num(values) / top * 255.0 + 0.5, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(gray[..., None], 3, axis=2))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _reason(error: BaseException) -> str:
    text = first_line(error)
    return text if len(text) < 100 and "<_io" not in text else type(error).__name__


HEADERS_CHECKED = 20_000
"""Photos whose headers are read before the start, in seeded order; damage further in is found when a photo is used."""


def bad_headers(photos: list[Path], seed: int, workers: int, report: Report) -> list[tuple[Path, str]]:
    """Read headers and return (photo, reason) for those that are no images; one line of progress for long lists."""
    chosen = np.random.default_rng(step_seed(seed, Draw.HEADERS)).permutation(len(photos))[:HEADERS_CHECKED]

    def check(index: int) -> tuple[Path, str] | None:
        try:
            check_header(photos[index])
        except ImageError as error:
            return photos[index], error.message
        return None

    report.begin("Looking at photos", len(chosen))
    bad = []
    with ThreadPoolExecutor(workers) as pool:
        for done, found in enumerate(pool.map(check, chosen.tolist()), start=1):
            if found is not None:
                bad.append(found)
            if done % 200 == 0:
                report.advance(done)
    report.end()
    return sorted(bad)
