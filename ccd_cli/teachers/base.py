"""What every teacher offers, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.geometry.kinds import Kind

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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
        """Clean RGB [B, 3, H, W] in 0..1 -> map [B, H, W] float32 of `kind`, at the input's size.

        For training crops: pixels that the teacher does not know are NaN.
        """
        ...

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `predict`, with the patch features [B, N, `feature_width`] of the same pass, or None."""
        ...

    def features(self, rgb: Tensor) -> Tensor | None:
        """Clean RGB [B, 3, H, W] in 0..1 -> patch features [B, N, `feature_width`], or None."""
        ...

    def predict_photos(
        self,
        photos: Sequence[NDArray[np.uint8]],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """RGB photos uint8 [H, W, 3] of any sizes -> one checked map each, at the photo's size.

        For whole photos, resized as the authors of the network do it. `resolution` is the side in pixels that the
        network sees (None: its own default, or the one the teacher was made with); `focals` are the photos' focal lengths
        in pixels where they are known. Photos that come to one size go through the network together; none is padded.
        """
        ...

    def to(self, device: torch.device | str) -> Self:
        """Move to `device` and return itself."""
        ...
