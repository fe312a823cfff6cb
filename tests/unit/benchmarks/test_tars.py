"""Tars that nobody should trust."""

import sys
import tarfile
import threading

import pytest

from ccd_cli.benchmarks import members, open_suite
from ccd_cli.benchmarks.members import FolderMembers, TarMembers, safe_name
from ccd_cli.core.errors import CcdError, ImageError
from tests.tiny_sets import add_member, pack, write_scannet


@pytest.fixture
def tar(tmp_path):
    write_scannet(tmp_path / "x")
    return pack(tmp_path / "x", tmp_path / "scannet/scannet_val_sampled_800_1.tar")


@pytest.mark.parametrize("name", ["../evil.png", "/etc/passwd", "a/../../evil.png", "..\\evil.png", "C:/evil.png"])
def test_names_that_lead_out_are_refused(tar, name):
    add_member(tar, name)
    found = TarMembers(tar)
    assert name not in found.names() and len(found.names()) == 4
    with pytest.raises(ImageError, match=r"refused|no such file"):
        found.read(name)
    with pytest.raises(ImageError, match="leads out"):
        safe_name(name)
    with pytest.raises(ImageError, match="leads out"):
        FolderMembers(tar.parent).read(name)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, ": a link, refused"),
        (tarfile.LNKTYPE, ": a link, refused"),
        (tarfile.CHRTYPE, ": not a plain file, refused"),
        (tarfile.FIFOTYPE, ": not a plain file, refused"),
    ],
)
def test_links_and_devices_are_never_followed(tar, kind, reason):
    add_member(tar, "./scene0011_00/color/000100.jpg", b"", type=kind, linkname="/etc/hostname")
    found = TarMembers(tar)
    assert "scene0011_00/color/000100.jpg" not in found.names(), "the later member hides the earlier one"
    with pytest.raises(ImageError, match=reason):
        found.read("scene0011_00/color/000100.jpg")
    (opened,), _ = open_suite("scannet", tar.parents[1])
    assert opened.names() == ["scene0011_00/color/000000.jpg"]


def test_a_size_beyond_the_file_is_a_tar_that_was_cut_off(tar):
    info = tarfile.TarInfo("./big.png")
    info.size = 1 << 60
    with tarfile.open(tar) as archive:
        archive.getmembers()
        end = archive.offset
    with tar.open("rb+") as file:
        file.seek(end)
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(CcdError, match=r"big\.png|not a whole"):
        TarMembers(tar)


def test_a_large_member_is_not_read(tar, monkeypatch):
    monkeypatch.setattr(members, "MAX_MEMBER", 100)
    found = TarMembers(tar)
    with pytest.raises(ImageError, match="over the limit"):
        found.read("scene0011_00/color/000000.jpg")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.6])
def test_a_tar_that_was_cut_off_is_a_reason(tar, share):
    data = tar.read_bytes()
    tar.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CcdError, match=r"cut off|not a whole"):
        open_suite("scannet", tar.parents[1])


@pytest.mark.parametrize("data", [b"", b"not a tar" * 200, b"\x1f\x8b" + b"\0" * 2000])
def test_what_is_no_tar_is_a_reason(tar, data):
    tar.write_bytes(data)
    with pytest.raises(CcdError, match=r"scannet_val_sampled_800_1\.tar|holds no photo"):
        open_suite("scannet", tar.parents[1])


def test_a_compressed_tar_is_refused_with_a_hint(tmp_path):
    write_scannet(tmp_path / "x")
    pack(tmp_path / "x", tmp_path / "scannet.tar", mode="w:gz")
    with pytest.raises(CcdError, match="gunzip"):
        open_suite("scannet", tmp_path)


def test_a_changed_tar_is_indexed_again(tar):
    assert len(TarMembers(tar).names()) == 4
    add_member(tar, "./new.png")
    assert "new.png" in TarMembers(tar).names()


def test_threads_read_the_right_bytes(tar):
    found = TarMembers(tar)
    expected = {name: found.read(name) for name in found.names()}
    wrong = []

    def work():
        try:
            for _ in range(50):
                wrong.extend(name for name, data in expected.items() if found.read(name) != data)
        except ImageError as error:
            wrong.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    pause = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(pause)
    assert wrong == []


def test_folders_that_links_repeat_are_walked_once(tmp_path):
    write_scannet(tmp_path / "scannet")
    (tmp_path / "scannet/again").symlink_to(tmp_path / "scannet", target_is_directory=True)
    (tmp_path / "scannet/.hidden").mkdir()
    (tmp_path / "scannet/.hidden/x.png").write_bytes(b"x")
    assert len(FolderMembers(tmp_path / "scannet").names()) == 4
