"""Contact sheets: rows of panels under titles, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ccd_cli.core.files import atomic_write
from ccd_cli.reports.html import image_uri

Panel = NDArray[np.uint8]
SIDE = 192  # pixels of a panel's longer side
_GAP, _LINE = 6, 16


def sheet(rows: Sequence[Sequence[Panel]], titles: Sequence[str], captions: Sequence[str]) -> Panel:
    """Return one figure uint8 RGB: `rows` of panels [H, W, 3] of any size, a title over each column, a caption over each
    row. Text that its small font does not have is shown as question marks. Raises ValueError without rows.
    """
    if not rows:
        raise ValueError("a contact sheet needs rows")
    small = [[_fitted(panel) for panel in row] for row in rows]
    columns = max(len(row) for row in small)
    heights = [max(panel.shape[0] for panel in row) for row in small]
    width = columns * (SIDE + _GAP) + _GAP
    height = _LINE + _GAP + sum(h + _LINE + _GAP for h in heights)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        draw.text((_GAP + column * (SIDE + _GAP), _GAP // 2), _plain(title, SIDE // 6), fill="black")
    top = _LINE + _GAP
    for row, caption, tall in zip(small, captions, heights, strict=True):
        draw.text((_GAP, top), _plain(caption, width // 6), fill=(90, 90, 90))
        for column, panel in enumerate(row):
            canvas.paste(Image.fromarray(panel), (_GAP + column * (SIDE + _GAP), top + _LINE))
        top += tall + _LINE + _GAP
    return np.asarray(canvas)


def panel_uri(panel: Panel, side: int = 384) -> str:
    """Return a panel uint8 [H, W, 3] as a JPEG inside a page, its longer side at most `side` pixels."""
    image = Image.fromarray(panel)
    image.thumbnail((side, side))
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=88, subsampling=0)
    return image_uri(content.getvalue())


def write_sheet(path: Path, figure: Panel) -> None:
    """Write a sheet uint8 [H, W, 3] as PNG, whole or not at all."""
    with atomic_write(path) as temporary:
        Image.fromarray(figure).save(temporary, format="PNG")


def _fitted(panel: Panel) -> Panel:
    height, width = panel.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(panel, dsize=size, interpolation=interpolation), np.uint8)


def _plain(text: str, limit: int) -> str:
    shown = text if len(text) <= limit else "..." + text[3 - limit :]
    return shown.encode("ascii", "replace").decode()
