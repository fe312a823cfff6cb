"""Question 2: does a model's label of a patch predicted alone show more than the same patch of its label of the whole photo?

Patches are drawn as `ccd distill` draws them, inside the largest square of a photo. Both labels are scored against the ground truth
inside the patch, on the pixels that both predict.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.analyze.estimate import column, estimate
from ccd_cli.analyze.labels import fit, make_label, usable
from ccd_cli.benchmarks import Benchmark, Prediction, Sample, Spec
from ccd_cli.benchmarks.prediction_files import resized
from ccd_cli.core.errors import CcdError
from ccd_cli.data.crops import Region, draw_patches, draw_region, inside
from ccd_cli.metrics.boundary import depth_pro_f1
from ccd_cli.metrics.depth import image_metrics

if TYPE_CHECKING:
    from ccd_cli.benchmarks.predictors import ModelSource

SIDES = (0.5, 0.9)
"""Sides of patches as fractions of the square that they lie in: those of recipes."""
MIN_PIXELS = 100
"""Pixels with ground truth that a patch needs."""
WAYS = ("whole_fit", "cut", "alone")
"""The patch of the whole photo's label, fitted as a whole; the same, fitted on the patch; predicted alone, fitted on the patch."""
SCORES = ("abs_rel", "delta1", "boundary_f1")

Row = dict[str, Any]


def draw(sample: Sample, dataset: str, count: int, seed: int) -> list[Region]:
    """Return `count` squares of a photo in whole pixels; they depend on `seed` and the names alone."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{dataset}/{sample.name}".encode())])
    height, width = sample.rgb.shape[:2]
    region = draw_region(rng, height, width, min(height, width))
    return [inside(region, patch) for patch in draw_patches(rng, count, *SIDES)]


def predict(source: ModelSource, benchmark: Benchmark, sample: Sample, boxes: Sequence[Region]) -> list[Prediction]:
    """Return the maps of the boxes, each predicted alone, as maps of the whole photo that are known inside it. Raises CcdError."""
    parts = [np.ascontiguousarray(sample.rgb[_slices(box)]) for box in boxes]
    return [
        _laid(made, box, sample.rgb.shape[:2])
        for made, box in zip(source.predict_parts(benchmark, sample, parts), boxes, strict=True)
    ]


def score(whole: Prediction, alone: Prediction, box: Region, sample: Sample, spec: Spec) -> Row | None:
    """Return the scores of one patch by way, `<way>_abs_rel` and so on, of the same pixels; None where too few have ground truth.

    Raises CcdError where a map is constant or runs against the ground truth.
    """
    size = sample.depth.shape
    whole, alone = usable(resized(whole, size)), usable(resized(alone, size))
    there = np.zeros(sample.rgb.shape[:2], np.float32)
    there[_slices(box)] = 1
    area = resized(Prediction(there, None, there >= 0), size).values == 1
    valid = sample.mask & (sample.depth > 0) & whole.known
    patch = valid & area & alone.known
    if np.count_nonzero(patch) < MIN_PIXELS:
        return None
    rows, columns = (slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(patch))
    near = (rows, columns)
    row: Row = {}
    masks = (valid, patch, patch)
    depths = [fit(p, sample.depth, m, spec).depth[near] for p, m in zip((whole, whole, alone), masks, strict=True)]
    gt, here = sample.depth[near], patch[near] & np.isfinite(depths).all(0)
    for way, depth in zip(WAYS, depths, strict=True):
        scores = image_metrics(depth, gt, here)
        row |= {f"{way}_{name}": scores[name] for name in SCORES[:2]}
        if spec.boundary:
            row[f"{way}_boundary_f1"] = depth_pro_f1(depth, gt, here)
    return row


def measure(
    source: ModelSource, benchmark: Benchmark, sample: Sample, whole: Prediction, boxes: Sequence[Region]
) -> Row:
    """Return the mean scores of an image's patches, and how many `patches` there are.

    Patches that cannot be fitted are left out. Raises CcdError where none is left, and for a whole map that cannot be a label.
    """
    make_label(whole, sample, benchmark.spec)
    found: list[Row] = []
    problem = f"no patch has {MIN_PIXELS} pixels with ground truth"
    for alone, box in zip(predict(source, benchmark, sample, boxes), boxes, strict=True):
        try:
            row = score(whole, alone, box, sample, benchmark.spec)
        except CcdError as error:
            problem = f"no patch can be fitted: {error}"
            continue
        if row is not None:
            found.append(row)
    if not found:
        raise CcdError(problem)
    return {"patches": len(found), **{name: float(np.mean([row[name] for row in found])) for name in found[0]}}


def summarize(images: Sequence[Row]) -> list[Row]:
    """Return a row for each model: means over images, and `alone_minus_cut` of each score, paired by image, with intervals."""
    made = []
    for model in dict.fromkeys(row["model"] for row in images):
        mine = [row for row in images if row["model"] == model]
        row: Row = {"model": model, "images": len(mine), "patches": sum(each["patches"] for each in mine)}
        for name in SCORES:
            for way in WAYS:
                row[f"{way}_{name}"] = estimate(column(mine, f"{way}_{name}")).mean
            difference = np.subtract(column(mine, f"alone_{name}"), column(mine, f"cut_{name}"))
            row |= estimate(list(difference)).row(f"alone_minus_cut_{name}")
        row["boundary_images"] = sum(not math.isnan(value) for value in column(mine, "cut_boundary_f1"))
        made.append(row)
    return made


def _slices(box: Region) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.side), slice(box.left, box.left + box.side)


def _laid(made: Prediction | CcdError, box: Region, size: tuple[int, ...]) -> Prediction:
    if isinstance(made, CcdError):
        raise made
    made = resized(made, (box.side, box.side))
    values: NDArray[np.float32] = np.full(size, np.nan, np.float32)
    values[_slices(box)] = np.where(made.known, made.values, np.float32("nan"))
    return Prediction(values, made.kind, np.isfinite(values))
