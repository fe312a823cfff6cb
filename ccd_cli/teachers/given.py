"""The teacher that is no network: the exact depth of generated scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.core.depth import DepthMap
from ccd_cli.core.errors import TeacherError
from ccd_cli.core.kinds import Kind
from ccd_cli.core.schema import TRUTH


class Truth:
    """Stands for the true disparity that comes with generated views; it cannot predict from pixels."""

    name = TRUTH
    kind: Kind = "disparity"
    license = "CC0-1.0"
    checkpoint_sha256 = ""
    feature_width: int | None = None

    def predict(self, rgb: Tensor) -> Tensor:
        """Raise TeacherError: nothing can be predicted."""
        raise _no_pixels()

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raise TeacherError: nothing can be predicted."""
        raise _no_pixels()

    def predict_photos(
        self,
        photos: Sequence[NDArray[np.uint8]],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """Raise TeacherError: nothing can be predicted."""
        raise _no_pixels()

    def features(self, rgb: Tensor) -> Tensor | None:
        """Return None: it has no features."""
        return None

    def to(self, device: torch.device | str) -> Self:
        """Return itself."""
        return self


def _no_pixels() -> TeacherError:
    return TeacherError("The teacher `truth` answers for generated scenes only.")
