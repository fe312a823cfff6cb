"""Views of photos whose labels were made earlier by `ccd label`: the same sequence of views, with the teachers' maps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.seeding import step_seed
from ccd_cli.data.augment import Augmentation, augment
from ccd_cli.data.crops import Patch, Region, cut, draw_boxes, shares
from ccd_cli.data.views import Example, PhotoViews, ViewConfig
from ccd_cli.labels.shards import LabelSample, ShardReader, epoch_order


class LabelStream:
    """The endless, seeded sequence of views over a folder of labels.

    One pass visits every sample once. `recorded` goes through the first pass as the samples lie: with the labels' own seed
    and nothing skipped, position g then has the photo, boxes and augmentation that live training has there. Later passes
    (or all) are shuffled as `shards.epoch_order` says. `columns[i]` is the place in the folder of the run's teacher i;
    `needed(position)` names the run's teachers whose labels that position is learned from, and only those are read.
    """

    def __init__(
        self,
        reader: ShardReader,
        seed: int,
        recorded: bool,
        rule: ViewConfig,
        how: Augmentation,
        columns: Sequence[int],
        needed: Callable[[int], Iterable[int]],
        on_bad: Callable[[Path, str], None],
    ) -> None:
        self.seed, self.rule, self.how, self.on_bad = seed, rule, how, on_bad
        self.bad: dict[Path, str] = {}
        self._reader, self._recorded, self._columns, self._needed = reader, recorded, list(columns), needed
        self._counts = [shard.samples for shard in reader.index.shards]
        self._order = lru_cache(maxsize=2)(self._pass)
        self._files, self._lock = threading.Lock(), threading.Lock()

    def __len__(self) -> int:
        return self._reader.index.samples

    @property
    def files(self) -> int:
        """Return the number of samples."""
        return self._reader.files

    @property
    def digest(self) -> str:
        """Return the hash of the folder's index, which holds those of all shards."""
        return self._reader.digest

    def mark_bad(self, path: Path, reason: str) -> None:
        """Leave a photo out from now on; `on_bad` hears of it once."""
        with self._lock:
            if path in self.bad:
                return
            self.bad[path] = reason
        self.on_bad(path, reason)

    def example(self, index: int) -> Example:
        """Return the region of sample `index` (as the first pass counts) with the labels of all teachers."""
        everyone = range(len(self._columns))
        sample = self._sample(index, everyone)
        square = cut(sample.photo(), _boxes(sample)[0], self.rule.size)
        return Example(square, {i: sample.label(self._columns[i], 0)[0] for i in everyone})

    def __getitem__(self, position: int) -> PhotoViews:
        """Return the views at a position; a photo that cannot be read gives way to the next of its pass."""
        needed = list(self._needed(position))
        rng = np.random.default_rng(step_seed(self.seed, 2, position))
        start, place = position - position % len(self), position % len(self)
        for offset in range(len(self)):
            sample = self._sample(start + (place + offset) % len(self), needed)
            path = Path(sample.facts.photo.path)
            if path in self.bad:
                continue
            try:
                return self._views(sample, sample.photo(), rng, needed)
            except ImageError as error:
                self.mark_bad(path, error.message)
        raise CcdError("None of the labels' photos can be read.", "See skipped.jsonl in the run folder.")

    def _views(
        self, sample: LabelSample, photo: np.ndarray, rng: np.random.Generator, needed: Sequence[int]
    ) -> PhotoViews:
        rule, boxes = self.rule, _boxes(sample)
        draw_boxes(  # not used, but drawn as in live training, so that the same augmentation follows
            rng, photo.shape[0], photo.shape[1], rule.min_side, rule.patches, rule.patch_min, rule.patch_max
        )
        whole = [0] if rule.shared or rule.features else []
        crops = [*whole, *(range(1, 1 + rule.patches) if rule.local_global else ())]
        footprints = [shares(boxes[0], boxes[c]) for c in crops if c > 0]
        return PhotoViews(
            clean=None,
            student=augment(cut(photo, boxes[0], rule.size), rng, self.how)[None],
            boxes=np.array(footprints, np.float32).reshape(-1, len(Patch._fields)),
            path=Path(sample.facts.photo.path),
            given={i: np.stack([sample.label(self._columns[i], c)[0] for c in crops]) for i in needed},
        )

    def _sample(self, position: int, teachers: Iterable[int]) -> LabelSample:
        shard, number = self._order(position // len(self))[position % len(self)].tolist()
        columns = {self._columns[i] for i in teachers}
        with self._files:  # bytes only; decoding goes on in parallel
            return self._reader.at(shard, number, columns)

    def _pass(self, number: int) -> np.ndarray:
        if number == 0 and self._recorded:
            shards = np.repeat(np.arange(len(self._counts)), self._counts)
            within = np.concatenate([np.arange(count) for count in self._counts])
            return np.stack([shards, within], axis=1)
        return epoch_order(self._counts, self.seed, number, self._reader.buffer)


def _boxes(sample: LabelSample) -> list[Region]:
    """Return the region and its patches, in pixels of the photo; every teacher has the same."""
    return [Region(*crop.box) for crop in sample.facts.labels[0].crops]
