"""Depth files and their sidecars."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import as_json, refusals, saved, values_seed


def _more_maps(folder: Path, values: np.ndarray) -> dict[str, bytes]:
    """Maps in the formats of tools: renderers, MATLAB, HDF5, numpy arrays of odd types, TIFF of both byte orders, in tiles."""
    import cv2
    import h5py
    import OpenEXR
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    tiles = {"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.tiledimage, "tiles": OpenEXR.TileDescription()}
    layers = {"ViewLayer.Depth.Z": values, "ViewLayer.Combined.RGB": np.stack([values] * 3, -1)}
    for name, head, channels in (
        ("e.exr", header, {"Z": values}),
        ("layers.exr", header, layers),
        ("half.exr", tiles, {"depth.V": values.astype(np.float16)}),
    ):
        with OpenEXR.File(head, channels) as file:
            file.write(str(folder / name))
    savemat(folder / "five.mat", {"depth": values, "note": "x", "K": np.eye(3)})
    with h5py.File(folder / "seven.mat", "w", userblock_size=512) as file:
        file.create_dataset("depth", data=values.T, compression="gzip").attrs["MATLAB_class"] = np.bytes_("single")
    with (folder / "seven.mat").open("rb+") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    with h5py.File(folder / "h.h5", "w") as file:
        file.create_dataset("a/disparity", data=values, chunks=(8, 8))
        file.create_dataset("rgb", data=np.zeros((24, 32, 3), np.uint8))
    _, tiff = cv2.imencode(".tiff", (values * 1000).astype(np.uint16))
    names = ("e.exr", "layers.exr", "half.exr", "five.mat", "seven.mat", "h.h5")
    arrays = {
        "half.npy": values.astype(np.float16),
        "big.npy": values.astype(">f8"),
        "fortran.npy": np.asfortranarray(values.astype(np.int64)),
        "stack.npy": values[None, :, :, None].astype(np.uint32),
    }
    return {
        **{name: (folder / name).read_bytes() for name in names},
        **{name: saved(lambda b, array=array: np.save(b, array)) for name, array in arrays.items()},
        "lzw.tiff": tiff.tobytes(),
        "mm.tiff": _big_endian_tiff((values * 1000).astype(">u2")),
        "big.pfm": b"Pf\n32 24\n1.0\n" + values[::-1].astype(">f4").tobytes(),
        "g.pgm": b"P5\n32 24\n65535\n" + (values * 1000).astype(">u2").tobytes(),
    }


def _big_endian_tiff(codes: np.ndarray) -> bytes:
    """A gray TIFF of 16 bits, in one strip, most significant bytes first."""
    height, width = codes.shape
    tags = [
        (256, width),
        (257, height),
        (258, 16),
        (259, 1),
        (262, 1),
        (273, 134),
        (277, 1),
        (278, height),
        (279, codes.nbytes),
    ]
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack(">2sHIH", b"MM", 42, 8, len(tags)) + entries + struct.pack(">I", 0)
    return head.ljust(134, b"\0") + codes.tobytes()


def map_readers(folder: Path) -> list[Reader]:
    from ccd_cli.benchmarks.own.files import read_values
    from ccd_cli.benchmarks.prediction_files import read_prediction
    from ccd_cli.media.map_read import Meaning, read_map, read_reference
    from ccd_cli.media.outputs import is_result, read_sidecar

    values = values_seed()
    side = {
        "fingerprint": "x",
        "files": {"npy": "a.npy", "png16": "p.png"},
        "kind": "disparity",
        "ccd_sidecar": 1,
        "scale": 0.001,
        "offset": 0.5,
        "intrinsics": [30.0, 30.0, 16.0, 12.0],
        "width": 32,
        "height": 24,
    }
    codes = Image.fromarray((values * 1000).astype(np.uint16))
    pfm = b"Pf\n32 24\n-1.0\n" + values[::-1].astype("<f4").tobytes()
    files = {
        "a.npy": saved(lambda b: np.save(b, values)),
        "n.npz": saved(lambda b: np.savez(b, depth=values, valid=values > 2, intrinsics=np.array([30.0, 30, 16, 12]))),
        "p.png": saved(lambda b: codes.save(b, "PNG")),
        "t.tiff": saved(lambda b: Image.fromarray(values).save(b, "TIFF")),
        "f.pfm": pfm,
    }
    files |= _more_maps(folder, values)
    sidecars = {f"{Path(name).stem}.json": as_json(side) for name in files}

    def maps(place: Path, name: str) -> None:
        problems = refusals(
            place / name,
            lambda path: read_map(path, Meaning("depth")),
            lambda path: read_map(path, Meaning("depth", 1000.0)),
            lambda path: read_reference(path, 1000.0),
            read_values,
            read_prediction,
        )
        if len(problems) == 5:
            raise problems[0]

    def sidecar(place: Path, name: str) -> None:
        stem = Path(name).stem
        read_sidecar(place / stem)
        is_result(place / f"{stem}.depth.png")
        for suffix in (".png", ".npy"):
            if (place / f"{stem}{suffix}").exists():
                read_map(place / f"{stem}{suffix}")

    chosen = {name: sidecars[name] for name in ("a.json", "p.json")}
    return [
        Reader("maps", maps, files, dict.fromkeys(files, "bytes"), weight=8),
        Reader("sidecars", sidecar, {**files, **chosen}, dict.fromkeys(chosen, "json"), weight=3),
    ]
