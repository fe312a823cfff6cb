"""From the scores of images to the row of a model on a set, and to what models are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ccd_cli.metrics.depth import METRICS
from ccd_cli.scoring.distance import is_of_bin
from ccd_cli.scoring.geometry import EDGES, PLANES

Record = dict[str, Any]
"""What is known of one scored image: `index`, `image`, `alignment`, `scores` and more (see `score`)."""

PAIRS, TAE = "pair_accuracy", "tae"
OPTIONAL = frozenset({*EDGES, *PLANES, "local_points_rel", "local_points_delta1"})
"""Scores that an image need not have, as those of a range of distances: their mean is over the images that do."""
NOT_SCORES = frozenset({"model", "dataset", "n", "alignment"})
"""Keys of a row that are no scores."""
HEADLINES: dict[str, int] = {"abs_rel": -1, "delta1": 1, PAIRS: 1, TAE: -1}
"""Scores that models are compared by, and whether larger (1) or smaller (-1) is better."""


def summary_row(model: str, dataset: str, records: Sequence[Record], alignment: str) -> dict[str, Any]:
    """Return the row of a model on a set: the plain mean over images, each image the same weight; NaN without any.

    Pairs of points count one by one, overall and by what the photos show; the temporal error is the mean over directed pairs of
    frames. `alignment` is said where no image tells its own.
    """
    row: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "n": len(records),
        "alignment": "/".join(dict.fromkeys(record["alignment"] for record in records)) or alignment,
    }
    extra = [key for key in dict.fromkeys(key for r in records for key in r["scores"]) if key not in METRICS]
    for key in (*METRICS, *(key for key in extra if key not in (PAIRS, TAE))):
        values = np.array([record["scores"].get(key, np.nan) for record in records], np.float64)
        if key in OPTIONAL or is_of_bin(key):
            values = values[np.isfinite(values)]
        row[key] = float(values.mean()) if values.size else float("nan")
    if PAIRS in extra:
        row |= _pair_scores(records)
    if TAE in extra:
        carried = [error for record in records for error in record["carried"]]
        row[TAE] = float(np.mean(carried)) if carried else float("nan")
    return row


def headline(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the scores by which models are compared on a set, from its rows: those that any of them has."""
    return [key for key in HEADLINES if any(row.get(key, np.nan) == row.get(key, np.nan) for row in rows)]


def mean_ranks(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return each model's rank, averaged over the headline scores of the sets that all models have; 1 is best.

    Equal scores share the mean of their places; empty for a single model, or without a common set.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    table = {(row["model"], row["dataset"]): row for row in rows if row["n"]}
    sets = [name for name in dict.fromkeys(row["dataset"] for row in rows) if all((m, name) in table for m in models)]
    if len(models) < 2 or not sets:
        return {}
    places: dict[str, list[float]] = {model: [] for model in models}
    for name in sets:
        for key in headline([table[model, name] for model in models]):
            cost = {model: _worst_if_nan(-HEADLINES[key] * table[model, name].get(key, np.nan)) for model in models}
            for model in models:
                better = sum(other < cost[model] for other in cost.values())
                equal = sum(other == cost[model] for other in cost.values())
                places[model].append(better + (equal + 1) / 2)
    return {model: float(np.mean(values)) for model, values in places.items() if values}


def _pair_scores(records: Sequence[Record]) -> dict[str, Any]:
    """The number of pairs and the share that is right, of all and of each group."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["group"], []).append(record)
    pairs = {name: sum(record["pairs"] for record in found) for name, found in groups.items()}
    right = {name: sum(record["right"] for record in found) for name, found in groups.items()}
    row: dict[str, Any] = {"pairs": sum(pairs.values()), PAIRS: sum(right.values()) / sum(pairs.values())}
    return row | {f"{PAIRS}_{name}": right[name] / pairs[name] for name in sorted(groups)}


def _worst_if_nan(value: float) -> float:
    return value if value == value else float("inf")
