"""The ten sets of MoGe's evaluation bundle (`Ruicheng/monocular-geometry-evaluation`), each seen as MoGe's loader does.

Their numbers stand beside other tables of MoGe's harness only: masks, view and size differ from the sets they come from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from ccd_cli.benchmarks.base import Sample, Spec
from ccd_cli.benchmarks.decode import decode_rgb, known
from ccd_cli.benchmarks.members import FolderMembers, safe_name
from ccd_cli.benchmarks.moge.png import decode_depth_png, normalized_intrinsics
from ccd_cli.benchmarks.moge.view import rectify
from ccd_cli.benchmarks.zero_shot import MAX_LIST_BYTES, same_size
from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.geometry.depth_map import Camera

FOLDERS = ("moge", "monocular-geometry-evaluation", "eval", ".")
"""Where the bundle is looked for below the data root."""
INDEX = ".index.txt"


@dataclass(frozen=True)
class BundleSet:
    """What the bundle's evaluation says about one set."""

    spec: Spec
    folder: str
    size: tuple[int, int]
    """(height, width) of the view."""
    metric: bool
    """Whether its depth is in meters; otherwise its scale is unknown."""
    count: int


def _entry(folder: str, width: int, height: int, metric: bool, boundary: bool, count: int, about: str) -> BundleSet:
    spec = Spec(
        name=f"moge-{folder.lower().replace('-', '')}",
        title=f"{folder} (MoGe bundle)",
        depth_range=(1e-5, inf),
        resolution=None,
        max_res=None,
        boundary=boundary,
        about=f"{count} samples; {about}turned to the optical axis, cut and scaled to {height}x{width}; "
        f"every known pixel is scored, depth {'in meters' if metric else 'of unknown scale'}",
        points=True,
        metric=metric,
    )
    return BundleSet(spec, folder, (height, width), metric, count)


BUNDLE = {
    entry.spec.name: entry
    for entry in (
        _entry("NYUv2", 640, 480, True, False, 654, "pixels near boundaries, mirrors, glass and beyond 5 m removed; "),
        _entry("KITTI", 750, 375, True, False, 652, "middle of the frame; "),
        _entry("ETH3D", 2048, 1365, True, False, 454, "undistorted photos; "),
        _entry("iBims-1", 640, 480, True, True, 100, ""),
        _entry("GSO", 512, 512, False, False, 1030, ""),
        _entry("Sintel", 872, 436, False, True, 1064, "sky masked, middle of the frame; "),
        _entry("DDAD", 1400, 700, True, False, 1000, "ego car cut away; "),
        _entry("DIODE", 1024, 768, True, False, 771, "boundary artifacts removed; "),
        _entry("Spring", 1920, 1080, False, True, 1000, ""),
        _entry("HAMMER", 1664, 832, True, True, 775, ""),
    )
}


@dataclass(frozen=True)
class MogeSet:
    """One set of the bundle below `members`, whose samples are the folders of its index."""

    entry: BundleSet
    members: FolderMembers
    folders: list[str]

    @property
    def spec(self) -> Spec:
        """What the protocol says."""
        return self.entry.spec

    def __len__(self) -> int:
        return len(self.folders)

    def names(self) -> list[str]:
        """Return the photos' paths, in the order of the index."""
        return [f"{folder}/image.jpg" for folder in self.folders]

    def read(self, index: int) -> Sample:
        """Read one sample and turn it to its view; raises ImageError for a missing or damaged file."""
        folder = self.folders[index]
        name = f"{folder}/image.jpg"
        rgb = decode_rgb(self.members.read(name), name)
        depth = decode_depth_png(self.members.read(f"{folder}/depth.png"), f"{folder}/depth.png")
        same_size(depth.shape, rgb.shape[:2], f"{folder}/depth.png")
        camera = normalized_intrinsics(self._meta(folder).get("intrinsics"), f"{folder}/meta.json")
        try:
            view = rectify(rgb, depth, camera, self.entry.size)
        except ImageError as error:
            raise ImageError(f"{name}: {error.message}") from error
        height, width = self.entry.size
        camera_choice = Camera(view.focal[0] * width, view.focal[1] * height, width / 2, height / 2)
        true = known(np.where(view.mask, view.depth, np.float32(np.nan)))
        return Sample(name, view.rgb, true, view.mask & np.isfinite(true), camera_choice)

    def fingerprint(self, index: int) -> str:
        """Return size and time of a sample's files."""
        names = ("image.jpg", "depth.png", "meta.json")
        return " ".join(self.members.fingerprint(f"{self.folders[index]}/{name}") for name in names)

    def prediction_names(self, index: int) -> list[str]:
        """Return the places of a prediction, which has the view's size."""
        folder = self.folders[index]
        return [f"{folder}/pred_image.npy", f"{folder}/image.npy", f"{folder}.npy"]

    def _meta(self, folder: str) -> dict[str, Any]:
        name = f"{folder}/meta.json"
        try:
            meta = json.loads(self.members.read(name))
        except (ValueError, RecursionError) as error:
            raise ImageError(f"{name}: not JSON") from error
        if not isinstance(meta, dict):
            raise ImageError(f"{name}: not a JSON object")
        return meta


def open_moge(entry: BundleSet, data_root: Path) -> MogeSet:
    """Open one set of the bundle; raises CcdError with the reason where it is missing or its index is no list."""
    places = [data_root / folder / entry.folder for folder in FOLDERS]
    place = next((place for place in places if (place / INDEX).is_file()), None)
    if place is None:
        zipped = next((p.with_name(p.name + ".zip") for p in places if p.with_name(p.name + ".zip").is_file()), None)
        if zipped:
            raise CcdError(f"{zipped} is still packed: unzip it there.")
        raise CcdError(f"no {places[0] / INDEX}.")
    index = place / INDEX
    try:
        if index.stat().st_size > MAX_LIST_BYTES:
            raise CcdError(f"{index} is larger than {MAX_LIST_BYTES:,} bytes: not a list of samples.")
        lines = [line.strip() for line in index.read_text(encoding="utf-8").splitlines()]
        folders = [safe_name(line) for line in lines if line]
    except ImageError as error:
        raise CcdError(f"{index}: {error.message}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CcdError(f"{index} is not a readable list of samples.") from error
    if not folders:
        raise CcdError(f"{index} lists no sample.")
    return MogeSet(entry, FolderMembers(place), folders)
