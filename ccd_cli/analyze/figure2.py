"""Figure 2 of Distill Any Depth: scale and shift fitted on the whole map, or only on the crop that is scored.

The crop is the central one of half the height and half the width. Fits are those of `ccd eval`, in the space of the model's
own kind; metric maps, which it scores as they are, are fitted in depth here, as there is nothing to compare otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ccd_cli.benchmarks import Prediction, Sample, Spec
from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.alignment import AUTO, SUBSAMPLED, Aligned, Floor, Limits, Method, align, describe
from ccd_cli.metrics.depth import image_metrics
from ccd_cli.scoring.image import resized

MIN_CROP_PIXELS = 100
"""Valid pixels that a crop needs to be fitted and scored."""
SCORES = ("abs_rel", "delta1")
FITS = ("whole", "crop")


def method_of(kind: Kind) -> Method:
    """Return the alignment for maps of a kind: that of `ccd eval`, for metric maps least squares in depth."""
    return "least-squares" if kind == "metric" else AUTO[kind]


def in_words(kind: Kind, floor: Floor = "published") -> str:
    """Return the alignment in words; `floor` is that of the sets."""
    return describe(method_of(kind), Limits(floor=floor)).split(", per image")[0] + ", per image"


def central(shape: Sequence[int]) -> tuple[slice, slice]:
    """Return rows and columns of the central crop of half the height and half the width."""
    height, width = shape[:2]
    return slice(height // 4, height // 4 + height // 2), slice(width // 4, width // 4 + width // 2)


def crop_scores(prediction: Prediction, sample: Sample, spec: Spec) -> dict[str, Any]:
    """Return `whole_abs_rel`, `crop_abs_rel`, `whole_delta1`, `crop_delta1` of one image, all on the central crop.

    Raises CcdError where the crop has fewer than `MIN_CROP_PIXELS` valid pixels, or nothing is predicted on it.
    """
    kind: Kind = prediction.kind or "disparity"
    prediction = resized(prediction, sample.depth.shape)
    crop = central(sample.depth.shape)
    gt, mask = sample.depth[crop], sample.mask[crop]
    if (valid := int(np.count_nonzero(mask))) < MIN_CROP_PIXELS:
        raise CcdError(f"{valid} valid pixels in the central crop, {MIN_CROP_PIXELS} are needed")
    values = prediction.told
    whole = _aligned(values, sample.depth, sample.mask, kind, spec)
    local = _aligned(values[crop], gt, mask, kind, spec)
    made: dict[str, Any] = {"pixels": valid}
    for name, depth in (("whole", whole.depth[crop]), ("crop", local.depth)):
        scores = image_metrics(depth, gt, mask)
        made.update({f"{name}_{key}": scores[key] for key in SCORES})
    return made


def summarize(images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each model and dataset, and with several datasets one for all images: means, and how often the crop wins.

    `gain` is the mean of AbsRel after the fit to the whole map minus that after the fit to the crop.
    """
    made = []
    for model in dict.fromkeys(row["model"] for row in images):
        mine = [row for row in images if row["model"] == model]
        sets = list(dict.fromkeys(row["dataset"] for row in mine))
        groups = [(name, [row for row in mine if row["dataset"] == name]) for name in sets]
        if len(sets) > 1:
            groups.append(("all images", mine))
        made += [{"model": model, "dataset": name, **_row(rows)} for name, rows in groups]
    return made


def _row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    gain = np.array([row["whole_abs_rel"] - row["crop_abs_rel"] for row in rows])
    error = float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else float("nan")
    means = {f"{fit}_{key}": float(np.mean([row[f"{fit}_{key}"] for row in rows])) for key in SCORES for fit in FITS}
    better = int(np.count_nonzero(gain > 0))
    return {"n": len(rows), **means, "gain": float(gain.mean()), "gain_std_error": error, "crop_better": better}


def _aligned(values: Any, gt: Any, mask: Any, kind: Kind, spec: Spec) -> Aligned:
    method = method_of(kind)
    max_res = spec.max_res if method in SUBSAMPLED else None
    return align(method, values, gt, mask, kind, spec.limits(max_res))
