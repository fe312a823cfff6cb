"""Question 1: on which pixels of a model's own label does the loss land, with each normalization?

The ground truth is the prediction of a perfect student, the model's fitted map its label: whatever reaches pixels that the label
has right is contamination. Losses and gradients are those of training (`noise.Scheme`); fractions have no unit, so that
normalizations can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.analyze.estimate import column, estimate
from ccd_cli.analyze.labels import Label
from ccd_cli.analyze.noise import BY_RANGE, Scheme
from ccd_cli.benchmarks import Sample
from ccd_cli.core.errors import CcdError
from ccd_cli.losses.contexts import MIN_PIXELS
from ccd_cli.losses.normalize import statistics

THRESHOLDS = (0.1, 0.2, 0.4)
"""A pixel of the label is wrong where its aligned error, abs(depth - gt) / gt, is larger."""
JUDGED = 0.2
"""The threshold of the verdict, fixed before anything was measured."""
AS_IS, GROSS = "as it is", "gross errors only"
LABELS = (AS_IS, GROSS)
"""The label: the model's map, or the ground truth with the model's errors over the threshold alone."""
MAX_PIXELS = 65_536
"""Valid pixels that losses are computed on, about: more are subsampled by an integer stride."""

Row = dict[str, Any]


def measure(label: Label, sample: Sample, device: torch.device) -> list[Row]:
    """Return a row for each label, threshold and normalization of one image.

    Raises CcdError where fewer than 16 pixels are right, or wrong, at every threshold.
    """
    at = _subsample(label.known)
    known, error = label.known[at], label.error[at]
    true = 1.0 / np.where(known, sample.depth[at], 1.0).astype(np.float64)
    true /= (middle := np.median(true[known]))
    own = np.where(known, label.disparity[at] / middle, 1.0)
    wrong = {threshold: known & (error > threshold) for threshold in THRESHOLDS}
    usable = [t for t in THRESHOLDS if min(wrong[t].sum(), known.sum() - wrong[t].sum()) >= MIN_PIXELS]
    if not usable:
        raise CcdError(f"fewer than {MIN_PIXELS} pixels are wrong, or right, at every threshold")
    labels = [own, *(np.where(wrong[threshold], own, true) for threshold in usable)]
    rows = []
    for scheme, (losses, pulls) in _landed(true, np.stack(labels), known, device).items():
        for threshold in usable:
            clean = known & ~wrong[threshold]
            for kind, i in ((AS_IS, 0), (GROSS, 1 + usable.index(threshold))):
                rows.append(
                    {
                        "label": kind,
                        "threshold": threshold,
                        "normalization": scheme.normalization,
                        "unit_scale": scheme.unit,
                        "wrong_pixels": float(wrong[threshold].sum() / known.sum()),
                        "loss_on_clean": _fraction(losses[i], clean, known),
                        "gradient_on_clean": _fraction(pulls[i], clean, known),
                        "clean_loss": float(losses[i][clean].mean()),
                        "wrong_loss": float(losses[i][wrong[threshold]].mean()),
                    }
                )
    return rows


def _subsample(known: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return every so many rows and columns of [h, w], from those on where most is known (it may be on a lattice of its own)."""
    stride = max(1, math.ceil(math.sqrt(np.count_nonzero(known) / MAX_PIXELS)))
    phases = [
        (slice(row, None, stride), slice(column, None, stride)) for row in range(stride) for column in range(stride)
    ]
    return max(phases, key=lambda at: np.count_nonzero(known[at]))


def summarize(images: Sequence[Row]) -> list[Row]:
    """Return a row for each model, label, threshold and normalization: means over images with intervals.

    `minus_global`: the fraction of the loss on clean pixels minus that of global normalization, paired by image. `clean_loss`,
    `wrong_loss`: mean loss of a clean and of a wrong pixel, in MADs of the normalization's own contexts; `clean_to_wrong`: their
    ratio.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in images:
        key = (row["model"], row["label"], row["threshold"], row["normalization"], row["unit_scale"])
        groups.setdefault(key, []).append(row)
    order = {(s.normalization, s.unit): i for i, s in enumerate(BY_RANGE)}
    models = list(dict.fromkeys(row["model"] for row in images))
    made = []
    for key in sorted(groups, key=lambda k: (models.index(k[0]), LABELS.index(k[1]), k[2], order[k[3:]])):
        mine, globally = groups[key], groups[(*key[:3], "global", False)]
        difference = np.subtract(column(mine, "loss_on_clean"), column(globally, "loss_on_clean"))
        clean, wrong = (float(np.mean(column(mine, name))) for name in ("clean_loss", "wrong_loss"))
        made.append(
            {
                **dict(zip(("model", "label", "threshold", "normalization", "unit_scale"), key, strict=True)),
                "images": len(mine),
                "wrong_pixels": float(np.mean(column(mine, "wrong_pixels"))),
                **estimate(column(mine, "loss_on_clean")).row("loss_on_clean"),
                **estimate(list(difference)).row("minus_global"),
                **estimate(column(mine, "gradient_on_clean")).row("gradient_on_clean"),
                "clean_loss": clean,
                "wrong_loss": wrong,
                "clean_to_wrong": clean / wrong if wrong > 0 else math.nan,
            }
        )
    return made


def _landed(true: Any, labels: Any, known: Any, device: torch.device) -> dict[Scheme, tuple[Any, Any]]:
    """Return for each scheme loss and abs(gradient) of each pixel and label, both [labels,h,w], 0 where nothing is known."""
    valid = torch.from_numpy(np.ascontiguousarray(known))[None].to(device)
    student = torch.from_numpy(true.astype(np.float32))[None].to(device)
    label = torch.from_numpy(labels.astype(np.float32)).to(device)
    scale = statistics(student, valid)[2]
    valid, label = valid.expand_as(label).contiguous(), label / scale
    return {scheme: _pull(scheme, (student / scale).expand_as(label), label, valid) for scheme in BY_RANGE}


def _pull(scheme: Scheme, student: Tensor, label: Tensor, valid: Tensor) -> tuple[Any, Any]:
    student = student.detach().clone().requires_grad_()
    losses = scheme.losses(student, label, valid)
    (gradient,) = torch.autograd.grad(torch.where(valid, losses, 0.0).sum(), student)
    return losses.detach().double().cpu().numpy(), gradient.abs().double().cpu().numpy()


def _fraction(values: Any, clean: Any, known: Any) -> float:
    total = float(values[known].sum())
    return float(values[clean].sum()) / total if total > 0 else math.nan
