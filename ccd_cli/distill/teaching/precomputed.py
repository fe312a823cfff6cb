"""Teachers that are no networks here: their maps come with the images (ground truth of scenes, labels made earlier)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.core.errors import TeacherError
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.geometry.kinds import Kind
from ccd_cli.teachers.licenses import GROUND_TRUTH_LICENSE


class PrecomputedLabels:
    """Stands for a teacher whose maps are handed to `TeacherEnsemble.label` with the views; it cannot predict from pixels."""

    feature_width: int | None = None

    def __init__(self, name: str, kind: Kind, license_name: str, checkpoint_sha256: str) -> None:
        self.name, self.kind, self.license, self.checkpoint_sha256 = name, kind, license_name, checkpoint_sha256

    def predict(self, rgb: Tensor) -> Tensor:
        """Raise TeacherError: nothing can be predicted."""
        raise self._no_pixels()

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raise TeacherError: nothing can be predicted."""
        raise self._no_pixels()

    def predict_photos(
        self,
        photos: Sequence[NDArray[np.uint8]],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """Raise TeacherError: nothing can be predicted."""
        raise self._no_pixels()

    def features(self, rgb: Tensor) -> Tensor | None:
        """Return None: it has no features."""
        return None

    def to(self, device: torch.device | str) -> Self:
        """Return itself."""
        return self

    def _no_pixels(self) -> TeacherError:
        return TeacherError(
            f"The maps of the teacher `{self.name}` come with its images; it cannot predict for others."
        )


def ground_truth() -> PrecomputedLabels:
    """Return the teacher `ground-truth` beside its images: the disparity of generated scenes and of measured pairs."""
    return PrecomputedLabels(GROUND_TRUTH, "disparity", GROUND_TRUTH_LICENSE, "")
