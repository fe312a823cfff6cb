"""Pairs of points (DA-2K): which one does a map call closer?"""

from __future__ import annotations

from typing import Any

from ccd_cli.benchmarks import Prediction, Sample
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.depth import pair_accuracy
from ccd_cli.scoring.rows import PAIRS


def score_pairs(sample: Sample, prediction: Prediction, kind: Kind) -> dict[str, Any]:
    """Return a record (without index and mark) of one photo. `kind` says where larger values lie."""
    assert sample.pairs is not None
    values = prediction.told
    pairs = [((int(a[0]), int(a[1])), (int(b[0]), int(b[1]))) for a, b in sample.pairs]
    accuracy = pair_accuracy(values, pairs, kind)
    return {
        "image": sample.name,
        "alignment": "none",
        "group": sample.group,
        "pairs": len(pairs),
        "right": round(accuracy * len(pairs)),
        "scores": {PAIRS: accuracy},
    }
