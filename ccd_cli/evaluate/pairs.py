"""Figures of pairs of points (DA-2K): which one does a map call closer?"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Prediction, Sample
from ccd_cli.evaluate.figures import Panels, jpeg, panel_size
from ccd_cli.geometry.kinds import DIRECTION, Kind
from ccd_cli.media.colorize import colorize

RIGHT, WRONG, EDGE = (60, 200, 90), (235, 60, 50), (255, 255, 255)


def draw_pairs(sample: Sample, prediction: Prediction, kind: Kind) -> Panels:
    """Return JPEG panels of photo and prediction with the pairs: a ring where it is closer, green where the map agrees."""
    assert sample.pairs is not None
    size = panel_size(sample.rgb.shape[:2])
    near = DIRECTION[kind] == "larger = nearer"
    values = prediction.told
    small = np.asarray(cv2.resize(values, dsize=size, interpolation=cv2.INTER_NEAREST), np.float32)
    seen = np.isfinite(small)
    photo = np.asarray(cv2.resize(sample.rgb, dsize=size, interpolation=cv2.INTER_AREA), np.uint8)
    right = []
    for closer, farther in sample.pairs:
        ends = [float(values[tuple(point)]) for point in (closer, farther)]
        right.append(ends[0] > ends[1] if near else ends[0] < ends[1])
    shrink = size[0] / sample.rgb.shape[1]
    return {
        "image": jpeg(_marked(photo, sample.pairs, right, shrink)),
        "prediction": jpeg(_marked(colorize(small, seen, kind), sample.pairs, right, shrink)),
    }


def _marked(
    picture: NDArray[np.uint8], pairs: NDArray[np.int64], right: list[bool], shrink: float
) -> NDArray[np.uint8]:
    made = np.ascontiguousarray(picture)
    for (closer, farther), good in zip(pairs, right, strict=True):
        color = RIGHT if good else WRONG
        one, two = ((round(float(p[1]) * shrink), round(float(p[0]) * shrink)) for p in (closer, farther))
        for width, ink in ((4, EDGE), (2, color)):
            cv2.line(made, one, two, ink, width, cv2.LINE_AA)
        for width, ink in ((5, EDGE), (3, color)):
            cv2.circle(made, one, 8, ink, width, cv2.LINE_AA)
        cv2.circle(made, two, 5, EDGE, -1, cv2.LINE_AA)
        cv2.circle(made, two, 3, color, -1, cv2.LINE_AA)
    return made
