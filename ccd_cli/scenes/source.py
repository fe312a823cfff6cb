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

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Return (uint8 RGB (H,W,3), ground-truth disparity float32 (H,W) in 1 / meter, focal length in pixels) of scene `index`.

        The disparity of sky is 0.
        """
        made = render([self.first + index], self.height, self.width, family=self.family)
        rgb = np.ascontiguousarray(made.rgb[0].permute(1, 2, 0).numpy())
        return rgb, (1.0 / made.depth[0].numpy()).astype(np.float32), float(made.intrinsics[0, 0])

    @property
    def kept(self) -> int:
        """Return how many scenes fit into the cache."""
        return self.cache_bytes // (self.height * self.width * 7)  # three bytes of color, four of disparity per pixel
