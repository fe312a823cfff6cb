"""Which image lies at which position and where its crops lie: the same as in a distillation run of the same seed.

Position g is the g-th image of a run (see `data.views`). Its image and its boxes are functions of (seed, g) alone, so that
a student can be trained from labels on exactly the crops that it would have got live.
"""

from __future__ import annotations

import copy
import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ccd_cli.config.label import LabelRecipe
from ccd_cli.core.errors import ImageError
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.data.crops import Region, crop_image, draw_boxes, inside
from ccd_cli.data.source import Source
from ccd_cli.geometry.kinds import Kind
from ccd_cli.labels.format import MAX_IMAGE_BYTES
from ccd_cli.media.photos import decode_photo


@dataclass(frozen=True)
class ImageFacts:
    """An image that was read: its file's hash and size, its upright height and width (px), and the boxes of its crops."""

    position: int
    path: Path
    sha256: str
    bytes: int
    height: int
    width: int
    boxes: list[Region]


@dataclass(frozen=True)
class Views:
    """An image that was read: its facts, its crops uint8 RGB [V, S, S, 3], and where asked for their true disparity.

    `truth` is float32 [V, S, S] in the unit of the image's ground truth, NaN where it is unknown, 0 in the sky.
    """

    facts: ImageFacts
    crops: NDArray[np.uint8]
    truth: NDArray[np.float32] | None


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be read, or whose ground truth cannot, and why."""

    position: int
    path: Path
    reason: str


class Plan:
    """Positions 0 .. epochs x images - 1, in shards of `shard_size` positions. `source`: images in files, with ground truth or not.

    `truth_kind` is what the teacher `ground-truth` gives: meters, or depth of another unit as soon as one image has that.
    """

    def __init__(self, recipe: LabelRecipe, source: Source) -> None:
        self.source, self.images_per_epoch = source, source.files
        self.truth_kind: Kind = "metric" if source.pairs is None or source.pairs.metric else "depth"
        self.seed, self.crops, self.size = recipe.seed, recipe.crops, recipe.crops.size
        self.count, self.shard_size = recipe.epochs * self.images_per_epoch, recipe.shard

    def without_images(self) -> Self:
        """Return the plan without its list of images, of which there may be millions: a worker gets those of its shard."""
        plan = copy.copy(self)
        plan.source = Source([])
        return plan

    @property
    def images(self) -> list[Path]:
        """Return the images."""
        return self.source.paths

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.count // self.shard_size)

    @property
    def crops_per_image(self) -> int:
        """Crops per image: the shared region and its patches."""
        return 1 + self.crops.patches

    def positions(self, shard: int) -> range:
        """Return the positions of one shard."""
        return range(shard * self.shard_size, min(self.count, (shard + 1) * self.shard_size))

    def epoch(self, position: int) -> int:
        """Return the epoch that a position lies in."""
        return position // self.images_per_epoch

    def number(self, position: int) -> int:
        """Return the number in `source` of the image at a position."""
        epoch, index = divmod(position, self.images_per_epoch)
        return int(_order(self.seed, epoch, self.images_per_epoch)[index])

    def image(self, position: int) -> Path:
        """Return the image at a position."""
        return self.images[self.number(position)]

    def shard_images(self, shard: int) -> Source:
        """Return the images of one shard alone, in the order of its positions."""
        numbers = [self.number(position) for position in self.positions(shard)]
        if self.source.pairs is not None:
            return Source([], pairs=self.source.pairs.part(numbers))
        return Source([self.images[number] for number in numbers])

    def boxes(self, position: int, height: int, width: int) -> list[Region]:
        """Return the shared region and its patches in whole pixels of the upright image."""
        rng = np.random.default_rng(step_seed(self.seed, Draw.VIEWS, position))
        crops = self.crops
        region, _, drawn = draw_boxes(
            rng, height, width, crops.min_side, crops.patches, crops.patch_min, crops.patch_max
        )
        return [region, *(inside(region, patch) for patch in drawn)]

    def read(self, position: int) -> tuple[ImageFacts, NDArray[np.uint8]] | Unreadable:
        """Return an image's facts and its crops, uint8 RGB [V, size, size, 3], or why it cannot be read."""
        made = self.views(position, self.source, self.number(position))
        return made if isinstance(made, Unreadable) else (made.facts, made.crops)

    def views(self, position: int, images: Source, index: int, with_truth: bool = False) -> Views | Unreadable:
        """Return the views of image `index` of `images`, which lies at a position; `with_truth`: with their true disparity."""
        with ExitStack() as memory:
            return self._views(position, images, index, with_truth, memory)

    def _views(
        self, position: int, images: Source, index: int, with_truth: bool, memory: ExitStack
    ) -> Views | Unreadable:
        path = images.paths[index]
        try:
            if path.stat().st_size > MAX_IMAGE_BYTES:
                raise ImageError(f"{path}: larger than {MAX_IMAGE_BYTES // 1_000_000} MB")
            data = path.read_bytes()  # once: pixels and hash are of the same bytes
            if not data:
                raise ImageError(f"{path}: empty file")
            pixels = decode_photo(data, str(path), memory)
            truth = images.truth(index, (pixels.shape[0], pixels.shape[1]))  # whoever labels: all read the same images
        except ImageError as error:
            return Unreadable(position, path, error.message)
        except FileNotFoundError:
            return Unreadable(position, path, f"{path}: no such file")
        except OSError as error:
            return Unreadable(position, path, f"{path}: {error.strerror or error}")
        height, width = pixels.shape[:2]
        boxes = self.boxes(position, height, width)
        facts = ImageFacts(position, path, hashlib.sha256(data).hexdigest(), len(data), height, width, boxes)
        crops = np.stack([crop_image(pixels, box, self.size) for box in boxes])
        known = None
        if with_truth and truth is not None:
            known = np.stack([truth.crop(box, self.size) for box in boxes])
        return Views(facts, crops, known)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the order of the images in one epoch."""
    return np.random.default_rng(step_seed(seed, Draw.ORDER, epoch)).permutation(count)


def key_of(position: int) -> str:
    """Return the name of a position's sample."""
    return f"{position:09d}"
