"""Views of photos whose labels were made earlier by `ccd label`: the same sequence of views, with the teachers' maps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.data.augment import Augmentation, augment
from ccd_cli.data.batch import Example, ImageViews
from ccd_cli.data.crops import Patch, Region, crop_image, draw_boxes, footprint
from ccd_cli.data.views import Sample, ViewConfig
from ccd_cli.labels.sample import LabelSample
from ccd_cli.labels.shards import ShardReader, epoch_order


@dataclass(frozen=True)
class LabelChoice:
    """Which labels of a folder a run reads.

    `columns[i]` is the position in the folder of the run's teacher i. `needed(position)` names the run's teachers whose
    labels that position is learned from; only those are read.
    """

    columns: Sequence[int]
    needed: Callable[[int], Iterable[int]]


class LabelStream:
    """The endless, seeded sequence of views over a folder of labels.

    An epoch visits every sample once. `recorded` goes through the first epoch in the order of the shards: with the labels'
    own seed and nothing skipped, position g then has the photo, boxes and augmentation that live training has there. Later
    epochs (or all) are shuffled as `shards.epoch_order` says.
    """

    def __init__(
        self,
        reader: ShardReader,
        seed: int,
        recorded: bool,
        config: ViewConfig,
        augmentation: Augmentation,
        choice: LabelChoice,
        on_bad: Callable[[Path, str], None],
    ) -> None:
        self.seed, self.config, self.augmentation, self.on_bad = seed, config, augmentation, on_bad
        self.bad: dict[Path, str] = {}
        self._reader, self._recorded, self._columns, self._needed = reader, recorded, choice.columns, choice.needed
        self._counts = [shard.samples for shard in reader.index.shards]
        self._order = lru_cache(maxsize=2)(self._epoch)
        self._files, self._lock = threading.Lock(), threading.Lock()

    def __len__(self) -> int:
        return self._reader.index.samples

    @property
    def files(self) -> int:
        """Return the number of different images, which `images.max_skipped` is a fraction of."""
        return self._reader.files

    @property
    def digest(self) -> str:
        """Return the hash of the folder's index, which holds those of all shards."""
        return self._reader.digest

    def mark_bad(self, path: Path, reason: str) -> None:
        """Skip a photo from now on; `on_bad` hears of it once."""
        with self._lock:
            if path in self.bad:
                return
            self.bad[path] = reason
        self.on_bad(path, reason)

    def sample(self, index: int) -> Sample:
        """Return the region of sample `index` (as the first epoch counts) with the labels of all teachers."""
        everyone = range(len(self._columns))
        sample = self._read(index, everyone)
        square = crop_image(sample.photo(), _boxes(sample)[0], self.config.size)
        return Sample(square, {i: sample.label(self._columns[i], 0)[0] for i in everyone})

    def __getitem__(self, position: int) -> Example:
        """Return the views at a position; a photo that cannot be read is replaced by the next of its epoch."""
        needed = list(self._needed(position))
        rng = np.random.default_rng(step_seed(self.seed, Draw.VIEWS, position))
        start, place = position - position % len(self), position % len(self)
        for offset in range(len(self)):
            sample = self._read(start + (place + offset) % len(self), needed)
            path = Path(sample.facts.photo.path)
            if path in self.bad:
                continue
            try:
                made = self._views(sample, sample.photo(), rng, needed)
                return made.flipped() if self.augmentation.flips(self.seed, position) else made
            except ImageError as error:
                self.mark_bad(path, error.message)
        raise CcdError("None of the labels' photos can be read.", "See skipped.jsonl in the run folder.")

    def _views(
        self, sample: LabelSample, photo: np.ndarray, rng: np.random.Generator, needed: Sequence[int]
    ) -> Example:
        config, boxes = self.config, _boxes(sample)
        draw_boxes(  # not used, but drawn as in live training, so that the same augmentation follows
            rng, photo.shape[0], photo.shape[1], config.min_side, config.patches, config.patch_min, config.patch_max
        )
        patches = range(1, 1 + config.patches) if config.local_global else ()

        def maps(column: int) -> ImageViews:
            shared = sample.label(column, 0)[0] if config.labels_whole else None
            found = [sample.label(column, number)[0] for number in patches]
            return ImageViews(shared, np.array(found, np.float32).reshape(-1, config.size, config.size))

        footprints = [footprint(boxes[0], boxes[number]) for number in patches]
        return Example(
            teacher=None,
            student=augment(crop_image(photo, boxes[0], config.size), rng, self.augmentation),
            own=None,
            boxes=np.array(footprints, np.float32).reshape(-1, len(Patch._fields)),
            path=Path(sample.facts.photo.path),
            precomputed={i: maps(self._columns[i]) for i in needed},
        )

    def _read(self, position: int, teachers: Iterable[int]) -> LabelSample:
        shard, number = self._order(position // len(self))[position % len(self)].tolist()
        columns = {self._columns[i] for i in teachers}
        with self._files:  # bytes only; decoding goes on in parallel
            return self._reader.at(shard, number, columns)

    def _epoch(self, number: int) -> np.ndarray:
        if number == 0 and self._recorded:
            shards = np.repeat(np.arange(len(self._counts)), self._counts)
            within = np.concatenate([np.arange(count) for count in self._counts])
            return np.stack([shards, within], axis=1)
        return epoch_order(self._counts, self.seed, number, self._reader.buffer)


def _boxes(sample: LabelSample) -> list[Region]:
    """Return the region and its patches, in pixels of the photo; every teacher has the same."""
    return [Region(*crop.box) for crop in sample.facts.labels[0].crops]
