"""The views of photos that one forward pass needs, made ahead by threads; a pure function of seed and position.

Position g is the g-th photo of the run. Its epoch's permutation, its crops and its augmentation follow from (seed, g)
alone, so that a resumed run, or another process, sees exactly the same views.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.seeding import step_seed
from ccd_cli.data.augment import Augmentation, augment
from ccd_cli.data.crops import Patch, Region, crop_map, cut, draw_boxes, inside, shares
from ccd_cli.data.source import Source


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
    ground_truth_teacher: int | None = None


@dataclass(frozen=True)
class PhotoViews:
    """The views of one photo, uint8 (V, size, size, 3) each.

    `clean` is for the teacher: the student's first view (for the
    shared loss or its features), then the patches. `student` holds the student's views: the
    shared crop, then the own region if there is one. `boxes` (P, 3) are the patches' footprints as (top, left, side)
    shares of the student's last view. `given` holds maps of the clean views, float32 (V, size, size), by the index of the
    teacher that they stand for; where every teacher's maps are given, `clean` is None.
    """

    clean: np.ndarray | None
    student: np.ndarray
    boxes: np.ndarray
    path: Path
    given: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Views of several photos: `clean` [N,3,S,S] and `student` [B*V,3,S,S] uint8, boxes [B,P,3].

    clean holds all whole views (if used), then all patches, the first photo's first; student all shared crops, then all
    own regions. given float32 [N,S,S] are maps of the clean views by teacher, where every photo has them; clean is None
    where no teacher needs to look.
    """

    clean: Tensor | None
    student: Tensor
    boxes: Tensor
    given: dict[int, Tensor]
    paths: list[Path]


def make_views(
    photo: np.ndarray,
    ground_truth: np.ndarray | None,
    rng: np.random.Generator,
    rule: ViewConfig,
    how: Augmentation,
    path: Path,
) -> PhotoViews:
    """Draw regions, patches and augmentation for one photo and cut them; the draws' order is fixed."""
    height, width = photo.shape[:2]
    region, own, drawn = draw_boxes(rng, height, width, rule.min_side, rule.patches, rule.patch_min, rule.patch_max)
    seen = own if rule.own_region else region
    parts = [inside(seen, patch) for patch in drawn] if rule.local_global else []
    student = ([] if rule.own_region and not rule.shared else [region]) + ([own] if rule.own_region else [])
    looked = [student[0], *parts] if rule.shared or rule.features else parts
    given = {}
    if ground_truth is not None and rule.ground_truth_teacher is not None:
        given[rule.ground_truth_teacher] = np.stack([crop_map(ground_truth, part, rule.size) for part in looked])
    return PhotoViews(
        clean=np.stack([cut(photo, part, rule.size) for part in looked]),
        student=np.stack([augment(cut(photo, part, rule.size), rng, how) for part in student]),
        boxes=np.array([shares(seen, part) for part in parts], np.float32).reshape(-1, len(Patch._fields)),
        path=path,
        given=given,
    )


@dataclass(frozen=True)
class Example:
    """A square of one image to look at: uint8 (size, size, 3), and maps of it, float32 (size, size), by teacher."""

    square: np.ndarray
    given: dict[int, np.ndarray]


class Stream(Protocol):
    """An endless, seeded sequence of views over a fixed number of images."""

    rule: ViewConfig
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
        """Leave an image out from now on."""
        ...

    def example(self, index: int) -> Example:
        """Return image `index` to look at; raises ImageError where it cannot be read."""
        ...

    def __getitem__(self, position: int) -> PhotoViews:
        """Return the views at a position."""
        ...


class PhotoStream:
    """The endless, seeded sequence of photo views; unreadable photos are replaced by the next of the permutation."""

    def __init__(
        self, source: Source, seed: int, rule: ViewConfig, how: Augmentation, on_bad: Callable[[Path, str], None]
    ) -> None:
        self.source, self.seed, self.rule, self.how, self.on_bad = source, seed, rule, how, on_bad
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

    def example(self, index: int) -> Example:
        """Return the middle square of image `index`; raises ImageError where it cannot be read."""
        photo, ground_truth = self.source.read(index)
        height, width = photo.shape[:2]
        side, size, teacher = min(height, width), self.rule.size, self.rule.ground_truth_teacher
        middle = Region((height - side) // 2, (width - side) // 2, side)
        given = {} if ground_truth is None or teacher is None else {teacher: crop_map(ground_truth, middle, size)}
        return Example(cut(photo, middle, size), given)

    def mark_bad(self, path: Path, reason: str) -> None:
        """Leave a photo out from now on; `on_bad` hears of it once."""
        with self._lock:
            if path in self.bad:
                return
            self.bad[path] = reason
        self.on_bad(path, reason)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(step_seed(self.seed, 1, epoch)).permutation(len(self.source))

    def __getitem__(self, position: int) -> PhotoViews:
        """Return the views at a position; raises CcdError when no photo at all can be read."""
        count = len(self.source)
        epoch, place = divmod(position, count)
        order = self._order(epoch)
        rng = np.random.default_rng(step_seed(self.seed, 2, position))
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
            return make_views(photo, ground_truth, rng, self.rule, self.how, path)
        raise CcdError("None of the photos can be read.", "See skipped.jsonl in the run folder.")


def batches(stream: Stream, groups: Iterator[list[int]], workers: int, prefetch: int) -> Iterator[Batch]:
    """Yield one Batch for each group of positions, in order, while `workers` threads prepare up to `ahead` groups.

    Threads suffice: decoding, cutting and resizing release the interpreter's lock.
    """
    pool = ThreadPoolExecutor(workers, "photos", torch.set_num_threads, (1,))  # theirs alone: this thread keeps its own
    waiting: deque[list[Future[PhotoViews]]] = deque()
    try:
        for group in groups:
            waiting.append([pool.submit(stream.__getitem__, position) for position in group])
            if len(waiting) > prefetch:
                yield _collate([future.result() for future in waiting.popleft()], stream.rule)
        while waiting:
            yield _collate([future.result() for future in waiting.popleft()], stream.rule)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _collate(views: list[PhotoViews], rule: ViewConfig) -> Batch:
    first = 1 if rule.shared or rule.features else 0

    def ordered(stacks: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate([*(s[:first] for s in stacks), *(s[first:] for s in stacks)]))

    clean = [view.clean for view in views if view.clean is not None]
    known = set.intersection(*(set(view.given) for view in views))
    return Batch(
        clean=ordered(clean).permute(0, 3, 1, 2) if clean else None,
        student=torch.from_numpy(np.stack([view.student for view in views], axis=1)).flatten(0, 1).permute(0, 3, 1, 2),
        boxes=torch.from_numpy(np.stack([view.boxes for view in views])),
        given={teacher: ordered([view.given[teacher] for view in views]) for teacher in sorted(known)},
        paths=[view.path for view in views],
    )
