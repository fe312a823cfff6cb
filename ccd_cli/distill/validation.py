"""Score a student while it trains on images with ground-truth depth, and beside its teachers and trivial baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ccd_cli.config.common import HELD_OUT, Scenes
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.errors import ImageError
from ccd_cli.distill.ensemble import TeacherEnsemble
from ccd_cli.distill.eval_set import EvalSet, SceneSet
from ccd_cli.distill.pairs import PairSet, load_pairs
from ccd_cli.distill.precomputed import PrecomputedLabels
from ccd_cli.distill.score import mean_scores, score_disparity
from ccd_cli.losses.disparity import to_disparity
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.scenes.rule import SceneSource
from ccd_cli.teachers.adapters.native import NativeTeacher, predict_photos
from ccd_cli.teachers.base import Teacher

MEAN_SIDE = 64


@dataclass(frozen=True)
class Validation:
    """What a student is scored on while it trains."""

    images: EvalSet

    @property
    def name(self) -> str:
        """Return the name of the set."""
        return self.images.name

    @property
    def protocol(self) -> dict[str, Any]:
        """Return what the scores mean, for `eval.json` and the card."""
        return {"alignment": "least-squares-disparity", "in_words": "least squares in disparity"}

    def __len__(self) -> int:
        return len(self.images)

    def score(self, network: DepthNet | Teacher, resolution: int | None) -> dict[str, float]:
        """Return the mean scores of a network at an input resolution (None: its own), and `images`, their number.

        Raises ImageError where no image can be read.
        """
        return score_network(network, self.images, resolution)

    def baselines(self) -> list[dict[str, Any]]:
        """Return rows of `model` and scores for maps that are made without the image."""
        return baselines(self.images)


def open_validation(recipe: DistillRecipe) -> Validation | None:
    """Return the pairs or the held-out scenes that the student is scored on, at most `max_images`; None for neither.

    Raises CcdError where a pairs file cannot be used.
    """
    config = recipe.eval
    if config.pairs:
        found = load_pairs(Path(config.pairs).expanduser())
        count = min(len(found), config.max_images)
        return Validation(PairSet(found.spec, [found.pairs[i * len(found) // count] for i in range(count)]))
    if not config.scenes:
        return None
    shape = recipe.images.scenes or Scenes()
    count = min(config.scenes, config.max_images)
    return Validation(SceneSet(SceneSource(count, shape.height, shape.width, shape.family, HELD_OUT)))


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


def compare(
    validation: Validation,
    ensemble: TeacherEnsemble,
    untrained: DepthNet,
    best: dict[str, float] | None,
    resolution: int,
) -> list[dict[str, Any]]:
    """Return rows of `model` and scores: teachers, the student untrained and trained (`best`), and trivial baselines.

    The mean map is the mean of the set's own true disparities (each by its median and MAD), which favors it; the
    gradient rises from top to bottom; the constant knows nothing. Teachers see an image at the student's resolution (those
    of other libraries at their own); affine depth has no disparity of its own and is skipped.
    """
    rows: list[dict[str, Any]] = []
    for member in ensemble.members:
        teacher = member.teacher
        if not isinstance(teacher, PrecomputedLabels) and teacher.kind != "affine-depth":
            side = _side(teacher, resolution) if isinstance(teacher, NativeTeacher) else None
            rows.append({"model": f"teacher {teacher.name}", **validation.score(teacher, side)})
    rows.append({"model": "student, untrained", **validation.score(untrained, resolution)})
    if best is not None:
        rows.append({"model": "student, kept", **{key: best[key] for key in rows[-1] if key != "model"}})
    rows += validation.baselines()
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
