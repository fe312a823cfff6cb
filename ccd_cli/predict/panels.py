"""Several maps of one photo side by side, each under the name of its model."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ccd_cli.media.colorize import HIGH, LOW

COLORS = f"near is warm; each map from its own {100 * LOW:g} % to its own {100 * HIGH:g} % of nearness"
"""The rule by which the panels are colored, alike for all models."""
LAYOUT = 1
"""Goes up when the same panels make another picture."""
SMALLEST, LARGEST = 256, 1600
"""Pixels of a panel's longer side: smaller photos are enlarged, so that names fit, larger ones reduced."""
MOST_COLUMNS = 4
WIDE = 2.5
"""Width over height from which on panels stand below each other."""
SMALL = 10
"""Least size of letters."""
_INK, _PAPER = (30, 30, 30), (255, 255, 255)

Picture = NDArray[np.uint8]


def side_by_side_of(photo: Picture, maps: Sequence[tuple[str, Picture]]) -> Picture:
    """Return one picture uint8 RGB of a photo [H, W, 3] and colored maps [H, W, 3] of the same size, each with its name.

    In a row of up to MOST_COLUMNS; more in rows of equal length, and of a wide photo below each other. Raises ValueError where
    sizes differ.
    """
    if any(colored.shape != photo.shape for _, colored in maps):
        raise ValueError("panels of different sizes")
    panels = [("photo", _fitted(photo)), *((name, _fitted(colored)) for name, colored in maps)]
    height, width = panels[0][1].shape[:2]
    rows = len(panels) if width > WIDE * height else -(-len(panels) // MOST_COLUMNS)
    columns = -(-len(panels) // rows)
    size = int(np.clip(width / 28, 13, 40))
    gap = max(2, width // 100)
    line = round(1.5 * size)
    canvas = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + line + gap) + line), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for place, (name, panel) in enumerate(panels):
        left, top = place % columns * (width + gap), place // columns * (height + line + gap)
        _text(draw, (left + size // 3, top + line // 2), name, size, width - size)
        canvas.paste(Image.fromarray(panel), (left, top + line))
    _text(draw, (size // 3, canvas.height - line // 2), COLORS, 0.8 * size, canvas.width - size)
    return np.asarray(canvas)


def _fitted(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    scale = min(LARGEST / max(height, width), max(1.0, SMALLEST / max(height, width)))
    if scale == 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, dsize=size, interpolation=way), np.uint8)


def _text(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: float, room: float) -> None:
    """Draw a line, smaller where it would not fit into `room` pixels, and cut in its middle where that is not enough."""
    font = ImageFont.load_default(size)
    font = ImageFont.load_default(max(SMALL, min(size, size * room / max(1.0, font.getlength(text)))))
    shown, cut = text, 0
    while font.getlength(shown) > room and cut < len(text):
        cut += 1
        kept = len(text) - cut
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    draw.text(place, shown, _INK, font, "lm")
