"""What `ccd predict` recorded about a map is compared wherever the map is read: damage gives an error, never other depth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ccd_cli.core.checksums import checksum, is_intact, seal
from ccd_cli.core.errors import ImageError
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.media.map_read import Meaning, read_map, read_reference
from ccd_cli.media.map_sidecar import SIDECAR_KEY
from ccd_cli.media.map_write import Origin, write_maps

VALUES = np.linspace(0.5, 30, 20 * 30).astype(np.float32).reshape(20, 30)
FILES = ("a.npy", "a.npz", "a.depth.png")


def written(folder: Path, kind="metric") -> Path:
    """Write maps of every kind of file as `ccd predict` does; return their sidecar."""
    made = DepthMap(VALUES, kind, None, Camera(40, 41, 15, 10))
    origin = Origin("some-model", "0" * 64, "MIT", "0.1.0", 10, "exif", "f")
    write_maps(folder / "a", made, np.zeros((20, 30, 3), np.uint8), ["npy", "npz", "png16"], origin)
    return folder / "a.json"


def clip(folder: Path, frames=2) -> Path:
    """Write raw frames of a clip and their sidecar as `ccd predict` does; return the sidecar."""
    (folder / "v").mkdir()
    for number in range(frames):
        np.save(folder / f"v/{number:06}.npy", VALUES + number)
    content = {SIDECAR_KEY: 1, "kind": "metric", "video": {"frames": frames}, "files": {"frames": "v"}}
    content["checksums"] = {"v": checksum(folder / "v")}
    (folder / "v.json").write_text(json.dumps(seal(content)))
    return folder / "v.json"


def test_a_flipped_bit_anywhere_in_a_sidecar_changes_no_map(tmp_path):
    side = written(tmp_path)
    whole, stored = side.read_bytes(), read_map(tmp_path / "a.depth.png", Meaning("metric"))
    refused = 0
    for place in range(len(whole)):
        side.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 7)]) + whole[place + 1 :])
        try:
            made = read_map(tmp_path / "a.depth.png", Meaning("metric"))
        except ImageError as error:
            refused += 1
            assert "a.json" in error.message
        else:
            assert (made.depth_map.values == stored.depth_map.values).all(), whole[place - 20 : place + 20]
            assert made.depth_map.camera == stored.depth_map.camera
    assert refused > 0.9 * len(whole), "the rest is white space"


@pytest.mark.parametrize(
    "change", [{"scale": 0.5}, {"kind": "disparity"}, {"intrinsics": [80, 82, 15, 10]}, {"files": {"npy": "b.npy"}}]
)
def test_a_changed_sidecar_is_refused(tmp_path, change):
    side = written(tmp_path)
    before = json.loads(side.read_text())
    side.write_text(json.dumps(before | change))
    for name in FILES:
        with pytest.raises(ImageError, match=r"a\.json was changed or damaged") as caught:
            read_map(tmp_path / name)
        assert "ccd predict" in caught.value.hint
    with pytest.raises(ImageError, match="changed or damaged"):
        read_reference(tmp_path / "a.npy", None)
    side.write_text(json.dumps({key: value for key, value in before.items() if key != "seal"}))
    with pytest.raises(ImageError, match="changed or damaged"):
        read_map(tmp_path / "a.npy")


@pytest.mark.parametrize("name", FILES)
def test_another_map_than_was_recorded_is_refused(tmp_path, name):
    written(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-9], whole + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=rf"{name} was changed or damaged") as caught:
            read_map(path)
        assert "a.json" in caught.value.message
    path.write_bytes(whole)
    assert read_map(path).depth_map.kind == "metric"
    other = next(each for each in FILES if each != name)
    (tmp_path / other).write_bytes(b"")
    assert read_map(path).depth_map.kind == "metric", "the state of the files beside it is no matter"


def test_a_large_map_is_compared_byte_by_byte(tmp_path):
    made = DepthMap(np.ones((2000, 2100), np.float32), "metric")
    origin = Origin("some-model", "0" * 64, "MIT", "0.1.0", 10, None, "f")
    write_maps(tmp_path / "a", made, np.zeros((2000, 2100, 3), np.uint8), ["npy"], origin)
    recorded = json.loads((tmp_path / "a.json").read_text())["checksums"]["a.npy"]
    assert "sample" in recorded and read_map(tmp_path / "a.npy").depth_map.kind == "metric"
    place = 1_200_000  # in none of the pieces that a quick check reads
    with (tmp_path / "a.npy").open("r+b") as file:
        file.seek(place)
        file.write(b"\x17")
    assert is_intact(tmp_path / "a.npy", recorded)
    with pytest.raises(ImageError, match=r"a\.npy was changed or damaged"):
        read_map(tmp_path / "a.npy")


def test_frames_of_a_clip_are_compared_too(tmp_path):
    side = clip(tmp_path)
    assert read_map(tmp_path / "v/000001.npy").depth_map.values == pytest.approx(VALUES + 1)
    np.save(tmp_path / "v/000001.npy", VALUES + 2)
    with pytest.raises(ImageError, match=r"000001\.npy was changed or damaged"):
        read_map(tmp_path / "v/000001.npy")
    assert read_map(tmp_path / "v/000000.npy").depth_map.values == pytest.approx(VALUES)
    side.write_text(side.read_text().replace('"metric"', '"depth"'))
    with pytest.raises(ImageError, match=r"v\.json was changed or damaged"):
        read_map(tmp_path / "v/000000.npy")


def test_sidecars_from_before_seals_are_read(tmp_path):
    side = written(tmp_path, "disparity")
    old = {key: value for key, value in json.loads(side.read_text()).items() if key not in ("seal", "checksums")}
    side.write_text(json.dumps(old))
    for name in FILES:
        assert read_map(tmp_path / name).depth_map.kind == "disparity"
    side = clip(tmp_path)
    old = {key: value for key, value in json.loads(side.read_text()).items() if key not in ("seal", "checksums")}
    side.write_text(json.dumps(old))
    assert read_map(tmp_path / "v/000000.npy").depth_map.kind == "metric"


def test_a_map_of_somebody_elses_in_the_folder_of_a_clip_has_no_record(tmp_path):
    clip(tmp_path)
    np.save(tmp_path / "v/000007.npy", VALUES)
    assert read_map(tmp_path / "v/000007.npy").depth_map.kind == "metric"
