"""Images with true depth on which a student is scored while it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ccd_cli.benchmarks.generated import FARTHEST
from ccd_cli.scenes.rule import SceneSource


class EvalSet(Protocol):
    """A numbered set of photos with depth."""

    @property
    def name(self) -> str:
        """Return the name of the set."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (photo uint8 RGB (H,W,3), depth float32 (h,w), valid bool (h,w))."""


@dataclass(frozen=True)
class SceneSet:
    """Held-out generated scenes; sky and what lies beyond 80 m are invalid."""

    rule: SceneSource
    name: str = "generated scenes"

    def __len__(self) -> int:
        return self.rule.count

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (photo uint8 RGB (H,W,3), depth in meters float32 (H,W), valid bool (H,W))."""
        photo, disparity = self.rule.read(index)
        valid = disparity > 1 / FARTHEST
        return photo, np.where(valid, 1.0 / np.where(valid, disparity, 1.0), 1.0).astype(np.float32), valid
