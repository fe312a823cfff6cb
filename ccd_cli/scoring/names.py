"""What scores are called for eyes: in pages, tables and plots."""

from __future__ import annotations

NAMES = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel",
    "rmse": "RMSE",
    "rmse_log": "RMSE log",
    "silog": "SILog",
    "irmse": "iRMSE",
    "delta1": "δ1",
    "delta2": "δ2",
    "delta3": "δ3",
    "boundary_f1": "boundary F1",
    "moge_boundary_f1": "boundary F1 (MoGe)",
    "pair_accuracy": "pair accuracy",
    "tae": "TAE",
}


def display_name(key: str) -> str:
    """Return a score's name for eyes; the groups of the pair accuracy are named after what they are of."""
    return NAMES.get(key) or key.removeprefix("pair_accuracy_").replace("_", " ")
