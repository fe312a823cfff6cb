"""Checksums of files, folders and JSON documents."""

import json

import pytest

from ccd_cli.core import checksums
from ccd_cli.core.checksums import checksum, checksum_of, is_intact, is_sealed, seal
from ccd_cli.core.errors import CcdError


def test_a_file_is_intact_only_with_every_byte(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"abcdef")
    recorded = json.loads(json.dumps(checksum(path)))
    assert recorded == checksum_of(b"abcdef")
    assert is_intact(path, recorded)
    for content in (b"abcdeg", b"abc", b"", bytes(6)):
        path.write_bytes(content)
        assert not is_intact(path, recorded), content
    path.unlink()
    assert not is_intact(path, recorded)
    assert not is_intact(path, None)
    with pytest.raises(CcdError, match="cannot be read"):
        checksum(path)


def test_of_a_large_file_a_sample_decides_unless_all_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "SAMPLED", 1000)
    monkeypatch.setattr(checksums, "_PIECE", 10)
    path = tmp_path / "a.npy"
    whole = bytes(range(256)) * 8
    path.write_bytes(whole)
    recorded = checksum(path)
    assert is_intact(path, recorded)
    path.write_bytes(whole[:1024] + bytes(1024))  # the second half was never written
    assert not is_intact(path, recorded)
    path.write_bytes(whole[:20] + b"x" + whole[21:])  # between two pieces
    assert is_intact(path, recorded)
    assert not is_intact(path, recorded, full=True)
    for place in (0, len(whole) - 1):
        path.write_bytes(whole[:place] + b"\xaa" + whole[place + 1 :])
        assert not is_intact(path, recorded), "both ends are in the sample"


def test_a_folder_is_what_lies_in_it(tmp_path):
    for name in ("000000.npy", "sub/b.npy", ".hidden/c", ".d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"abc")
    recorded = checksum(tmp_path)
    assert list(recorded["files"]) == ["000000.npy", "sub/b.npy"]
    (tmp_path / "more").write_bytes(b"x")
    assert is_intact(tmp_path, recorded)
    (tmp_path / "sub" / "b.npy").write_bytes(b"abd")
    assert not is_intact(tmp_path, recorded)
    assert not is_intact(tmp_path / "not there", recorded)


def test_a_sealed_document_tells_of_a_change_and_survives_a_file():
    document = seal({"scale": 0.1, "nan": float("nan"), "ranges": (1, 2), "files": {"b": "x", "a": "y"}})
    back = json.loads(json.dumps(checksums.plain(document)))
    assert is_sealed(document)
    assert is_sealed(back)
    assert not is_sealed({**back, "scale": 0.2})
    assert not is_sealed({k: v for k, v in back.items() if k != checksums.SEAL})
    assert not is_sealed([])
    assert is_sealed(seal({**back, "scale": 0.2})), "sealed anew"
