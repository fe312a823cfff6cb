"""How far an exported network is from ours, measured in the other software."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One comparison of two maps: largest and mean |difference| as a fraction of the range (max - min) of ours.

    `name` says which photo and size; `exact` whether the bar applies (False: it is reported, not judged).
    """

    name: str
    largest: float
    mean: float
    exact: bool = True
