"""The suite that needs no download: generated rooms, streets and open land with exact depth and camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccd_cli.benchmarks.base import Sample, Spec
from ccd_cli.benchmarks.decode import known
from ccd_cli.config.common import HELD_OUT
from ccd_cli.core.errors import ImageError
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.scenes import render
from ccd_cli.scenes.source import SceneSource

NEAREST = 1e-3
FARTHEST = 80.0
"""Meters; generated pixels beyond are not scored, as KITTI's are not."""
COUNT = 60
SIZE = (384, 512)

SPEC = Spec(
    name="builtin",
    title="generated scenes",
    depth_range=(NEAREST, FARTHEST),
    resolution=None,
    max_res=None,
    boundary=True,
    about=f"held-out generated scenes (rooms, streets, open land) at {SIZE[0]}x{SIZE[1]} with exact depth; "
    f"sky and depth from {FARTHEST:g} m on are not scored, no crop",
)


@dataclass(frozen=True)
class GeneratedSet:
    """Scenes of seeds that training never draws, rendered when they are read."""

    count: int = COUNT
    size: tuple[int, int] = SIZE

    @property
    def spec(self) -> Spec:
        """What the protocol says."""
        return SPEC

    def __len__(self) -> int:
        return self.count

    def names(self) -> list[str]:
        """Return `scene-SEED` of every scene."""
        return [f"scene-{HELD_OUT + index}" for index in range(self.count)]

    def read(self, index: int) -> Sample:
        """Render one scene."""
        made = render([HELD_OUT + index], *self.size)
        rgb = np.ascontiguousarray(made.rgb[0].permute(1, 2, 0).numpy())
        depth = known(made.depth[0].numpy())
        camera = Camera(*(float(value) for value in made.intrinsics[0]))
        return Sample(self.names()[index], rgb, depth, (depth > NEAREST) & (depth < FARTHEST), camera)

    def fingerprint(self, index: int) -> str:
        """Nothing: the seed is in the name."""
        return ""

    def prediction_names(self, index: int) -> list[str]:
        """Return `pred_scene-SEED.npy`, then `scene-SEED.npy`."""
        name = self.names()[index]
        return [f"pred_{name}.npy", f"{name}.npy"]


@dataclass(frozen=True)
class HeldOutScenes:
    """Scenes that a run keeps for its own evaluation (`eval.scenes` of a recipe): sky and what lies beyond 80 m are invalid."""

    source: SceneSource

    @property
    def spec(self) -> Spec:
        """The rules of a user's own set: fitted disparity ends at the largest ground truth of the image."""
        source = self.source
        return Spec(
            name="scenes",
            title="generated scenes",
            depth_range=(NEAREST, FARTHEST),
            resolution=None,
            max_res=None,
            boundary=False,
            about=f"{len(self)} held-out generated scenes ({source.family}) at {source.height}x{source.width} with exact "
            f"depth; sky and depth from {FARTHEST:g} m on are not scored",
            floor="image",
        )

    def __len__(self) -> int:
        return self.source.count

    def names(self) -> list[str]:
        """Return `scene-SEED` of every scene."""
        return [f"scene-{self.source.first + index}" for index in range(len(self))]

    def read(self, index: int) -> Sample:
        """Render one scene. Raises ImageError where nothing in it is near enough to be scored."""
        rgb, disparity, focal = self.source.read(index)
        valid = disparity > 1 / FARTHEST
        name = self.names()[index]
        if not valid.any():
            raise ImageError(f"{name}: nothing is nearer than {FARTHEST:g} m")
        depth = np.where(valid, 1.0 / np.where(valid, disparity, 1.0), np.nan).astype(np.float32)
        return Sample(name, rgb, depth, valid, Camera(focal, focal, rgb.shape[1] / 2, rgb.shape[0] / 2))

    def fingerprint(self, index: int) -> str:
        """Nothing: the seed is in the name."""
        return ""

    def prediction_names(self, index: int) -> list[str]:
        """Return `scene-SEED.npy`."""
        return [f"{self.names()[index]}.npy"]
