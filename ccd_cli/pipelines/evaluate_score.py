"""From one prediction to its scores, and from the scores of images to tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.align import AUTO, IN_DISPARITY, METHODS, SUBSAMPLED, Method, align, resolve
from ccd_cli.core.boundary import depth_pro_f1, moge_f1
from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.kinds import Kind
from ccd_cli.core.metrics import METRICS, image_metrics, moge_depth_metrics
from ccd_cli.data.benchmarks import Sample, Spec
from ccd_cli.pipelines.evaluate_sources import Prediction
from ccd_cli.pipelines.evaluate_store import Record

MOGE = "moge"  # start of the names of MoGe's suite and its sets
MOGE_AUTO: dict[str, Method] = {
    "disparity": "moge-disparity",
    "depth": "moge-scale",
    "affine-depth": "moge-affine",
    "metric": "moge-scale",
}
"""Method of each kind under `auto` on MoGe's sets. Not all of them have metres, so metric models get a scale as well; `none`
scores their metres."""
LOWER, HIGHER = ("abs_rel",), ("delta1",)
"""What models are ranked by: smaller is better, larger is better."""


class Alignment:
    """The alignment that was asked for, settled for each kind and set.

    `max_res` replaces that of the sets (0: fit on every pixel). Raises UsageProblem for an unknown method, and for a
    `max_res` that it does not know.
    """

    def __init__(self, method: str, suite: str, max_res: int | None) -> None:
        if method != "auto" and method not in METHODS:
            raise UsageProblem(f"--alignment {method}: no such method.", f"Choose from auto, {', '.join(METHODS)}.")
        if max_res and method != "auto" and method not in SUBSAMPLED:
            known = " and ".join(sorted(SUBSAMPLED))
            raise UsageProblem(f"--alignment-max-res does not go with --alignment {method}.", f"It is for {known}.")
        self.name = method
        self._auto = MOGE_AUTO if suite.split("-")[0] == MOGE else AUTO
        self._max_res = max_res

    def method(self, kind: Kind | None) -> Method:
        """Return the method for maps of a kind. Raises UsageProblem under `auto` where the kind is not told."""
        if self.name != "auto":
            return resolve(self.name, kind or "depth")
        if kind is None:
            raise UsageProblem(
                "--alignment auto needs to know what the predictions are.",
                f"Give --prediction-kind {'|'.join(AUTO)}, or an --alignment.",
            )
        return self._auto[kind]

    def max_res(self, spec: Spec, method: Method) -> int | None:
        """Return the largest side for the fit on a set; None: every pixel."""
        if method not in SUBSAMPLED:
            return None
        return spec.max_res if self._max_res is None else self._max_res or None

    def check(self, kind: Kind | None) -> None:
        """Raise UsageProblem where the method does not fit in a space in which maps of this kind can be."""
        ramp = np.arange(1.0, 5.0).reshape(2, 2)
        align(self.method(kind), ramp, ramp, ramp > 0, self.taken_as(kind))

    def taken_as(self, kind: Kind | None) -> Kind:
        """Return the kind; maps that nobody told about are taken to be in the space of the method."""
        return kind or ("disparity" if self.method(kind) in IN_DISPARITY else "affine-depth")


def score(
    spec: Spec, sample: Sample, prediction: Prediction, alignment: Alignment
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Return a record (without index and mark) of one image, and the prediction as depth in the truth's unit.

    Raises CcdError where nothing can be scored.
    """
    method = alignment.method(prediction.kind)
    values = np.where(prediction.known, prediction.values, np.float32("nan"))
    kind, max_res = alignment.taken_as(prediction.kind), alignment.max_res(spec, method)
    aligned = align(method, values, sample.depth, sample.mask, kind, spec.depth_range, max_res)
    scores = image_metrics(aligned.depth, sample.depth, sample.mask)
    if method.startswith("moge-"):  # as its tables count: a negative depth is correct in delta1
        own = moge_depth_metrics(aligned.depth, sample.depth, sample.mask)
        scores["abs_rel"], scores["delta1"] = own["rel"], own["delta1"]
    if spec.boundary:
        scores["boundary_f1"] = depth_pro_f1(aligned.depth, sample.depth, sample.mask)
        scores["moge_boundary_f1"] = moge_f1(aligned.depth, sample.depth, sample.mask)
    record = {
        "image": sample.name,
        "pixels": int(np.count_nonzero(sample.mask)),
        "alignment": method,
        "scale": aligned.scale,
        "shift": aligned.shift,
        "scores": scores,
    }
    return record, aligned.depth


def summary_row(model: str, dataset: str, records: Sequence[Record], alignment: str) -> dict[str, Any]:
    """Return the row of a model on a set: the plain mean over images, each image the same weight; NaN without any.

    `alignment` is said where no image tells its own.
    """
    row: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "n": len(records),
        "alignment": "/".join(dict.fromkeys(record["alignment"] for record in records)) or alignment,
    }
    extra = [key for key in dict.fromkeys(key for r in records for key in r["scores"]) if key not in METRICS]
    for key in (*METRICS, *extra):
        values = np.array([record["scores"].get(key, np.nan) for record in records], np.float64)
        row[key] = float(values.mean()) if values.size else float("nan")
    return row


def mean_ranks(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return each model's rank, averaged over AbsRel and delta1 of the sets that all models have; 1 is best.

    Equal scores share the mean of their places; empty for a single model, or without a common set.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    table = {(row["model"], row["dataset"]): row for row in rows if row["n"]}
    sets = [name for name in dict.fromkeys(row["dataset"] for row in rows) if all((m, name) in table for m in models)]
    if len(models) < 2 or not sets:
        return {}
    places: dict[str, list[float]] = {model: [] for model in models}
    for name in sets:
        for key in (*LOWER, *HIGHER):
            sign = 1 if key in LOWER else -1
            cost = {model: _worst_if_nan(sign * table[model, name][key]) for model in models}
            for model in models:
                better = sum(other < cost[model] for other in cost.values())
                equal = sum(other == cost[model] for other in cost.values())
                places[model].append(better + (equal + 1) / 2)
    return {model: float(np.mean(values)) for model, values in places.items()}


def spread(count: int, limit: int | None) -> list[int]:
    """Return `limit` indices spread evenly over `count` samples, or all."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def _worst_if_nan(value: float) -> float:
    return value if value == value else float("inf")
