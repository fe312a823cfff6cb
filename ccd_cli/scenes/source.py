"""A numbered set of generated scenes, read one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccd_cli.config.common import Family
from ccd_cli.scenes import render


@dataclass(frozen=True)
class SceneSource:
    """Generated scenes: seeds first .. first + count - 1, images of height x width pixels of one family."""

    count: int
    height: int
    width: int
    family: Family = "mixed"
    first: int = 0
    cache_bytes: int = 0

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (uint8 RGB (H,W,3), ground-truth disparity float32 (H,W) in 1 / meter; sky is 0) of scene `index`."""
        made = render([self.first + index], self.height, self.width, family=self.family)
        depth = made.depth[0].numpy()
        return np.ascontiguousarray(made.rgb[0].permute(1, 2, 0).numpy()), (1.0 / depth).astype(np.float32)

    @property
    def kept(self) -> int:
        """Return how many scenes fit into the cache."""
        return self.cache_bytes // (self.height * self.width * 7)  # three bytes of color, four of disparity per pixel
