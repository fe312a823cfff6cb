"""Trivial baselines: maps that do not look at the image. What a model's scores are worth shows beside theirs."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.benchmarks import Prediction, Sample
from ccd_cli.core.errors import CcdError
from ccd_cli.losses.normalize import normalize_map

Baseline = Literal["mean map", "vertical gradient", "constant"]
AffineKind = Literal["disparity", "affine-depth"]
"""Both are known up to a scale and a shift: the space in which a baseline is to be fitted."""

SIDE = 64
"""Sides of the maps, which are stretched over each photo."""
ABOUT: dict[Baseline, str] = {
    "mean map": "mean of the ground truth of the other images (each by its median and MAD), never of the image that is scored",
    "vertical gradient": "nearer from top to bottom, as floors are",
    "constant": "one value everywhere",
}
"""The baselines, in the order of tables, and what they are."""
_LEAST_WEIGHT = 1e-6
"""Fraction of a cell that is valid, below which it counts as never valid: sums are subtracted from sums."""

Map = NDArray[np.float32]


class MeanMap:
    """The mean normalized ground truth of samples, of which any one can be left out again.

    Each sample counts as its disparity (`kind` disparity) or depth minus its median, divided by its MAD, averaged over the cells
    of a grid of SIDE x SIDE. Memory does not grow with the samples.
    """

    def __init__(self, kind: AffineKind = "disparity") -> None:
        self.kind: AffineKind = kind
        self._total, self._weight = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
        self._names: set[str] = set()
        self.count = 0
        """How many samples it is the mean of."""

    def add(self, sample: Sample) -> None:
        """Take a sample; one without a valid pixel adds nothing."""
        if not sample.mask.any():
            return
        total, weight = self._parts(sample)
        self._total += total
        self._weight += weight
        self._names.add(sample.name)
        self.count += 1

    def without(self, sample: Sample) -> Map:
        """Return the mean map [SIDE, SIDE] of all samples but this one.

        Cells that are valid in no other sample get the mean of the rest. Raises CcdError where there is no other sample.
        """
        total, weight = self._total, self._weight
        mine = sample.name in self._names
        if mine:
            own = self._parts(sample)
            total, weight = total - own[0], weight - own[1]
        known = weight > _LEAST_WEIGHT
        if self.count - mine < 1 or not known.any():
            raise CcdError("There is no other image with ground truth, whose mean would be the baseline.")
        mean = total / np.where(known, weight, 1.0)
        return np.where(known, mean, mean[known].mean()).astype(np.float32)

    def _parts(self, sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The sum of a sample's normalized values in each cell, as a fraction of the cell, and the fraction that is valid."""
        valid = sample.mask
        known = np.where(valid, sample.depth, 1.0)
        values = torch.from_numpy(np.where(valid, 1.0 / known if self.kind == "disparity" else known, 0.0))[
            None
        ].float()
        normal = normalize_map(values, torch.from_numpy(valid)[None])[0][0].nan_to_num(0.0).numpy()
        return _cells(np.where(valid, normal, 0.0)), _cells(valid)


def baseline(name: Baseline, sample: Sample, mean: MeanMap) -> Prediction:
    """Return a baseline as the prediction of a sample, of the kind of `mean`, stretched bilinearly over the photo.

    Its least value is 1: published fits leave out what is not predicted > 0. Raises CcdError where
    there is no mean map.
    """
    if name == "mean map":
        values = mean.without(sample)
        values += 1 - values.min()
    elif name == "constant":
        values = np.ones((SIDE, SIDE), np.float32)
    else:
        nearer = np.linspace(1, 2, SIDE, dtype=np.float32)[:, None].repeat(SIDE, 1)
        values = nearer if mean.kind == "disparity" else nearer[::-1]
    height, width = sample.rgb.shape[:2]
    made = np.asarray(cv2.resize(values, dsize=(width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return Prediction(made, mean.kind, np.ones((height, width), bool))


def _cells(values: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of a map [H, W] over each cell of the grid."""
    cells = cv2.resize(values.astype(np.float32), dsize=(SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float64)
