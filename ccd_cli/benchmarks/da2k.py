"""DA-2K (Depth Anything V2): photos with pairs of points, of which one is closer; scored is which one a map calls closer.

`annotations.json` is {photo: [{"point1": [row, column], "point2": [row, column], "closer_point": "point1"}]}, photos are
paths beside it, and the folder that a photo lies in is its scene type (the repository's DA-2K.md).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks.base import Sample, Spec
from ccd_cli.benchmarks.members import safe_name
from ccd_cli.benchmarks.own.files import file_fingerprint
from ccd_cli.benchmarks.zero_shot import MAX_LIST_BYTES
from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.media.photos import read_photo

NAME = "da-2k"
FOLDERS = ("da-2k", "DA-2K", "da-2k/DA-2K", "DA-2K/DA-2K", ".")
"""Where it is looked for below the data root; its archive holds a folder of its own."""
ANNOTATIONS = "annotations.json"
SCENES = (
    "indoor",
    "outdoor",
    "non_real",
    "transparent_reflective",
    "adverse_style",
    "aerial",
    "underwater",
    "object",
)
"""Its scene types, in the authors' order."""
OTHER = "other"
"""The scene type of a photo that lies in no such folder."""
PHOTOS, PAIRS = 1029, 2068
"""Counts of those who scored the whole set; its authors say 1 K photos and 2 K pairs."""

SPEC = Spec(
    name=NAME,
    title="DA-2K",
    depth_range=(0.0, inf),
    resolution=None,
    max_res=None,
    boundary=False,
    about="share of pairs whose closer point is predicted closer, of all pairs and by scene type; equal and unknown "
    "values are wrong; the map at the photo's size, read at the annotated pixels",
    task="pairs",
)

Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class Da2kSet:
    """The photos below `root` with their pairs [N, 2, 2], the closer point first."""

    root: Path
    photos: list[tuple[str, Pairs]]

    @property
    def spec(self) -> Spec:
        """What the protocol says."""
        return SPEC

    def __len__(self) -> int:
        return len(self.photos)

    def names(self) -> list[str]:
        """Return the photos' paths, in the order of the annotations."""
        return [name for name, _ in self.photos]

    def read(self, index: int) -> Sample:
        """Read one photo; raises ImageError where it is missing or damaged, and for a point outside of it."""
        name, pairs = self.photos[index]
        rgb = read_photo(self.root / name)
        size = rgb.shape[:2]
        if (pairs >= np.array(size)).any():
            worst = pairs.reshape(-1, 2)[(pairs.reshape(-1, 2) >= np.array(size)).any(axis=1)][0].tolist()
            raise ImageError(f"{name}: a point {worst} (row, column) lies outside its {size[1]}x{size[0]} pixels")
        nothing = np.full(size, np.nan, np.float32)
        return Sample(name, rgb, nothing, np.zeros(size, bool), pairs=pairs, group=scene_of(name))

    def fingerprint(self, index: int) -> str:
        """Return size and time of one photo, and its pairs."""
        name, pairs = self.photos[index]
        return f"{file_fingerprint(self.root / name)} {pairs.tolist()}"

    def prediction_names(self, index: int) -> list[str]:
        """Return `<folder>/<name>.npy`, then `<folder>/pred_<name>.npy`."""
        path = PurePosixPath(self.photos[index][0])
        return [path.with_suffix(".npy").as_posix(), (path.parent / f"pred_{path.stem}.npy").as_posix()]

    def scenes(self) -> dict[str, tuple[int, int]]:
        """Return {scene type: (photos, pairs)}, the authors' types first."""
        photos, pairs = Counter[str](), Counter[str]()
        for name, points in self.photos:
            photos[scene_of(name)] += 1
            pairs[scene_of(name)] += len(points)
        return {scene: (photos[scene], pairs[scene]) for scene in (*SCENES, OTHER) if scene in photos}


def scene_of(name: str) -> str:
    """Return the scene type of a photo: that of the folders it lies in."""
    return next((part for part in PurePosixPath(name).parts[:-1] if part in SCENES), OTHER)


def open_da2k(data_root: Path) -> Da2kSet:
    """Open the set; raises CcdError where it is missing and for annotations that are not as they must be."""
    root = next((data_root / folder for folder in FOLDERS if (data_root / folder / ANNOTATIONS).is_file()), None)
    if root is None:
        packed = [path for folder in ("da-2k", "DA-2K", ".") for path in (data_root / folder).glob("DA-2K*.zip")]
        if packed:
            raise CcdError(f"{packed[0]} is still packed: unzip it there.")
        raise CcdError(f"no {data_root / FOLDERS[0] / ANNOTATIONS}.")
    path = root / ANNOTATIONS
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise CcdError(f"{path} is larger than {MAX_LIST_BYTES:,} bytes: not the annotations.")
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=partial(_table, path))
    except (OSError, ValueError, RecursionError) as error:
        raise CcdError(f"{path} is not readable JSON.", "Unpack it again.") from error
    if not isinstance(content, dict) or not content:
        raise CcdError(f"{path} is no table of photos.")
    return Da2kSet(root, [_photo(name, entries, path) for name, entries in content.items()])


def _table(path: Path, items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; a key that comes twice would silently lose what stands behind the first one."""
    made = dict(items)
    if len(made) != len(items):
        twice = next(key for key, count in Counter(key for key, _ in items).items() if count > 1)
        raise CcdError(f"{path}: {twice!a} is there twice.")
    return made


def _photo(name: str, entries: Any, path: Path) -> tuple[str, Pairs]:
    try:
        safe = safe_name(name)
        safe.encode()
    except ImageError as error:
        raise CcdError(f"{path}: {error.message}.") from error
    except UnicodeEncodeError:
        raise CcdError(f"{path}: {name!a} is no file name.") from None
    if not isinstance(entries, list) or not entries:
        raise CcdError(f"{path}: {name}: a list of pairs is wanted.")
    return safe, np.array([_pair(entry, f"{path}: {name}: pair {i}") for i, entry in enumerate(entries, 1)], np.int64)


def _pair(entry: Any, where: str) -> list[list[int]]:
    """Return the two points of an annotation, the closer one first."""
    if not isinstance(entry, dict):
        raise CcdError(f"{where}: point1, point2 and closer_point are wanted.")
    points = []
    for key in ("point1", "point2"):
        point = entry.get(key)
        if not isinstance(point, list) or len(point) != 2 or not all(type(v) is int and 0 <= v < 2**31 for v in point):
            raise CcdError(f"{where}: {key} is not [row, column] in whole pixels: {str(point)[:60]}.")
        points.append(point)
    closer = entry.get("closer_point")
    if closer not in ("point1", "point2"):
        raise CcdError(f"{where}: closer_point is not point1 or point2: {str(closer)[:60]}.")
    return points if closer == "point1" else points[::-1]
