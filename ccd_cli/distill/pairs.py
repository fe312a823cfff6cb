"""A user's own image and depth pairs, described by a small YAML file (see docs/PAIRS.md)."""

from __future__ import annotations

from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import CcdError, ImageError, RecipeError, first_line
from ccd_cli.media.photos import read_photo


class PairsFile(BaseModel):
    """The keys of a pairs file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Names the set in results."""
    root: str = "."
    """Folder of the globs, relative to the pairs file."""
    image: str
    """Glob of the photos."""
    depth: str
    """Glob of the ground truth: 16-bit PNG or `.npy`; sorted, it must match the sorted photos one to one."""
    kind: Literal["depth", "disparity"] = "depth"
    """`depth`: distance in meters after scaling; `disparity`: stereo disparity, scored as depth = 1 / disparity."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """Meters (or pixels of disparity) for one unit of the file, for instance 0.001 for millimeters."""
    min: Annotated[float, Field(ge=0)] = 1e-3
    """Smallest valid value after scaling; 0, NaN and infinity are always invalid."""
    max: Annotated[float, Field(gt=0)] = 1e4
    """Largest valid value after scaling."""


@dataclass(frozen=True)
class Pair:
    """One photo with its ground truth file."""

    image: Path
    depth: Path


@dataclass(frozen=True)
class PairSet:
    """A set of pairs and how its ground truth is read."""

    spec: PairsFile
    pairs: list[Pair]

    @property
    def name(self) -> str:
        """Return the name of the set."""
        return self.spec.name

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (photo uint8 RGB (H,W,3), depth float32 (h,w), valid bool (h,w)); disparity is returned as 1 / d.

        Raises ImageError where a file cannot be read or holds no valid pixel.
        """
        pair = self.pairs[index]
        photo = read_photo(pair.image)
        values = _read_values(pair.depth) * np.float32(self.spec.scale)
        valid = np.isfinite(values) & (values > self.spec.min) & (values < self.spec.max)
        if not valid.any():
            raise ImageError(f"{pair.depth}: no valid pixel between {self.spec.min} and {self.spec.max}")
        depth = 1.0 / np.where(valid, values, 1.0) if self.spec.kind == "disparity" else np.where(valid, values, 1.0)
        return photo, depth.astype(np.float32), valid


def load_pairs(path: Path) -> PairSet:
    """Read a pairs file and match its photos with its ground truth.

    Raises RecipeError for bad keys, CcdError where nothing is found or the counts differ.
    """
    raw: Any = read_yaml(path)
    try:
        spec = PairsFile.model_validate(raw if isinstance(raw, dict) else {})
    except ValidationError as error:
        problems = [(".".join(map(str, e["loc"])) or "file", e["msg"]) for e in error.errors()]
        raise RecipeError(str(path), problems) from None
    root = path.parent / spec.root
    images, depths = (
        sorted(Path(p) for p in glob(str(root / text), recursive=True)) for text in (spec.image, spec.depth)
    )
    if not images or len(images) != len(depths):
        raise CcdError(
            f"{path}: {len(images)} photos match '{spec.image}' and {len(depths)} depth files match '{spec.depth}' in {root}.",
            "Both globs must find the same number, above 0.",
        )
    return PairSet(spec, [Pair(i, d) for i, d in zip(images, depths, strict=True)])


def _read_values(path: Path) -> np.ndarray:
    """Return float32 (h, w) of a PNG, TIFF or `.npy` file in its own unit; raises ImageError."""
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError, EOFError, cv2.error) as error:
        raise ImageError(f"{path}: not readable as depth ({first_line(error)})") from error
    if values is None or np.squeeze(values).ndim != 2:
        raise ImageError(f"{path}: not a map of one channel")
    return np.squeeze(values).astype(np.float32)
