"""Which photo lies at which position, and where teachers look: the same as in a distillation run of the same seed.

Position g is the g-th photo of a run (see `data.views`). Its photo and its boxes follow from (seed, g) alone, so that a
student can be trained from labels on exactly the crops that it would have seen live.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccd_cli.config.label import LabelRecipe
from ccd_cli.core.errors import ImageError
from ccd_cli.core.seeding import step_seed
from ccd_cli.data.crops import Region, crop_image, draw_boxes, inside
from ccd_cli.media.photos import read_photo


@dataclass(frozen=True)
class Seen:
    """A photo that was read: its file's hash and size, its upright height and width, and the boxes looked at."""

    position: int
    path: Path
    sha256: str
    bytes: int
    height: int
    width: int
    boxes: list[Region]


@dataclass(frozen=True)
class Bad:
    """A photo that cannot be read, and why."""

    position: int
    path: Path
    reason: str


class Plan:
    """Positions 0 .. epochs x photos - 1, cut into shards of `shard`."""

    def __init__(self, recipe: LabelRecipe, photos: list[Path], count: int | None = None) -> None:
        """`count` says how many photos there are where they are not given: a worker gets the `paths` of its shard."""
        self.photos, self.seed, self.crops, self.size = photos, recipe.seed, recipe.crops, recipe.crops.size
        self.per_epoch = len(photos) if count is None else count
        self.count, self.portion = recipe.epochs * self.per_epoch, recipe.shard

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.count // self.portion)

    @property
    def views(self) -> int:
        """Crops a photo: the region and its patches."""
        return 1 + self.crops.patches

    def positions(self, shard: int) -> range:
        """Return the positions of one shard."""
        return range(shard * self.portion, min(self.count, (shard + 1) * self.portion))

    def epoch(self, position: int) -> int:
        """Return the pass over the photos that a position lies in."""
        return position // self.per_epoch

    def photo(self, position: int) -> Path:
        """Return the photo at a position."""
        epoch, place = divmod(position, self.per_epoch)
        return self.photos[int(_order(self.seed, epoch, self.per_epoch)[place])]

    def paths(self, shard: int) -> list[Path]:
        """Return the photos of one shard, in the order of its positions."""
        return [self.photo(position) for position in self.positions(shard)]

    def boxes(self, position: int, height: int, width: int) -> list[Region]:
        """Return the region and its patches in whole pixels of the upright photo."""
        rng = np.random.default_rng(step_seed(self.seed, 2, position))
        crops = self.crops
        region, _, drawn = draw_boxes(
            rng, height, width, crops.min_side, crops.patches, crops.patch_min, crops.patch_max
        )
        return [region, *(inside(region, patch) for patch in drawn)]

    def read(self, position: int, path: Path | None = None) -> tuple[Seen, NDArray[np.uint8]] | Bad:
        """Return a photo's facts and its views, uint8 [V, size, size, 3], or why it cannot be read."""
        path = path or self.photo(position)
        try:
            pixels = read_photo(path)
            data = path.read_bytes()
        except ImageError as error:
            return Bad(position, path, error.message)
        except OSError as error:
            return Bad(position, path, f"{path}: {error.strerror or error}")
        height, width = pixels.shape[:2]
        boxes = self.boxes(position, height, width)
        seen = Seen(position, path, hashlib.sha256(data).hexdigest(), len(data), height, width, boxes)
        return seen, np.stack([crop_image(pixels, box, self.size) for box in boxes])


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the order of the photos in one pass over them."""
    return np.random.default_rng(step_seed(seed, 1, epoch)).permutation(count)


def key_of(position: int) -> str:
    """Return the name of a position's sample."""
    return f"{position:09d}"
