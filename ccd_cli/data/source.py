"""Where training images come from: photos on disk, generated scenes, or both, as one numbered sequence."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ccd_cli.media.photos import read_photo
from ccd_cli.scenes.source import SceneSource


@dataclass(frozen=True)
class Source:
    """Photos, then scenes. An image's name is its path, or `scene-SEED`."""

    photos: list[Path]
    scenes: SceneSource | None = None
    _cache: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.photos) + (self.scenes.count if self.scenes else 0)

    @property
    def files(self) -> int:
        """Return how many images are read from files."""
        return len(self.photos)

    def name(self, index: int) -> Path:
        """Return what an image is called in lists."""
        if index < len(self.photos):
            return self.photos[index]
        assert self.scenes is not None
        return Path(f"scene-{self.scenes.first + index - len(self.photos)}")

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return (uint8 RGB (H,W,3), true disparity (H,W) or None); raises ImageError for an unreadable photo."""
        if index < len(self.photos):
            return read_photo(self.photos[index]), None
        assert self.scenes is not None
        number = index - len(self.photos)
        if number in self._cache:
            return self._cache[number]
        made = self.scenes.read(number)
        if len(self._cache) < self.scenes.kept:
            self._cache[number] = made
        return made

    @cached_property
    def digest(self) -> str:
        """Return a sha256 over the sequence: tells whether a resumed run still has the same one."""
        text = (
            "\n".join(path.as_posix() for path in self.photos)
            + f"\n{self.scenes and replace(self.scenes, cache_bytes=0)}"
        )
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
