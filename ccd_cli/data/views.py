"""The views of images that one forward pass needs, made ahead by threads; a pure function of seed and position.

Position g is the g-th image of the run. Its epoch's permutation, its crops and its augmentation follow from (seed, g)
alone, so that a resumed run, or another process, sees exactly the same views.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.data.augment import Augmentation, augment
from ccd_cli.data.batch import Batch, Example, ImageViews, collate
from ccd_cli.data.crops import Patch, Region, crop_image, draw_boxes, footprint, inside
from ccd_cli.data.source import Source
from ccd_cli.data.truth import GroundTruth


@dataclass(frozen=True)
class ViewConfig:
    """How views are drawn; see the recipe's `crops` section."""

    size: int
    min_side: int
    patches: int
    patch_min: float
    patch_max: float
    own_region: bool
    shared: bool
    local_global: bool
    features: bool = False
    region_labels: bool = False
    whole: bool = False
    ground_truth_teacher: int | None = None

    @property
    def labels_whole(self) -> bool:
        """Whether teachers see the first view too, and not its patches alone."""
        return self.shared or self.features or self.region_labels or self.whole

    @property
    def teacher_views(self) -> int:
        """How many views of an image teachers see."""
        return self.labels_whole + self.patches * self.local_global


def make_views(
    photo: np.ndarray,
    ground_truth: GroundTruth | None,
    rng: np.random.Generator,
    config: ViewConfig,
    augmentation: Augmentation,
    path: Path,
) -> Example:
    """Draw regions, patches and augmentation for one image and crop them; the draws' order is fixed."""
    height, width = photo.shape[:2]
    size = config.size
    region, own, patches = draw_boxes(
        rng, height, width, config.min_side, config.patches, config.patch_min, config.patch_max
    )
    holder = own if config.own_region else region  # what the patches lie in
    first = own if config.own_region and not config.shared else region
    boxes = [inside(holder, patch) for patch in patches] if config.local_global else []
    precomputed = {}
    if ground_truth is not None and config.ground_truth_teacher is not None:
        precomputed[config.ground_truth_teacher] = ImageViews(
            ground_truth.crop(first, size) if config.labels_whole else None,
            np.array([ground_truth.crop(box, size) for box in boxes], np.float32).reshape(-1, size, size),
        )
    return Example(
        teacher=ImageViews(
            crop_image(photo, first, size) if config.labels_whole else None,
            np.array([crop_image(photo, box, size) for box in boxes], np.uint8).reshape(-1, size, size, 3),
        ),
        student=augment(crop_image(photo, first, size), rng, augmentation),
        own=augment(crop_image(photo, own, size), rng, augmentation) if config.own_region and config.shared else None,
        boxes=np.array([footprint(holder, box) for box in boxes], np.float32).reshape(-1, len(Patch._fields)),
        path=path,
        precomputed=precomputed,
        focal=math.nan if ground_truth is None or not ground_truth.focal else ground_truth.focal * size / first.side,
    )


@dataclass(frozen=True)
class Sample:
    """A square of one image to look at: uint8 (size, size, 3), and maps of it, float32 (size, size), by teacher."""

    square: np.ndarray
    precomputed: dict[int, np.ndarray]


class Stream(Protocol):
    """An endless, seeded sequence of views over a fixed number of images."""

    config: ViewConfig
    bad: dict[Path, str]

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    @property
    def files(self) -> int:
        """Return how many of them are read from files, which may be damaged."""
        ...

    @property
    def digest(self) -> str:
        """Return a hash of the sequence of images."""
        ...

    def mark_bad(self, path: Path, reason: str) -> None:
        """Skip an image from now on."""
        ...

    def sample(self, index: int) -> Sample:
        """Return image `index` to look at; raises ImageError where it cannot be read."""
        ...

    def __getitem__(self, position: int) -> Example:
        """Return the views at a position."""
        ...


class PhotoStream:
    """The endless, seeded sequence of photo views; unreadable photos are replaced by the next of the permutation."""

    def __init__(
        self,
        source: Source,
        seed: int,
        config: ViewConfig,
        augmentation: Augmentation,
        on_bad: Callable[[Path, str], None],
    ) -> None:
        self.source, self.seed, self.config, self.augmentation, self.on_bad = source, seed, config, augmentation, on_bad
        self._order = lru_cache(maxsize=4)(self._permutation)
        self.bad: dict[Path, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.source)

    @property
    def files(self) -> int:
        """Return the number of photos."""
        return self.source.files

    @property
    def digest(self) -> str:
        """Return a hash of the sequence of images."""
        return self.source.digest

    def sample(self, index: int) -> Sample:
        """Return the middle square of image `index`; raises ImageError where it cannot be read."""
        photo, ground_truth = self.source.read(index)
        height, width = photo.shape[:2]
        side, size, teacher = min(height, width), self.config.size, self.config.ground_truth_teacher
        middle = Region((height - side) // 2, (width - side) // 2, side)
        precomputed = {} if ground_truth is None or teacher is None else {teacher: ground_truth.crop(middle, size)}
        return Sample(crop_image(photo, middle, size), precomputed)

    def mark_bad(self, path: Path, reason: str) -> None:
        """Skip a photo from now on; `on_bad` hears of it once."""
        with self._lock:
            if path in self.bad:
                return
            self.bad[path] = reason
        self.on_bad(path, reason)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(step_seed(self.seed, Draw.ORDER, epoch)).permutation(len(self.source))

    def __getitem__(self, position: int) -> Example:
        """Return the views at a position; raises CcdError when no photo at all can be read."""
        count = len(self.source)
        epoch, place = divmod(position, count)
        order = self._order(epoch)
        rng = np.random.default_rng(step_seed(self.seed, Draw.VIEWS, position))
        for offset in range(count):
            index = int(order[(place + offset) % count])
            path = self.source.name(index)
            if path in self.bad:
                continue
            try:
                photo, ground_truth = self.source.read(index)
            except ImageError as error:
                self.mark_bad(path, error.message)
                continue
            made = make_views(photo, ground_truth, rng, self.config, self.augmentation, path)
            return made.flipped() if self.augmentation.flips(self.seed, position) else made
        raise CcdError("None of the photos can be read.", "See skipped.jsonl in the run folder.")


def batches(stream: Stream, groups: Iterator[list[int]], workers: int, prefetch: int) -> Generator[Batch]:
    """Yield one Batch for each group of positions, in order, while `workers` threads prepare up to `prefetch` groups.

    Threads suffice: decoding, cropping and resizing release the interpreter's lock.
    """
    pool = ThreadPoolExecutor(workers, "photos", torch.set_num_threads, (1,))  # theirs alone: this thread keeps its own
    waiting: deque[list[Future[Example]]] = deque()
    try:
        for group in groups:
            waiting.append([pool.submit(stream.__getitem__, position) for position in group])
            if len(waiting) > prefetch:
                yield collate([future.result() for future in waiting.popleft()])
        while waiting:
            yield collate([future.result() for future in waiting.popleft()])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
