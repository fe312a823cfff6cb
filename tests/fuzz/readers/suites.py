"""Descriptions of benchmark sets, and what they point to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import as_json, as_yaml, saved, values_seed


def suite_readers() -> list[Reader]:
    from ccd_cli.benchmarks.check import check_suite
    from ccd_cli.benchmarks.poses import read_poses
    from ccd_cli.benchmarks.suites import open_pairs, open_suite

    rgb = saved(lambda b: Image.new("RGB", (32, 24), (90, 20, 60)).save(b, "PNG"))
    codes = saved(lambda b: Image.fromarray((values_seed() * 1000).astype(np.uint16)).save(b, "PNG"))
    pose = "\n".join(" ".join(f"{v:g}" for v in row) for row in np.eye(4)).encode()
    pairs = {
        "name": "mine",
        "image": "rgb/*.png",
        "depth": "depth/*.png",
        "pair": "match",
        "divisor": 1000,
        "intrinsics": [30, 30, 16, 12],
        "crop": {"rows": [1, 20], "columns": [2, 30]},
        "unknown": [65535],
        "cap": 80.0,
    }
    clip = {
        "name": "clip",
        "clip": True,
        "image": "rgb/*.png",
        "depth": "depth/*.png",
        "divisor": 1000,
        "poses": "poses/*.txt",
        "intrinsics": [30, 30, 16, 12],
    }
    points = {"rgb/0.png": [{"point1": [1, 2], "point2": [20, 30], "closer_point": "point1"}]}
    files = {
        "a.yaml": as_yaml(pairs),
        "b.yaml": as_yaml({"sets": [pairs, clip]}),
        **{f"rgb/{i}.png": rgb for i in range(2)},
        **{f"depth/{i}.png": codes for i in range(2)},
        **{f"poses/{i}.txt": pose for i in range(2)},
        "DA-2K/annotations.json": as_json(points),
        "DA-2K/rgb/0.png": rgb,
    }

    def suite(place: Path, name: str) -> None:
        open_suite(str(place / name), place)
        check_suite(str(place / name), place, read=True)
        if name == "a.yaml":
            open_pairs(place / name)

    def da2k(place: Path, _: str) -> None:
        for benchmark in open_suite("da-2k", place)[0]:
            for index in range(len(benchmark)):
                benchmark.read(index)

    return [
        Reader("suites", suite, files, {"a.yaml": "yaml", "b.yaml": "yaml"}, weight=4),
        Reader(
            "suite files",
            lambda place, _: suite(place, "b.yaml"),
            files,
            {"depth/0.png": "bytes", "rgb/1.png": "bytes"},
        ),
        Reader(
            "poses",
            lambda place, name: read_poses([place / name], 1),
            {"p.txt": pose, "line.txt": pose.replace(b"\n", b" ")},
            {"p.txt": "text", "line.txt": "text"},
            weight=2,
        ),
        Reader("DA-2K", da2k, files, {"DA-2K/annotations.json": "json"}, weight=2),
    ]
