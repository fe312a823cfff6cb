"""Errors by distance: of the pixels whose true depth lies in a range, near, middle and far by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Sample
from ccd_cli.metrics.depth import image_metrics

SCORES = {"abs_rel": "AbsRel", "rmse": "RMSE", "delta1": "δ1"}
"""What is scored of each range, and its name for eyes."""
FEWEST = 16
"""Pixels below which a range of an image has no score."""
_KEY = re.compile(rf"({'|'.join(SCORES)})_(under_(\S+)|(\S+)_to_(\S+)|over_(\S+))_m")


def bin_scores(depth: NDArray[np.float64], sample: Sample, edges: Sequence[float]) -> dict[str, float]:
    """Return SCORES of an aligned depth [h, w] in meters for each range that rising `edges` divide: `abs_rel_3_to_10_m`.

    A range holds its lower edge and not its upper one. Ranges with fewer than FEWEST scored pixels, or without any prediction, have
    none. Empty without edges.
    """
    scores: dict[str, float] = {}
    if not edges:
        return scores
    for low, high in zip([0.0, *edges], [*edges, np.inf], strict=True):
        inside = sample.mask & (sample.depth >= low) & (sample.depth < high)
        if np.count_nonzero(inside) < FEWEST or not np.isfinite(depth[inside]).any():
            continue
        made = image_metrics(depth, sample.depth, inside)
        scores |= {f"{key}_{_range(low, high)}": made[key] for key in SCORES}
    return scores


def is_of_bin(key: str) -> bool:
    """Return whether a score is one of a range of distances."""
    return _KEY.fullmatch(key) is not None


def in_words(key: str) -> str:
    """Return a score of a range for eyes: `AbsRel 3 to 10 m`."""
    match = _KEY.fullmatch(key)
    assert match is not None
    return f"{SCORES[match[1]]} {match[2].replace('_', ' ')} m"


def _range(low: float, high: float) -> str:
    if low == 0:
        return f"under_{high:g}_m"
    return f"over_{low:g}_m" if high == np.inf else f"{low:g}_to_{high:g}_m"
