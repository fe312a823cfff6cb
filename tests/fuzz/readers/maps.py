"""Depth files and their sidecars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import as_json, saved, values_seed


def _exr(folder: Path) -> bytes:
    try:
        import OpenEXR
    except ImportError:
        return b""
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"Z": values_seed()}) as file:
        file.write(str(folder / "a.exr"))
    return (folder / "a.exr").read_bytes()


def map_readers(folder: Path) -> list[Reader]:
    from ccd_cli.benchmarks.custom_files import read_values
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
    if exr := _exr(folder):
        files["e.exr"] = exr
    sidecars = {f"{Path(name).stem}.json": as_json(side) for name in files}

    def maps(place: Path, name: str) -> None:
        problems: list[Exception] = []
        for read in (
            lambda path: read_map(path, Meaning("depth")),
            lambda path: read_map(path, Meaning("depth", 1000.0)),
            lambda path: read_reference(path, 1000.0),
            read_values,
            read_prediction,
        ):
            try:
                read(place / name)
            except Exception as error:
                problems.append(error)
        for problem in problems:
            if type(problem).__module__ != "ccd_cli.core.errors":
                raise problem
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
