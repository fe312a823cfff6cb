"""What two following frames of a video tell about the camera: a cut, or by how much the whole picture moved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Calibrated on 595 pairs of unrelated photos and on three clips (pan, ride, hand-held) at up to eight times their speed.
# Peak of the phase correlation: 0.23 or less between unrelated photos; within a clip 0.68 or more, 0.38 at eight times its speed.
# Colors: 1 % of unrelated pairs differ by less than 0.28, none by less than 0.13; within a clip 0.08, 0.10 at four times.
SAME_PICTURE = 0.3  # a peak below: the pictures have nothing in common
CUT_COLOR = 0.12  # total variation distance (0..1) of 64-bin color histograms that a cut needs,
CUT_COLOR_AND_DEPTH = 0.06  # or this one where the depth maps differ too:
CUT_DEPTH = 0.6  # their correlation is below

LONGEST = 128  # pixels of the gray picture in which motion is measured
FARTHEST = 0.25  # of a side: a larger motion is not believed
COMMON = 32  # pixels below which two maps are not compared

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FrameView:
    """What is kept of a frame: the shares of 64 colors, and a gray picture of at most `LONGEST` pixels, 0..255."""

    colors: Array
    gray: Array

    @cached_property
    def spectrum(self) -> NDArray[np.complex128]:
        """The Fourier transform of the windowed gray picture."""
        return np.fft.rfft2((self.gray - self.gray.mean()) * _window(*self.gray.shape), s=_padded(self.gray.shape))


def look(rgb: NDArray[np.uint8]) -> FrameView:
    """Return the look of an RGB picture uint8 [h, w, 3]."""
    few = rgb[:: max(1, rgb.shape[0] // 48), :: max(1, rgb.shape[1] // 64)].astype(np.int64) >> 6
    bins = np.bincount((few @ np.array([16, 4, 1])).ravel(), minlength=64)
    step = -(-max(rgb.shape[:2]) // LONGEST)
    gray = rgb[::step, ::step].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return FrameView(bins / bins.sum(), np.round(gray).astype(np.float64))


class Motion(NamedTuple):
    """How the whole picture moved, in parts of its height and width, and how sure that is (peak, 1: a pure shift)."""

    down: float
    right: float
    peak: float


def is_cut(before: FrameView, now: FrameView, motion: Motion, depth_correlation: float) -> bool:
    """Tell whether a new scene begins: the pictures have nothing in common, and new colors or new depth.

    A flash changes the colors but not the edges, a fast pan or motion blur the edges but hardly the colors.
    """
    distance = float(np.abs(now.colors - before.colors).sum() / 2)
    needed = CUT_COLOR_AND_DEPTH if depth_correlation < CUT_DEPTH else CUT_COLOR
    return motion.peak < SAME_PICTURE and distance > needed


def motion_between(before: FrameView, now: FrameView) -> Motion:
    """Return how the whole picture moved; zeros where it is unsure.

    Phase correlation (Kuglin and Hines, 1975) of windowed gray pictures, low frequencies only, with a parabola
    through the peak for parts of a pixel.
    """
    if before.gray.shape != now.gray.shape:
        return Motion(0.0, 0.0, 0.0)
    height, width = _padded(now.gray.shape)
    power = now.spectrum * np.conj(before.spectrum)
    size = np.abs(power)
    even = power / (size + 1e-9 * (size.max() + 1e-30))
    surface = np.fft.irfft2(_low_pass(height, width) * even, s=(height, width))
    y, x = divmod(int(surface.argmax()), width)
    peak = float(surface[y, x])
    down = ((y + _vertex(surface[:, x], y) + height / 2) % height - height / 2) / now.gray.shape[0]
    right = ((x + _vertex(surface[y], x) + width / 2) % width - width / 2) / now.gray.shape[1]
    sure = peak >= SAME_PICTURE and max(abs(down), abs(right)) <= FARTHEST
    return Motion(down, right, peak) if sure else Motion(0.0, 0.0, peak)


def correlation(a: Array, b: Array) -> float:
    """Return the correlation of the pixels that both know; 1 where there is nothing to compare or one is constant."""
    if a.shape != b.shape:
        return 1.0
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < COMMON:
        return 1.0
    x, y = a[known] - a[known].mean(), b[known] - b[known].mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else 1.0


def blocks(values: Array, side: int) -> Array:
    """Return sums over blocks side x side; a rest narrower than a block is left out."""
    height, width = max(1, values.shape[0] // side), max(1, values.shape[1] // side)
    rows = values[: height * side, : width * side]
    return np.add.reduceat(np.add.reduceat(rows, np.arange(height) * side, 0), np.arange(width) * side, 1)


def _padded(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return sides, not smaller, that a Fourier transform is fast for."""
    return -(-shape[0] // 16) * 16, -(-shape[1] // 16) * 16


@lru_cache(maxsize=8)
def _window(height: int, width: int) -> Array:
    return np.hanning(height)[:, None] * np.hanning(width)


@lru_cache(maxsize=8)
def _low_pass(height: int, width: int) -> Array:
    """Return a filter under which a pure shift gives a peak of 1."""
    smooth = np.exp(-(np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width) ** 2) / (2 * 0.1**2))
    return smooth / float(np.fft.irfft2(smooth + 0j, s=(height, width))[0, 0])


def _vertex(line: Array, at: int) -> float:
    """Return where the parabola through three points of a ring has its top, relative to `at`."""
    left, middle, right = line[at - 1], line[at], line[(at + 1) % line.size]
    bend = left - 2 * middle + right
    return float(0.5 * (left - right) / bend) if bend < 0 else 0.0
