"""Black bars of a film: found in frames from all over it, so that the picture between them can be taken alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLACK = 24
"""The brightest channel of a black pixel, of 255: video black, with noise and an encoder's ringing, reaches 16 to 20."""
_STRAY = 0.02  # share of a line that may be brighter: compression at the edge
_PICTURE = 0.5  # share of a line that is brighter where the picture begins; a caption in a bar covers less
_SMALLEST = 0.02  # of a side; a few lines of padding are not worth another shape
_UNEVEN = 0.03  # of a side: how far a picture may lie from the middle
_LEAST_PICTURE = 0.2  # of the area; a tall phone clip in a wide frame fills .32


class Bars(NamedTuple):
    """Rows and columns of a frame that are black in the whole film: above, below, left and right of the picture."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def crop(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Return the picture alone of a frame [H, W, ...], as a view."""
        height, width = frame.shape[:2]
        return frame[self.top : height - self.bottom, self.left : width - self.right]

    def shows_something(self, frame: NDArray[np.uint8]) -> bool:
        """Tell whether a frame uint8 [H, W, 3] has more in its bars than black: a caption, or a scene of another shape."""
        lit = frame.max(-1) > BLACK
        around = lit.size - self.crop(lit).size
        return around > 0 and int(lit.sum()) - int(self.crop(lit).sum()) > 0.5 * _STRAY * around

    def __str__(self) -> str:
        rows, columns = self.top + self.bottom, self.left + self.right
        said = [f"{rows} rows above and below" * (rows > 0), f"{columns} columns left and right" * (columns > 0)]
        return " and ".join(filter(None, said))


def find_bars(frames: Iterable[NDArray[np.uint8]]) -> Bars:
    """Return the bars of a film from some of its frames, uint8 RGB [H, W, 3] of one shape; all zero where it has none.

    Lines belong to a bar if they are black in half of the frames that show anything and nowhere as bright as picture, so that
    captions do not hide a bar, and a film that changes its shape has none. A bar ends at a straight edge, lies on both sides
    and leaves the picture in the middle: a dark scene, a floor in shadow or an object on black is not letterboxed.
    """
    lit = [mask for mask in (frame.max(-1) > BLACK for frame in frames) if mask.mean() > _STRAY]
    if not lit:
        return Bars()
    top, bottom = _ends(np.stack([mask.mean(1) for mask in lit]))
    inside = [mask[top : mask.shape[0] - bottom] for mask in lit]
    left, right = _ends(np.stack([mask.mean(0) for mask in inside]))
    found = Bars(top, bottom, left, right)
    picture = found.crop(lit[0])
    return found if picture.size >= _LEAST_PICTURE * lit[0].size and min(picture.shape) >= 16 else Bars()


def _ends(shares: NDArray[np.float64]) -> tuple[int, int]:
    """Return how many lines at either end are bars, from the bright share of each line [frames, lines]; 0, 0 for none."""
    lines = shares.shape[1]
    black = ((shares <= _STRAY).mean(0) >= 0.5) & (shares.max(0) < _PICTURE)
    if black.all():
        return 0, 0
    first, last = int(black.argmin()), int(black[::-1].argmin())
    brightest = shares.max(0)
    straight = all(edge.max() >= _PICTURE for edge in (brightest[first:][:3], brightest[::-1][last:][:3]))
    even = abs(first - last) <= max(4, _UNEVEN * lines)
    return (first, last) if straight and even and min(first, last) > 0 and first + last >= _SMALLEST * lines else (0, 0)
