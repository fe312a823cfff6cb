"""Lists, depth and archives of published benchmark sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import as_json, saved, values_seed

BUNDLE = "moge/NYUv2"


def benchmark_readers(folder: Path) -> list[Reader]:
    """Return the readers of Marigold's lists, of MoGe's bundle, of NYUv2's MATLAB files, and of predictions in files."""
    from ccd_cli.benchmarks.layouts import LAYOUTS
    from ccd_cli.benchmarks.moge.bundle import BUNDLE as SETS
    from ccd_cli.benchmarks.moge.bundle import open_moge
    from ccd_cli.benchmarks.zero_shot import read_list
    from ccd_cli.prepare import nyu

    def lists(place: Path, name: str) -> None:
        for layout in LAYOUTS.values():
            read_list(place / name, layout)

    def bundle(place: Path, _: str) -> None:
        opened = open_moge(SETS["moge-nyuv2"], place)
        for index in range(min(3, len(opened))):
            opened.read(index)

    def matlab(place: Path, _: str) -> None:
        with nyu.labeled(place) as file:
            for frame in nyu.split_frames(place, file)[:2]:
                for kind in ("rgb", "depth", "filled"):
                    nyu._pixels(file, frame.row, kind)

    listing = (
        b"a/rgb_1.png a/depth_1.png a/filled_1.png 518.8\na/rgb_2.png None\nb/rgb_3.png b/depth_3.png b/mask.png\n"
    )
    matlab_files = _matlab(folder)
    bundled = _bundle()
    styles = {f"{BUNDLE}/.index.txt": "text", f"{BUNDLE}/a/meta.json": "json", f"{BUNDLE}/a/depth.png": "bytes"}
    return [
        Reader("lists of samples", lists, {"list.txt": listing}, {"list.txt": "text"}, weight=2),
        Reader("MoGe bundle", bundle, bundled, styles | {f"{BUNDLE}/a/image.jpg": "bytes"}, weight=2),
        Reader("NYUv2 files", matlab, matlab_files, dict.fromkeys(matlab_files, "bytes"), weight=2),
    ]


def _bundle() -> dict[str, bytes]:
    chunks = PngInfo()
    for key, value in (("near", "0.5"), ("far", "10"), ("unit", "1")):
        chunks.add_text(key, value)
    codes = Image.fromarray((values_seed() * 9000).astype(np.uint16))
    return {
        f"{BUNDLE}/.index.txt": b"a\n",
        f"{BUNDLE}/a/image.jpg": saved(lambda b: Image.new("RGB", (32, 24), (90, 20, 60)).save(b, "JPEG")),
        f"{BUNDLE}/a/depth.png": saved(lambda b: codes.save(b, "PNG", pnginfo=chunks)),
        f"{BUNDLE}/a/meta.json": as_json({"intrinsics": [[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]}),
    }


def _matlab(folder: Path) -> dict[str, bytes]:
    """One frame of NYUv2's labeled file, and its split."""
    import h5py
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    labeled, splits = folder / "nyu_depth_v2_labeled.mat", folder / "splits.mat"
    with h5py.File(labeled, "w") as file:
        for name, shape, kind in (
            ("images", (1, 3, 640, 480), np.uint8),
            ("rawDepths", (1, 640, 480), np.float32),
            ("depths", (1, 640, 480), np.float32),
        ):
            file.create_dataset(name, data=np.ones(shape, kind), compression="gzip")
        name = file.create_dataset("name", data=np.array([[ord(c)] for c in "kitchen"], np.uint16))
        file.create_dataset("scenes", data=np.array([[name.ref]], h5py.ref_dtype), dtype=h5py.ref_dtype)
    savemat(splits, {"testNdxs": np.array([[1]])})
    return {path.name: path.read_bytes() for path in (labeled, splits)}
