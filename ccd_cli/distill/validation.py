"""Score networks on a set with true depth, and the student beside its teachers and beside maps that know nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch

from ccd_cli.core.errors import ImageError
from ccd_cli.distill.eval_set import EvalSet
from ccd_cli.distill.precomputed import PrecomputedLabels
from ccd_cli.distill.score import mean_scores, score_disparity
from ccd_cli.distill.setup import Job
from ccd_cli.losses.disparity import to_disparity
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.teachers.adapters.native import NativeTeacher, predict_photos
from ccd_cli.teachers.base import Teacher

MEAN_SIDE = 64


def score_network(network: DepthNet | Teacher, images: EvalSet, resolution: int | None) -> dict[str, float]:
    """Return mean scores of a network of kind disparity, depth or metric, fitted in disparity by least squares."""

    def predict(photo: np.ndarray) -> np.ndarray:
        if isinstance(network, DepthNet):
            made, kind = predict_photos(network, [photo], resolution)[0], network.arch.kind
        else:
            depth = network.predict_photos([photo], resolution)[0]
            known = True if depth.valid is None else depth.valid
            made, kind = np.where(known, depth.values, np.float32("nan")), depth.kind
        return to_disparity(torch.from_numpy(made)[None], kind)[0][0].numpy()

    return _score(predict, images)


def compare(job: Job, first: DepthNet) -> list[dict[str, Any]]:
    """Return rows of `model` and scores: teachers, the student untrained (`first`) and trained, and maps without a photo.

    The mean map is the mean of the set's own true disparities (each by its median and MAD), which favors it; the
    gradient rises from top to bottom; the constant knows nothing. Teachers see a photo at the student's resolution (those of
    other libraries at their own); affine depth has no disparity of its own and is left out.
    """
    images, size = job.eval_set, job.recipe.crops.size
    assert images is not None
    rows: list[dict[str, Any]] = []
    for member in job.ensemble.members:
        teacher = member.teacher
        if not isinstance(teacher, PrecomputedLabels) and teacher.kind != "affine-depth":
            side = _side(teacher, size) if isinstance(teacher, NativeTeacher) else None
            rows.append({"model": f"teacher {teacher.name}", **score_network(teacher, images, side)})
    rows.append({"model": "student, untrained", **score_network(first, images, size)})
    if job.best is not None:
        rows.append({"model": "student, kept", **{key: job.best[key] for key in rows[-1] if key != "model"}})
    rows += baselines(images)
    return [{key: value for key, value in row.items() if key != "images"} for row in rows]


def _side(teacher: NativeTeacher, size: int) -> int:
    """The side at which a teacher sees photos: its own setting, else the student's, rounded to its multiple."""
    multiple = teacher.model.arch.multiple
    return teacher.resolution or max(1, round(size / multiple)) * multiple


def baselines(images: EvalSet) -> list[dict[str, Any]]:
    """Return rows for maps that do not look at the photo: mean map, vertical gradient, constant (see `compare`)."""
    mean = _mean_map(images)
    ramp = np.linspace(0, 1, MEAN_SIDE, dtype=np.float32)[:, None].repeat(MEAN_SIDE, 1)
    return [
        {"model": "mean map", **_score(lambda photo: _fit(mean, photo), images)},
        {"model": "vertical gradient", **_score(lambda photo: _fit(ramp, photo), images)},
        {"model": "constant", **_score(lambda photo: np.ones(photo.shape[:2], np.float32), images)},
    ]


def _score(predict: Callable[[np.ndarray], np.ndarray], images: EvalSet) -> dict[str, float]:
    def one(index: int) -> dict[str, float]:
        photo, depth, valid = images.read(index)
        return score_disparity(predict(photo), depth, valid)

    return mean_scores(len(images), one)


def _mean_map(images: EvalSet) -> np.ndarray:
    """Return the mean normalized true disparity at MEAN_SIDE x MEAN_SIDE; pixels never valid get the mean."""
    total, count = np.zeros((MEAN_SIDE, MEAN_SIDE)), np.zeros((MEAN_SIDE, MEAN_SIDE))
    for index in range(len(images)):
        try:
            _, depth, valid = images.read(index)
        except ImageError:
            continue
        disparity = torch.from_numpy(np.where(valid, 1.0 / depth, 0.0).astype(np.float32))
        normal = normalize_map(disparity[None], torch.from_numpy(valid)[None])[0][0].nan_to_num(0.0).numpy()
        weight = cv2.resize(valid.astype(np.float32), dsize=(MEAN_SIDE, MEAN_SIDE), interpolation=cv2.INTER_AREA)
        total += cv2.resize(np.where(valid, normal, 0.0), dsize=(MEAN_SIDE, MEAN_SIDE), interpolation=cv2.INTER_AREA)
        count += weight
    mean = total / np.maximum(count, 1e-6)
    return np.where(count > 0, mean, mean[count > 0].mean()).astype(np.float32)


def _fit(values: np.ndarray, photo: np.ndarray) -> np.ndarray:
    height, width = photo.shape[:2]
    return np.asarray(cv2.resize(values, dsize=(width, height), interpolation=cv2.INTER_LINEAR), np.float32)
