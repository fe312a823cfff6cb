"""Read photos. A photo is uint8 RGB (H, W, 3), upright; anything that cannot be read whole is an ImageError."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ccd_cli.core.errors import ImageError, first_line
from ccd_cli.core.memory import MemoryBudget, NotEnoughMemory
from ccd_cli.core.report import Report
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.media import raw
from ccd_cli.media.formats import PICTURES, RAW, SUFFIXES, why_unread
from ccd_cli.media.pillow import open_image
from ccd_cli.media.pixels import ORIENTATION, bit_depth_note, dropped_bits, is_deep_color, reduce_by, to_rgb

MAX_PIXELS = 250_000_000
MIN_SIDE = 16
DECODE_BYTES = 10
"""Bytes a pixel that decoding takes at its peak: Pillow's four, and two copies of three; half of it for a reduced photo."""
SMALL = 160_000_000
"""Bytes that all photos under way may need together without being judged against the free memory: 16 megapixels."""
DECODING = MemoryBudget(SMALL)
"""What the photos that are being decoded need: large ones wait for each other where they do not fit into memory together."""


@dataclass(frozen=True)
class Photo:
    """A photo as it is worked on: `rgb` uint8 (H, W, 3); `full_size` (height, width) of the upright file; notes on it."""

    rgb: NDArray[np.uint8]
    full_size: tuple[int, int]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """`pixels`: larger photos are halved until they are within; None: never. `work`: bytes a pixel that the caller needs."""

    pixels: int | None = None
    work: int = 0

    def factor(self, size: tuple[int, int]) -> int:
        """Return the power of two by which a photo of (height, width) `size` is reduced."""
        factor = 1
        while self.pixels is not None and size[0] * size[1] > self.pixels * factor**2:
            factor *= 2
        return factor

    def memory(self, size: tuple[int, int]) -> int:
        """Return the bytes that decoding a photo and working on it takes at its peak."""
        pixels, factor = size[0] * size[1], self.factor(size)
        return max(pixels * DECODE_BYTES // (2 if factor > 1 else 1), pixels // factor**2 * self.work)


def check_header(path: Path) -> tuple[int, int]:
    """Return (height, width) from the file's header alone; raises ImageError with the reason."""
    if path.suffix.lower() in RAW:
        with _named(path), path.open("rb") as file:
            size = raw.size(file)
        _check_size(path, size)
        return size
    with _opened(path, path) as image:
        return image.height, image.width


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Return uint8 RGB (H, W, 3), EXIF rotation applied, alpha laid over white, 16-bit scaled to 8.

    Raises ImageError for a file that is missing, no image, truncated, smaller than 16 or larger than 250 megapixels, or
    that does not fit into the free memory; where that holds only beside others that are being decoded, it waits for them.
    """
    return load_photo(path).rgb


def load_photo(path: Path, limits: Limits = Limits()) -> Photo:
    """Return a photo with its full size and notes, reduced where `limits` say so; raises ImageError as `read_photo`."""
    if path.suffix.lower() in RAW:
        with _named(path), path.open("rb") as file:
            return _load_raw(file, path, limits)
    with _opened(path, path) as image:
        if raw.is_dng(image):
            with _named(path), path.open("rb") as file:
                return _load_raw(file, path, limits)
        return _load(image, path, path, limits)


def photo_memory(path: Path, limits: Limits) -> int:
    """Return the bytes that reading a photo and working on it takes, by its header; 0 for a file that cannot be read."""
    try:
        return limits.memory(check_header(path))
    except ImageError:
        return 0


def decode_photo(data: bytes, name: str, memory: ExitStack | None = None) -> NDArray[np.uint8]:
    """Return uint8 RGB [H, W, 3] of an image file's bytes, equal to `read_photo` of the file; raises ImageError.

    What decoding takes is held until `memory` is closed (None: until it is decoded): others wait rather than fail meanwhile.
    """
    path = Path(name)
    if path.suffix.lower() in RAW:
        with _named(path):
            return _load_raw(io.BytesIO(data), path, Limits(), memory).rgb
    with _opened(io.BytesIO(data), path) as image:
        if raw.is_dng(image):
            with _named(path):
                return _load_raw(io.BytesIO(data), path, Limits(), memory).rgb
        return _load(image, path, io.BytesIO(data), Limits(), memory).rgb


def _load(
    image: Image.Image, path: Path, source: Path | IO[bytes], limits: Limits, memory: ExitStack | None = None
) -> Photo:
    """Decode an opened image; `source` is read again where Pillow gives only the upper half of 16 bits."""
    size = (image.height, image.width)
    with ExitStack() as here:
        (memory or here).enter_context(_memory_for(path, size, limits.memory(size)))
        return _decoded(image, path, source, limits.factor(size))


def _decoded(image: Image.Image, path: Path, source: Path | IO[bytes], factor: int) -> Photo:
    size = (image.height, image.width)
    deep = is_deep_color(image)
    frames = getattr(image, "n_frames", 1)
    try:
        if factor > 1 and image.format in ("JPEG", "MPO"):
            image.draft(None, (-(-image.width // factor), -(-image.height // factor)))
        image.load()
        bits = None
        if deep:
            image, bits = dropped_bits(image, source)
        done = max(1, round(size[1] / image.width))
        turned_by = image.getexif().get(ORIENTATION, 1)
        upright = image if turned_by == 1 else ImageOps.exif_transpose(image)  # which copies, turned or not
        turned = (upright.width < upright.height) != (image.width < image.height)
        small = reduce_by(upright, factor // done)
        rgb, gray_bits = to_rgb(small)
    except MemoryError:
        raise ImageError(f"{path}: {size[1]}x{size[0]} does not fit into memory.") from None
    except Exception as error:  # a decoder may raise anything for a damaged file
        raise ImageError(f"{path}: damaged ({_reason(error)})") from error
    full = (size[1], size[0]) if turned else size
    notes = (
        bit_depth_note(gray_bits if bits is None else bits) + _size_note(full, rgb) + _first_note(frames, image.format)
    )
    return Photo(rgb, full, notes)


def _load_raw(file: IO[bytes], path: Path, limits: Limits, memory: ExitStack | None = None) -> Photo:
    size = raw.size(file)
    _check_size(path, size)
    factor = limits.factor(size)
    needed = max(size[0] * size[1] * DECODE_BYTES, limits.memory(size))  # RAW is developed whole
    with ExitStack() as here:
        (memory or here).enter_context(_memory_for(path, size, needed))
        file.seek(0)
        rgb = raw.develop(file)
        full = rgb.shape[0], rgb.shape[1]
        if factor > 1:
            rgb, _ = to_rgb(reduce_by(Image.fromarray(rgb), factor))
    return Photo(rgb, full, _size_note(full, rgb))


def _first_note(frames: int, form: str | None) -> list[str]:
    """MPO's further images are the other eye's view or a preview, and HEIF's are other photos: an animation they are not."""
    if frames < 2 or form not in ("WEBP", "PNG", "TIFF", "GIF", "AVIF"):
        return []
    what = "pages" if form == "TIFF" else "frames"
    return [f"the first of its {frames} {what} is read (as a video or as single images, all would be)"]


def _size_note(full: tuple[int, int], rgb: NDArray[np.uint8]) -> list[str]:
    height, width = rgb.shape[:2]
    if (height, width) == full:
        return []
    return [
        f"{full[1]}x{full[0]} pixels are reduced to {width}x{height}, the size of its maps (--full-size keeps them)"
    ]


@contextmanager
def _memory_for(path: Path, size: tuple[int, int], needed: int) -> Iterator[None]:
    """Hold the memory that decoding a photo takes; raises ImageError where that is more than is free."""
    try:
        with DECODING.hold(needed):
            yield
    except NotEnoughMemory as error:
        what = (
            f"{size[1]}x{size[0]} needs about {needed / 1e9:.1f} GB of memory, and {error.free / 1e9:.1f} GB are free"
        )
        raise ImageError(f"{path}: {what}: reduce the image, or free memory") from error


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what a file or a RAW decoder raises into ImageErrors that name the file."""
    try:
        yield
    except ImageError as error:
        said = error.message
        raise ImageError(said if said.startswith(f"{path}:") else f"{path}: {said}") from error
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except MemoryError:
        raise ImageError(f"{path}: does not fit into memory.") from None
    except Exception as error:
        raise ImageError(f"{path}: not a readable image ({_reason(error)})") from error


@contextmanager
def _opened(source: Path | IO[bytes], path: Path) -> Iterator[Image.Image]:
    """Open an image lazily and check its size before any pixel is decoded."""
    try:
        if isinstance(source, Path) and source.stat().st_size == 0:
            raise ImageError(f"{path}: empty file")
        image = open_image(source)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except Exception as error:
        raise ImageError(f"{path}: {_unopened(source, path, error)}") from error
    with image:
        _check_size(path, (image.height, image.width))
        yield image


def _unopened(source: Path | IO[bytes], path: Path, error: BaseException) -> str:
    """Why a file cannot be opened: its own format, whatever its name says, before what the decoder says."""
    suffix = path.suffix.lower()
    if suffix in PICTURES - SUFFIXES:
        return why_unread(suffix)
    if isinstance(source, Path):
        head = b""
        with suppress(OSError, ValueError), source.open("rb") as file:  # no file, or a name that is none
            head = file.read(16)
        if head[4:12] in (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1") and ".heic" not in SUFFIXES:
            return why_unread(".heic")
        if head[:4] in (b"II*\0", b"MM\0*"):
            return (
                "a TIFF of a kind that is not read here (colors of 32 bits, or camera RAW?): convert it to 8 or 16 bits"
            )
    return f"not a readable image ({_reason(error)})"


def _check_size(path: Path, size: tuple[int, int]) -> None:
    height, width = size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{path}: {width}x{height} is over {MAX_PIXELS // 1_000_000} megapixels")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{path}: {width}x{height} is under {MIN_SIDE} pixels")


def _reason(error: BaseException) -> str:
    text = first_line(error)
    return text if len(text) < 100 and "<_io" not in text else type(error).__name__


NAMED = 10
"""Photos that a warning names; the rest is counted."""
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
    for photo, reason in sorted(bad)[:NAMED]:
        report.warn(reason if reason.startswith(str(photo)) else f"{photo}: {reason}")
    if len(bad) > NAMED:
        report.warn(f"... and {len(bad) - NAMED:,} more photos that cannot be read, of {len(chosen):,} looked at")
    return sorted(bad)
