"""Tone mapping of HDR video (PQ and HLG, BT.2020) to the standard range that photos and networks have."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

PQ, HLG = 16, 18  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
HDR = {PQ: "PQ", HLG: "HLG"}
_WHITE = 203.0  # cd/m2 of a white sheet in HDR, ITU-R BT.2408
_PEAK = 1000.0  # cd/m2 of the display that HLG is shown on by its definition, and what PQ is mastered for mostly
_KNEE = 0.8  # below, light stays as it is; above, all up to the peak is compressed into the rest
# Linear BT.2020 to linear BT.709, ITU-R BT.2087.
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
_STEPS = 4096


def tone_map(codes: NDArray[np.uint16], transfer: int) -> NDArray[np.uint8]:
    """Return sRGB uint8 [H, W, 3] for full-range R'G'B' codes uint16 [H, W, 3] of BT.2020 with PQ or HLG.

    Light up to 0.8 of reference white (203 cd/m2) keeps its value, so that what a standard-range copy of the film shows
    is shown alike; brighter light, to 1000 cd/m2, is compressed by its brightest channel, which keeps hues.
    """
    linear = _linear(transfer)[codes >> 4]  # white is 1
    if transfer == HLG:  # the system gamma of a 1000 cd/m2 display, BT.2100
        luminance = linear @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        linear = linear * (_PEAK / _WHITE) * np.maximum(luminance, 1e-6)[..., None] ** np.float32(0.2)
    linear = np.maximum(linear @ _TO_709.T, 0)
    top = linear.max(axis=-1, keepdims=True)
    linear *= np.where(top > _KNEE, _compressed(top) / np.maximum(top, 1e-6), 1)
    shown: NDArray[np.uint8] = _srgb()[
        np.clip(np.rint(np.sqrt(linear) * (_STEPS - 1)), 0, _STEPS - 1).astype(np.uint16)
    ]
    return shown


def _compressed(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map `_KNEE` to itself with slope 1, and the peak to 1: a hyperbola between."""
    room, span = 1 - _KNEE, _PEAK / _WHITE - _KNEE
    over = np.clip(light - _KNEE, 0, span) / room
    end = span / room
    return (_KNEE + room * over * (1 + over / end**2) / (1 + over)).astype(np.float32)


@cache
def _linear(transfer: int) -> NDArray[np.float32]:
    """Return linear light for 4096 codes: PQ with white at 1 (SMPTE ST 2084), HLG scene light in 0..1 (BT.2100)."""
    code = np.linspace(0, 1, _STEPS)
    if transfer == PQ:
        root = code ** (32 / 2523)
        light = (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)
        return (light * 10000 / _WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


@cache
def _srgb() -> NDArray[np.uint8]:
    """Return sRGB codes for 4096 steps of the square root of linear light."""
    light = np.linspace(0, 1, _STEPS) ** 2
    code = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(code * 255).astype(np.uint8)
