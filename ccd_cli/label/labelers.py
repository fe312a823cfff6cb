"""Who makes the labels of crops: a network, or ground truth whose holes a network fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.config.common import Fill
from ccd_cli.geometry.kinds import Kind
from ccd_cli.labels.format import Filled, FloatMap
from ccd_cli.losses.completion import complete
from ccd_cli.teachers.base import Teacher

Crops = Sequence[NDArray[np.uint8]]
"""Crops uint8 RGB [S, S, 3]."""


class Labeler(Protocol):
    """Makes labels. `facts`: its name, kind, license, and the hash of its weights; `batch`: how many crops it labels at once."""

    @property
    def facts(self) -> dict[str, Any]:
        """Return who it is."""
        ...

    @property
    def kind(self) -> Kind:
        """Return what its maps mean."""
        ...

    @property
    def batch(self) -> int:
        """Return how many crops it labels at once."""
        ...

    @property
    def wants_truth(self) -> bool:
        """Return whether it needs the true disparity of the crops."""
        ...

    def label(self, crops: Crops, truth: Sequence[FloatMap]) -> tuple[FloatMap, list[Filled | None]]:
        """Return maps float32 [N, S, S] of N crops, and how the holes of each were filled (None: they were not).

        `truth`: the crops' true disparity float32 [S, S], NaN where it is unknown; none unless it is wanted.
        """
        ...


@dataclass(frozen=True)
class LoadedTeacher:
    """A teacher on its device, its facts (name, kind, license, hash of the weights), and its crops per forward pass."""

    model: Teacher
    facts: dict[str, Any]
    device: torch.device
    batch: int
    wants_truth: ClassVar[bool] = False

    @property
    def kind(self) -> Kind:
        """See `Labeler`."""
        return self.model.kind

    def maps(self, crops: Crops) -> Tensor:
        """Return maps float32 [N, S, S] of the teacher's kind for N crops, in one forward pass, where the teacher leaves them."""
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(self.device, non_blocking=True)
        return self.model.predict(pixels.float().div_(255.0)).float()

    def predict(self, crops: Crops) -> FloatMap:
        """Return the maps on the host."""
        return self.maps(crops).cpu().numpy()

    def label(self, crops: Crops, truth: Sequence[FloatMap]) -> tuple[FloatMap, list[Filled | None]]:
        """See `Labeler`."""
        return self.predict(crops), [None] * len(crops)


@dataclass(frozen=True)
class TruthLabels:
    """Ground truth as labels: depth, NaN where nothing was measured, unless the network `filler` fills it by the rule `fill`.

    `kind` is metric where all ground truth is in meters, else depth.
    """

    kind: Kind
    facts: dict[str, Any]
    batch: int
    filler: LoadedTeacher | None = None
    fill: Fill | None = None
    wants_truth: ClassVar[bool] = True

    def label(self, crops: Crops, truth: Sequence[FloatMap]) -> tuple[FloatMap, list[Filled | None]]:
        """See `Labeler`: the truth wherever it is, elsewhere the filler's map as `losses.completion.complete` fits it, in reach."""
        disparity = torch.from_numpy(np.stack(truth))
        if self.filler is None or self.fill is None:
            return _depth(disparity).numpy(), [None] * len(crops)
        maps = self.filler.maps(crops)
        disparity = disparity.to(maps.device, non_blocking=True)
        measured, rule = torch.isfinite(disparity), self.fill
        known = torch.where(measured, disparity, 0.0)
        made = complete(known, measured, maps, self.filler.kind, rule.min_points, rule.max_error)
        depth = _depth(torch.where(made.in_reach, made.values, torch.nan))
        filled = (made.in_reach & ~measured).flatten(1).float().mean(1)
        facts = torch.stack([filled, made.error, made.refused.float()], dim=1)
        values = torch.cat([depth.flatten(1), facts.to(depth)], dim=1).cpu().numpy()  # one copy
        return np.ascontiguousarray(values[:, :-3]).reshape(depth.shape), [
            _filled(*row) for row in values[:, -3:].tolist()
        ]


def _depth(disparity: Tensor) -> Tensor:
    """1 / disparity: infinite in the sky, NaN where nothing is known."""
    return 1.0 / disparity


def _filled(filled: float, error: float, refused: float) -> Filled:
    return Filled(filled=round(filled, 6), error=round(error, 6) if np.isfinite(error) else None, refused=bool(refused))
