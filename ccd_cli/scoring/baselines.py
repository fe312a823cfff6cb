"""Trivial baselines: maps that do not look at the image. What a model's scores are worth shows beside theirs."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.benchmarks import Prediction, Sample
from ccd_cli.losses.normalize import normalize_map

SIDE = 64
"""Sides of the maps, which are stretched over each photo."""

Map = NDArray[np.float32]


def trivial_baselines(samples: Iterable[Sample]) -> dict[str, Map]:
    """Return {name: disparity [SIDE, SIDE]} of three maps.

    The mean map is the mean of the samples' own true disparities (each by its median and MAD), which favors it; the vertical
    gradient rises from top to bottom, as floors do; the constant knows nothing.
    """
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None].repeat(SIDE, 1)
    return {
        "mean map": _mean_map(samples),
        "vertical gradient": ramp,
        "constant": np.ones((SIDE, SIDE), np.float32),
    }


def stretched(values: Map, sample: Sample) -> Prediction:
    """Return a map stretched bilinearly over the photo of a sample, as the prediction of a disparity."""
    height, width = sample.rgb.shape[:2]
    made = np.asarray(cv2.resize(values, dsize=(width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return Prediction(made, "disparity", np.ones((height, width), bool))


def _mean_map(samples: Iterable[Sample]) -> Map:
    """The mean normalized true disparity; pixels never valid get the mean."""
    total, count = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for sample in samples:
        valid = sample.mask
        disparity = torch.from_numpy(np.where(valid, 1.0 / np.where(valid, sample.depth, 1.0), 0.0).astype(np.float32))
        normal = normalize_map(disparity[None], torch.from_numpy(valid)[None])[0][0].nan_to_num(0.0).numpy()
        weight = cv2.resize(valid.astype(np.float32), dsize=(SIDE, SIDE), interpolation=cv2.INTER_AREA)
        total += cv2.resize(np.where(valid, normal, 0.0), dsize=(SIDE, SIDE), interpolation=cv2.INTER_AREA)
        count += weight
    if not count.any():
        return np.ones((SIDE, SIDE), np.float32)
    mean = total / np.maximum(count, 1e-6)
    return np.where(count > 0, mean, mean[count > 0].mean()).astype(np.float32)
