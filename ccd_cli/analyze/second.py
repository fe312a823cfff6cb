"""Question 3: is a second teacher worth it? How alike the errors of two models are, and what the mean of both maps scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from ccd_cli.analyze.estimate import column, estimate
from ccd_cli.analyze.labels import MIN_PIXELS, Label, fit
from ccd_cli.benchmarks import Prediction, Sample, Spec
from ccd_cli.core.errors import CcdError
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.metrics.depth import image_metrics

WRONG = 0.2
"""Aligned error over which a pixel counts as wrong."""

Row = dict[str, Any]


def measure(labels: Mapping[str, Label], sample: Sample, spec: Spec) -> list[Row]:
    """Return a row for each pair of models on one image, over the pixels that both predict.

    `correlation`: Pearson's, of log(depth / gt) of both over pixels; NaN where one of them is constant. `first_wrong`,
    `second_wrong`, `both_wrong`: fractions of pixels. `first_`, `second_`, `mean_`: AbsRel and delta1. The mean is that of both
    labels normalized by median and MAD, as `mixing: average` has it without weights, fitted as each of them is.
    Raises CcdError where a pair has too few pixels.
    """
    return [
        {"model": first, "other": second, **_pair(labels[first], labels[second], sample, spec)}
        for first, second in combinations(labels, 2)
    ]


def summarize(images: Sequence[Row]) -> list[Row]:
    """Return a row for each pair of models: means over images with intervals.

    `best` is the model of the lower mean AbsRel; `mean_minus_best`: AbsRel of the mean of both minus that of the best, paired by
    image. `by_chance`: the fraction of pixels that both would get wrong if their errors were independent.
    """
    made = []
    for model, other in dict.fromkeys((row["model"], row["other"]) for row in images):
        mine = [row for row in images if (row["model"], row["other"]) == (model, other)]
        first, second = (float(np.mean(column(mine, f"{which}_abs_rel"))) for which in ("first", "second"))
        best = "first" if first <= second else "second"
        difference = np.subtract(column(mine, "mean_abs_rel"), column(mine, f"{best}_abs_rel"))
        product = np.multiply(column(mine, "first_wrong"), column(mine, "second_wrong"))
        made.append(
            {
                "model": model,
                "other": other,
                "images": len(mine),
                **estimate(column(mine, "correlation")).row("correlation"),
                **{name: float(np.mean(column(mine, name))) for name in ("first_wrong", "second_wrong")},
                **estimate(column(mine, "both_wrong")).row("both_wrong"),
                "by_chance": float(np.mean(product)),
                **{f"{w}_{s}": float(np.mean(column(mine, f"{w}_{s}"))) for s in _SCORES for w in _WHICH},
                "best": model if best == "first" else other,
                **estimate(list(difference)).row("mean_minus_best"),
            }
        )
    return made


_SCORES, _WHICH = ("abs_rel", "delta1"), ("first", "second", "mean")


def _pair(first: Label, second: Label, sample: Sample, spec: Spec) -> Row:
    both = first.known & second.known
    if (count := int(np.count_nonzero(both))) < MIN_PIXELS:
        raise CcdError(f"{count} pixels have ground truth and predictions of both models, {MIN_PIXELS} are needed")
    gt = sample.depth
    mean = sum(_normalized(label, both) for label in (first, second)) / 2
    fitted = fit(Prediction(mean.astype(np.float32), "disparity", both), gt, both, spec)
    errors = [np.log(label.depth[both] / gt[both]) for label in (first, second)]
    wrong = [label.error[both] > WRONG for label in (first, second)]
    row: Row = {
        "correlation": _pearson(*errors),
        "first_wrong": float(wrong[0].mean()),
        "second_wrong": float(wrong[1].mean()),
        "both_wrong": float((wrong[0] & wrong[1]).mean()),
    }
    for name, depth in zip(_WHICH, (first.depth, second.depth, fitted.depth), strict=True):
        scores = image_metrics(depth, gt, both)
        row |= {f"{name}_{score}": scores[score] for score in _SCORES}
    return row


def _normalized(label: Label, known: Any) -> Any:
    values = torch.from_numpy(np.where(known, label.disparity, 0.0))[None]
    return normalize_map(values, torch.from_numpy(known)[None])[0][0].numpy()


def _pearson(x: Any, y: Any) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size > 1e-12 * x.size else math.nan
