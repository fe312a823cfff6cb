"""The names that --alignment and --camera take. Free of numpy, so that `--help` can list them."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal[
    "least-squares",
    "least-squares-disparity",
    "midas",
    "scale",
    "median",
    "none",
    "moge-scale",
    "moge-affine",
    "moge-disparity",
]
METHODS: tuple[str, ...] = get_args(Method)
ONE_SCALE: frozenset[str] = frozenset({"scale", "median", "none", "moge-scale"})
"""Methods that fit no shift."""
AlignmentChoice = Literal["auto"] | Method
CameraChoice = Literal["set", "own"]
"""Camera with which points are unprojected: the dataset's, or the one that the model predicts."""
