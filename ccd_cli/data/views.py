"""The views of photos that one forward pass needs, made ahead by threads; a pure function of seed and position.

Position g is the g-th photo of the run. Its epoch's permutation, its crops and its augmentation follow from (seed, g)
alone, so that a resumed run, or another process, sees exactly the same views.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.runtime import step_seed
from ccd_cli.data.augment import Augmentation, augment
from ccd_cli.data.crops import Patch, Region, cut, draw_patches, draw_region, inside, shares
from ccd_cli.data.photos import read_photo


@dataclass(frozen=True)
class ViewRule:
    """How views are drawn; see the recipe's `crops` section."""

    size: int
    min_side: int
    patches: int
    patch_min: float
    patch_max: float
    own_region: bool
    shared: bool
    local_global: bool


@dataclass(frozen=True)
class PhotoViews:
    """The views of one photo, uint8 (V, size, size, 3) each.

    `clean` is for the teacher: the shared crop (if used), then the patches. `student` holds the student's views: the
    shared crop, then the own region if there is one. `boxes` (P, 3) are the patches' footprints as (top, left, side)
    shares of the student's last view.
    """

    clean: np.ndarray
    student: np.ndarray
    boxes: np.ndarray
    path: Path


@dataclass(frozen=True)
class Batch:
    """Views of several photos as uint8 tensors: `shared` and `patches` clean, `student` augmented.

    shared [B,3,S,S] and patches [B*P,3,S,S] may be empty; student [B*V,3,S,S] is ordered by view (all shared crops, then
    all own regions); boxes [B,P,3].
    """

    shared: Tensor
    patches: Tensor
    student: Tensor
    boxes: Tensor
    paths: list[Path]


def make_views(
    photo: np.ndarray, rng: np.random.Generator, rule: ViewRule, how: Augmentation, path: Path
) -> PhotoViews:
    """Draw regions, patches and augmentation for one photo and cut them; the draws' order is fixed."""
    height, width = photo.shape[:2]
    region = draw_region(rng, height, width, rule.min_side)
    own = draw_region(rng, height, width, rule.min_side)
    patches = draw_patches(rng, rule.patches, rule.patch_min, rule.patch_max)
    seen = own if rule.own_region else region
    clean, boxes, views = [], [], []
    crop = cut(photo, region, rule.size)
    if rule.shared:
        clean.append(crop)
    if rule.shared or not rule.own_region:
        views.append(augment(crop, rng, how))
    if rule.local_global:
        parts: list[Region] = [inside(seen, patch) for patch in patches]
        clean += [cut(photo, part, rule.size) for part in parts]
        boxes = [shares(seen, part) for part in parts]
        if rule.own_region:
            views.append(augment(cut(photo, own, rule.size), rng, how))
    return PhotoViews(
        np.stack(clean), np.stack(views), np.array(boxes, np.float32).reshape(-1, len(Patch._fields)), path
    )


class PhotoStream:
    """The endless, seeded sequence of photo views; unreadable photos are replaced by the next of the permutation."""

    def __init__(
        self, photos: list[Path], seed: int, rule: ViewRule, how: Augmentation, on_bad: Callable[[Path, str], None]
    ) -> None:
        self.photos, self.seed, self.rule, self.how, self.on_bad = photos, seed, rule, how, on_bad
        self._order = lru_cache(maxsize=4)(self._permutation)
        self.bad: dict[Path, str] = {}
        self._lock = threading.Lock()

    def mark_bad(self, path: Path, reason: str) -> None:
        """Leave a photo out from now on; `on_bad` hears of it once."""
        with self._lock:
            if path in self.bad:
                return
            self.bad[path] = reason
        self.on_bad(path, reason)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(step_seed(self.seed, 1, epoch)).permutation(len(self.photos))

    def __getitem__(self, position: int) -> PhotoViews:
        """Return the views at a position; raises CcdError when no photo at all can be read."""
        count = len(self.photos)
        epoch, place = divmod(position, count)
        order = self._order(epoch)
        rng = np.random.default_rng(step_seed(self.seed, 2, position))
        for offset in range(count):
            path = self.photos[int(order[(place + offset) % count])]
            if path in self.bad:
                continue
            try:
                photo = read_photo(path)
            except ImageError as error:
                self.mark_bad(path, error.message)
                continue
            return make_views(photo, rng, self.rule, self.how, path)
        raise CcdError("None of the photos can be read.", "See skipped.jsonl in the run folder.")


def batches(stream: PhotoStream, groups: Iterator[list[int]], workers: int, ahead: int) -> Iterator[Batch]:
    """Yield one Batch for each group of positions, in order, while `workers` threads prepare up to `ahead` groups.

    Threads suffice: decoding, cutting and resizing release the interpreter's lock.
    """
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="photos")
    waiting: deque[list[Future[PhotoViews]]] = deque()
    try:
        for group in groups:
            waiting.append([pool.submit(stream.__getitem__, position) for position in group])
            if len(waiting) > ahead:
                yield _collate([future.result() for future in waiting.popleft()], stream.rule)
        while waiting:
            yield _collate([future.result() for future in waiting.popleft()], stream.rule)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _collate(views: list[PhotoViews], rule: ViewRule) -> Batch:
    first = 1 if rule.shared else 0
    clean = [_planes(view.clean) for view in views]
    student = torch.stack([_planes(view.student) for view in views], dim=1).flatten(0, 1)
    empty = clean[0][:0]
    return Batch(
        shared=torch.stack([c[0] for c in clean]) if rule.shared else empty,
        patches=torch.cat([c[first:] for c in clean]),
        student=student,
        boxes=torch.from_numpy(np.stack([view.boxes for view in views])),
        paths=[view.path for view in views],
    )


def _planes(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
