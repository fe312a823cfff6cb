"""What earlier runs left: results, stale files, and what is not ours."""

from __future__ import annotations

import json

import pytest

from ccd_cli.core.checksums import checksum, is_sealed
from ccd_cli.core.errors import CcdError
from ccd_cli.media.outputs import claim, drop_frames, is_result, read_sidecar, settle


def leave(folder, name, files, **more):
    for file in files.values():
        (folder / file).touch()
    (folder / f"{name}.json").write_text(json.dumps({"fingerprint": "f", "files": files} | more))


def test_only_what_a_sidecar_lists_is_a_result(tmp_path):
    leave(tmp_path, "a.b", {"color": "a.b.color.png"})
    for name in ("a.b.depth.png", "c.color.png", "a.b.png"):
        (tmp_path / name).touch()
    found = {path.name for path in tmp_path.iterdir() if is_result(path)}
    assert found == {"a.b.color.png"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"shapes": []}', '{"fingerprint": 1, "files": []}', "\xff"])
def test_json_that_is_not_ours(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    assert read_sidecar(tmp_path / "a") is None
    with pytest.raises(CcdError, match="not from ccd"):
        claim(tmp_path / "a", (), overwrite=False)
    claim(tmp_path / "a", (), overwrite=True)


def test_files_of_the_same_map_stay_and_are_listed(tmp_path):
    leave(tmp_path, "a", {"npy": "a.npy", "png16": "a.depth.png", "exr": "../b.exr"}, map="m", scale=2.0, offset=1.0)
    (tmp_path / "a.npy").unlink()  # gone: not listed any more
    (tmp_path / "a.color.png").touch()
    new = {"files": {"color": "a.color.png"}, "map": "m", "scale": None, "offset": None}
    settled = settle(tmp_path / "a", new)
    assert settled["files"] == {"color": "a.color.png", "png16": "a.depth.png"}
    assert (settled["scale"], settled["offset"]) == (2.0, 1.0)


def test_the_sidecar_has_checksums_and_damaged_files_are_not_listed_again(tmp_path):
    base = tmp_path / "a"
    for name in ("a.npy", "a.depth.png"):
        (tmp_path / name).write_bytes(name.encode())
    made = settle(base, {"fingerprint": "f", "map": "m", "files": {"npy": "a.npy", "png16": "a.depth.png"}})
    assert is_sealed(made)
    assert made["checksums"] == {name: checksum(tmp_path / name) for name in ("a.npy", "a.depth.png")}
    (tmp_path / "a.json").write_text(json.dumps(made))
    (tmp_path / "a.npy").write_bytes(b"a.npx")
    (tmp_path / "a.color.png").write_bytes(b"c")
    new = {"fingerprint": "g", "map": "m", "files": {"color": "a.color.png"}}
    settled = settle(base, new | {"files": dict(new["files"])})
    assert settled["files"] == {"color": "a.color.png", "png16": "a.depth.png"}
    assert settled["checksums"] == {name: checksum(tmp_path / name) for name in settled["files"].values()}
    (tmp_path / "a.json").write_text(json.dumps(made | {"map": "other"}))  # a sidecar that was damaged decides nothing
    assert settle(base, new)["files"] == {"color": "a.color.png"}
    assert (tmp_path / "a.depth.png").exists()


@pytest.mark.parametrize("mark", ["other", None])
def test_files_of_another_map_go(tmp_path, mark):
    out = tmp_path / "out"
    out.mkdir()
    outside = tmp_path / "b.exr"
    leave(out, "a", {"npy": "a.npy", "color": "a.color.png", "exr": "../b.exr"}, map="m" if mark else None)
    settled = settle(out / "a", {"files": {"color": "a.color.png"}, "map": mark})
    assert settled["files"] == {"color": "a.color.png"}
    assert sorted(p.name for p in out.iterdir()) == ["a.color.png", "a.json"]
    assert outside.exists()  # a sidecar removes nothing outside its folder


def test_only_numbered_frames_are_dropped(tmp_path):
    for name in ("000001.npy", "1000000.ply", "000001.png", "notes.txt"):
        (tmp_path / name).touch()
    drop_frames(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000001.png", "notes.txt"]
