"""The names of alignment methods. Free of numpy, so that `--help` can list them."""

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
