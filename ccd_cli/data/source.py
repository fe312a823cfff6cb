"""Where training images come from: photos on disk, generated scenes, or both, as one numbered sequence."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ccd_cli.data.truth import GroundTruth, Pairs, RenderedTruth
from ccd_cli.media.photos import read_photo
from ccd_cli.scenes.source import SceneSource


@dataclass(frozen=True)
class Source:
    """Photos, then pairs of them with ground truth, then scenes. An image's name is its path, or `scene-SEED`."""

    photos: list[Path]
    scenes: SceneSource | None = None
    pairs: Pairs | None = None
    _cache: dict[int, tuple[np.ndarray, np.ndarray, float]] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return self.files + (self.scenes.count if self.scenes else 0)

    @cached_property
    def paths(self) -> list[Path]:
        """Return the files of all images that have one."""
        return [*self.photos, *(self.pairs.paths if self.pairs else ())]

    @property
    def files(self) -> int:
        """Return how many images are read from files."""
        return len(self.paths)

    def name(self, index: int) -> Path:
        """Return what an image is called in lists."""
        if index < len(self.photos):
            return self.photos[index]
        if index < self.files:
            assert self.pairs is not None
            return self.pairs.names[index - len(self.photos)]
        assert self.scenes is not None
        return Path(f"scene-{self.scenes.first + index - self.files}")

    def read(self, index: int) -> tuple[np.ndarray, GroundTruth | None]:
        """Return (uint8 RGB (H,W,3), its ground truth or None); raises ImageError for a file that cannot be read."""
        if index < len(self.photos):
            return read_photo(self.photos[index]), None
        if index < self.files:
            assert self.pairs is not None
            return self.pairs.read(index - len(self.photos))
        assert self.scenes is not None
        number = index - self.files
        made = self._cache.get(number) or self.scenes.read(number)
        if len(self._cache) < self.scenes.kept:
            self._cache[number] = made
        return made[0], RenderedTruth(made[1], made[2])

    def truth(self, index: int, shape: tuple[int, int]) -> GroundTruth | None:
        """Return the ground truth of an image from a file, read as (height, width) `shape`; None where it has none.

        Raises ImageError where its ground truth cannot be read.
        """
        if self.pairs is None or index < len(self.photos):
            return None
        return self.pairs.truth(index - len(self.photos), shape)

    @cached_property
    def digest(self) -> str:
        """Return a sha256 over the sequence: tells whether a resumed run still has the same one."""
        text = (
            "\n".join(path.as_posix() for path in self.photos)
            + f"\n{self.scenes and replace(self.scenes, cache_bytes=0)}"
            + (f"\n{self.pairs.digest}" if self.pairs else "")
        )
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
