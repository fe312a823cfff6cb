"""What scores are called for eyes: in pages, tables and plots."""

from __future__ import annotations

from ccd_cli.scoring.distance import in_words, is_of_bin

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
    "chamfer": "Chamfer (m)",
    "f_score": "F-score (0.1 m)",
    "coverage": "coverage",
}
MEANING = {
    "abs_rel": "AbsRel: mean relative error, lower is better. δ1: fraction of pixels within 25 %, higher is better.",
    "pair_accuracy": "Pair accuracy: fraction of pairs whose closer point is predicted closer, higher is better; chance is 0.5.",
    "tae": "TAE: temporal alignment error, lower is better; 0 where the frames of a clip agree with each other.",
}
"""What metrics mean, where a page holds them."""


def display_name(key: str) -> str:
    """Return a score's name for eyes; the groups of the pair accuracy are named after what they are of."""
    if is_of_bin(key):
        return in_words(key)
    return NAMES.get(key) or key.removeprefix("pair_accuracy_").replace("_", " ")
