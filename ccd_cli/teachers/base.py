"""What every teacher offers, whatever it is made of."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from ccd_cli.core.kinds import Kind


@runtime_checkable
class Teacher(Protocol):
    """A frozen network that predicts maps of its own kind.

    It does its own resizing to the sides it can take and its own input statistics, so that those of two teachers
    never mix. Nothing it returns carries gradients, and all of it may enter a graph that does.
    """

    name: str
    kind: Kind
    license: str
    checkpoint_sha256: str
    feature_width: int | None  # None: it has no patch features

    def predict(self, rgb: Tensor) -> Tensor:
        """Clean RGB [B, 3, H, W] in 0..1 -> map [B, H, W] float32 of `kind`, at the input's size."""
        ...

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `predict`, with the patch features [B, N, `feature_width`] of the same pass, or None."""
        ...

    def features(self, rgb: Tensor) -> Tensor | None:
        """Clean RGB [B, 3, H, W] in 0..1 -> patch features [B, N, `feature_width`], or None."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Move to `device` and return itself."""
        ...
