"""Tileable noise textures of several kinds with mipmap levels, and band-limited lookup.

The tables are made once per device from fixed seeds with NumPy; a lookup selects the level by the size of a pixel's
footprint, so that distant surfaces are smooth instead of aliased.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

KINDS = ("cloudy", "speckle", "grain", "clumps", "veins", "blades")
SIZE = 256
LEVELS = 8


@lru_cache(maxsize=4)
def table(device: torch.device) -> Tensor:
    """Return the tables [kinds * LEVELS * SIZE * SIZE], float32; mean 0, deviation about 1 at the sharpest level."""
    made = np.stack([_levels(_texture(kind, number)) for number, kind in enumerate(KINDS)])
    return torch.from_numpy(made.astype(np.float32).reshape(-1)).to(device)


def sample(kind: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> Tensor:
    """Look noise up at (u, v) in texels, bilinearly; kind is an int32 index, footprint a pixel's size in texels."""
    _, exponent = torch.frexp(footprint)
    first = (kind * LEVELS + exponent.clamp(0, LEVELS - 1)) * (SIZE * SIZE)
    left, top = torch.floor(u), torch.floor(v)
    right, below = u - left, v - top
    x0, y0 = left.to(torch.int32) & (SIZE - 1), top.to(torch.int32) & (SIZE - 1)
    x1 = (x0 + 1) & (SIZE - 1)
    upper, lower = first + y0 * SIZE, first + ((y0 + 1) & (SIZE - 1)) * SIZE
    a, b, c, d = (_take(spot) for spot in (upper + x0, upper + x1, lower + x0, lower + x1))
    a, c = a + (b - a) * right, c + (d - c) * right
    return a + (c - a) * below


def scatter(x: Tensor, y: Tensor, salt: Tensor) -> Tensor:
    """Return a hash value in [0, 1) for every pair of int32 numbers."""
    h = x * 374761393 + y * 668265263 + salt * 1274126177
    h = (h ^ ((h >> 13) & 0x7FFFF)) * 1103515245
    h = (h ^ ((h >> 15) & 0x1FFFF)) * 668265263
    return ((h >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def _take(spot: Tensor) -> Tensor:
    return table(spot.device).index_select(0, spot.reshape(-1)).reshape(spot.shape)


def _texture(kind: str, seed: int) -> np.ndarray:
    rough = np.random.default_rng(1000 + seed).standard_normal((SIZE, SIZE))
    fy, fx = (np.fft.fftfreq(SIZE)[:, None] * SIZE, np.fft.rfftfreq(SIZE)[None, :] * SIZE)
    radius = np.hypot(fx, fy) + 1e-9

    def shaped(weight: np.ndarray) -> np.ndarray:
        weight = weight * (radius > 0.5)
        return np.fft.irfft2(np.fft.rfft2(rough) * weight, s=(SIZE, SIZE))

    if kind == "speckle":
        made = shaped(np.exp(-((radius / 90) ** 2)) * radius**-0.15)
    elif kind == "grain":
        made = shaped((1 + np.hypot(fx * 9, fy)) ** -0.7)
    elif kind == "clumps":
        made = np.tanh(1.5 * _unit(shaped(np.exp(-(((radius - 14) / 12) ** 2)))))
        made = made + 0.5 * _unit(shaped(radius**-0.3))
    elif kind == "veins":
        made = -np.abs(_unit(shaped(radius**-1.4))) + 0.2 * _unit(shaped(radius**-0.6))
    elif kind == "blades":
        made = shaped((1 + np.hypot(fx, fy * 3)) ** -0.35)
    else:
        made = shaped(radius**-1.1)
    return _unit(made)


def _unit(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def _levels(texture: np.ndarray) -> np.ndarray:
    """Return LEVELS versions of a tileable texture, each with half the resolution (by blur) of the one before."""
    fy, fx = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :]
    spectrum = np.fft.rfft2(texture)
    sigmas = [0.0] + [0.35 * 2.0**level for level in range(1, LEVELS)]
    blurs = [np.exp(-2 * (np.pi * s) ** 2 * (fx**2 + fy**2)) for s in sigmas]
    return np.stack([np.fft.irfft2(spectrum * blur, s=(SIZE, SIZE)) for blur in blurs])
