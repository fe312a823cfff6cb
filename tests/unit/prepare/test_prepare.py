"""Official archives, made small and in their own formats, become sets that are read."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccd_cli.benchmarks import open_suite
from ccd_cli.core import files as core_io
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Silent
from ccd_cli.prepare import run as prepare
from ccd_cli.prepare.archives import copy_item, list_items, open_items
from tests.tiny_sets import (
    DRIVE,
    KITTI_NAMES,
    add_member,
    pack,
    photo,
    put_codes,
    put_rgb,
    ramp,
    write_diode,
    write_eth3d,
    write_kitti,
)


def zipped(folder: Path, path: Path, start: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, start + file.relative_to(folder).as_posix())
    return path


def same(left, right):
    assert left.names() == right.names() and len(left)
    for index in range(len(left)):
        one, other = left.read(index), right.read(index)
        np.testing.assert_array_equal(one.rgb, other.rgb)
        np.testing.assert_array_equal(one.depth, other.depth)
        np.testing.assert_array_equal(one.mask, other.mask)


def opened(name, root):
    return open_suite(name, root)[0][0]


@pytest.fixture
def diode(tmp_path):
    """`val.tar.gz` as DIODE publishes it, and the set that it must become."""
    write_diode(tmp_path / "x", "val")
    write_diode(tmp_path / "want/diode")
    pack(tmp_path / "x", tmp_path / "downloads/val.tar.gz", "", "w:gz")
    return tmp_path


def test_diode(diode):
    report = Silent()
    done = prepare.run("diode", diode / "downloads", diode / "data", report=report)
    assert (done.written, done.skipped, done.absent) == (6, 0, [])
    same(opened("diode", diode / "data"), opened("diode", diode / "want"))
    assert done.checked is not None and done.checked.found == 2 and not done.checked.good
    again = prepare.run("diode", diode / "downloads", diode / "data", report=report)
    assert (again.written, again.skipped) == (0, 6)


def test_finished_files_are_kept_and_others_made(diode):
    prepare.run("diode", diode / "downloads", diode / "data", report=Silent())
    files = sorted(p for p in (diode / "data/diode").rglob("*") if p.is_file())
    before = files[0].stat().st_mtime_ns
    files[1].unlink()
    files[2].write_bytes(b"half")
    done = prepare.run("diode", diode / "downloads", diode / "data", report=Silent())
    assert (done.written, done.skipped) == (2, 4) and files[0].stat().st_mtime_ns == before
    same(opened("diode", diode / "data"), opened("diode", diode / "want"))


def test_an_archive_that_was_cut_off_keeps_what_was_finished(diode):
    path = diode / "downloads/val.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(CcdError, match=r"val\.tar\.gz"):
        prepare.run("diode", diode / "downloads", diode / "data", report=Silent())
    assert not list((diode / "data").rglob(".*")), "no half-written file is left"
    path.write_bytes(whole)
    prepare.run("diode", diode / "downloads", diode / "data", report=Silent())
    same(opened("diode", diode / "data"), opened("diode", diode / "want"))


def test_a_full_disk_is_said_before_anything_is_written(diode, monkeypatch):
    usage = shutil.disk_usage(diode)
    monkeypatch.setattr(core_io.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(CcdError, match="MB are free") as error:
        prepare.run("diode", diode / "downloads", diode / "data", report=Silent())
    assert "--data-root" in error.value.hint and not (diode / "data").exists()


@pytest.mark.parametrize("packed", [True, False])
def test_kitti(tmp_path, packed):
    """Raw drives and annotated depth as KITTI packs them: zips of drives, depth below `train/` and `val/`."""
    write_kitti(tmp_path / "want/kitti", (352, 1216))
    write_kitti(tmp_path / "x", (352, 1216))
    (tmp_path / "raw").mkdir()
    (tmp_path / "x/2011_09_26").rename(tmp_path / "raw/2011_09_26")
    put_rgb(tmp_path / f"raw/2011_09_26/{DRIVE}/image_03/data/0000000069.png", photo(352, 1216))
    if packed:
        zipped(tmp_path / "raw", tmp_path / "downloads/2011_09_26_drive_0002_sync.zip")
        zipped(tmp_path / "x", tmp_path / "downloads/data_depth_annotated.zip", "val/")
    else:
        shutil.copytree(tmp_path / "raw", tmp_path / "downloads/raw")
        shutil.copytree(tmp_path / "x", tmp_path / "downloads/depth/train")
    report = Silent()
    done = prepare.run("kitti", tmp_path / "downloads", tmp_path / "data", report=report)
    assert done.written == 4 and "--list" in report.warnings[0]
    same(opened("kitti", tmp_path / "data"), opened("kitti", tmp_path / "want"))
    assert not list((tmp_path / "data").rglob("*image_03*"))


def test_a_list_chooses_and_what_is_absent_is_named(tmp_path):
    write_kitti(tmp_path / "downloads", (352, 1216))
    depth = f"{DRIVE}/proj_depth/groundtruth/image_02"
    rows = [
        f"{KITTI_NAMES[0]} {depth}/0000000069.png 721.5",
        f"{KITTI_NAMES[0].replace('69', '70')} {depth}/0000000070.png 1",
    ]
    (tmp_path / "list.txt").write_text("\n".join(rows))
    report = Silent()
    done = prepare.run(
        "kitti", tmp_path / "downloads", tmp_path / "data", list_file=tmp_path / "list.txt", report=report
    )
    assert done.written == 2 and report.warnings == []
    assert done.absent == [KITTI_NAMES[0].replace("69", "70"), f"{depth}/0000000070.png"]
    assert opened("kitti", tmp_path / "data").names() == [KITTI_NAMES[0]]


def test_eth3d_from_unpacked_folders(tmp_path):
    write_eth3d(tmp_path / "want/eth3d")
    base = tmp_path / "want/eth3d"
    downloads = tmp_path / "downloads"
    shutil.copytree(base / "rgb/office", downloads / "multi_view_training_dslr_jpg/office")
    shutil.copytree(base / "depth/office_dslr_depth/office", downloads / "multi_view_training_dslr_depth/office")
    put_rgb(downloads / "undistorted/office/images/dslr_images_undistorted/DSC_0001.JPG", photo(41, 62))
    prepare.run("eth3d", downloads, tmp_path / "data", report=Silent())
    same(opened("eth3d", tmp_path / "data"), opened("eth3d", tmp_path / "want"))


def test_eth3d_that_is_still_packed_says_so(tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/multi_view_training_dslr_jpg.7z").write_bytes(b"7z")
    with pytest.raises(CcdError, match="7z x"):
        prepare.run("eth3d", tmp_path / "downloads", tmp_path / "data", report=Silent())


def test_scannet_from_exported_frames(tmp_path):
    scene = tmp_path / "downloads/scans/scene0011_00"
    for frame in (0, 100, 150):
        put_rgb(scene / f"color/{frame}.jpg", photo(968, 1296, frame))
        put_codes(scene / f"depth/{frame}.png", 1000 * ramp(480, 640, 0, 12))
    put_rgb(scene / "color/200.jpg", photo(480, 640))
    put_codes(scene / "depth/200.png", 1000 * ramp(480, 640, 0, 12))
    done = prepare.run("scannet", tmp_path / "downloads", tmp_path / "data", report=Silent())
    found = opened("scannet", tmp_path / "data")
    assert found.names() == [f"scene0011_00/color/{n:06d}.jpg" for n in (0, 100, 200)], "every hundredth frame"
    small = np.asarray(Image.fromarray(photo(968, 1296)).resize((640, 480), Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(found.read(0).rgb - small).mean() < 8
    target = tmp_path / "data/scannet/scene0011_00"
    assert (target / "color/000200.jpg").read_bytes() == (scene / "color/200.jpg").read_bytes(), "right sizes stay"
    assert (target / "depth/000100.png").read_bytes() == (scene / "depth/100.png").read_bytes()
    assert done.written == 6
    assert prepare.run("scannet", tmp_path / "downloads", tmp_path / "data", report=Silent()).skipped == 6


@pytest.fixture
def nyu(tmp_path):
    """`nyu_depth_v2_labeled.mat` and `splits.mat` as MATLAB writes them, with four photos of which two are tested."""
    h5py = pytest.importorskip("h5py", reason="reads NYUv2's HDF5 file; pip install h5py")
    savemat = pytest.importorskip("scipy.io", reason="writes MATLAB files; pip install scipy").savemat
    folder = tmp_path / "downloads"
    folder.mkdir()
    scenes = ["kitchen_0004", "kitchen_0004", "office_0001", "attic_0002"]
    raw = np.stack([ramp(480, 640, 0, 9.9 + i) for i in range(4)]).astype(np.float32)
    raw[:, :20] = 0
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"] = np.stack([photo(480, 640, i) for i in range(4)]).transpose(0, 3, 2, 1)
        file["rawDepths"] = raw.transpose(0, 2, 1)
        file["depths"] = np.maximum(raw, 1).transpose(0, 2, 1)
        references = file.create_dataset("scenes", (1, 4), dtype=h5py.ref_dtype)
        for i, scene in enumerate(scenes):
            file[f"#refs#/{i}"] = np.frombuffer(scene.encode("utf-16-le"), np.uint16)[:, None]
            references[0, i] = file[f"#refs#/{i}"].ref
    savemat(folder / "splits.mat", {"testNdxs": np.array([[3], [1]]), "trainNdxs": np.array([[2], [4]])})
    return tmp_path


def test_nyuv2(nyu):
    done = prepare.run("nyuv2", nyu / "downloads", nyu / "data", report=Silent())
    found = opened("nyuv2", nyu / "data")
    assert found.names() == ["test/kitchen_0004/rgb_0001.png", "test/office_0001/rgb_0003.png"], "numbered from 1"
    assert (done.written, done.skipped) == (6, 0)
    sample = found.read(1)
    np.testing.assert_array_equal(sample.rgb, photo(480, 640, 2))
    expected = ramp(480, 640, 0, 11.9)
    np.testing.assert_allclose(sample.depth[30:, 5:], expected[30:, 5:], atol=5.1e-4)
    assert np.isnan(sample.depth[:20]).all(), "raw depth, not filled"
    filled = np.asarray(Image.open(nyu / "data/nyuv2/test/office_0001/filled_0003.png"))
    assert filled.min() == 1000
    assert prepare.run("nyuv2", nyu / "downloads", nyu / "data", report=Silent()).skipped == 6


def test_nyuv2_files_that_are_none(nyu):
    data = (nyu / "downloads/nyu_depth_v2_labeled.mat").read_bytes()
    splits = nyu / "downloads/splits.mat"
    original = splits.read_bytes()
    for text, action in (
        ("splits.mat", lambda: splits.unlink()),
        ("testNdxs", lambda: splits.write_bytes(b"x" * 500)),
        ("testNdxs", lambda: splits.write_bytes(original[:100])),
        ("nyu_depth_v2_labeled", lambda: (nyu / "downloads/nyu_depth_v2_labeled.mat").write_bytes(data[:5000])),
    ):
        action()
        with pytest.raises(CcdError, match=text):
            prepare.run("nyuv2", nyu / "downloads", nyu / "data", report=Silent())
        splits.write_bytes(original)


@pytest.mark.parametrize("name", ["../../evil.png", "/tmp/evil.png", "indoors/../../evil.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_that_lead_out_are_refused(tmp_path, name, kind):
    write_diode(tmp_path / "x")
    if kind == "zip":
        path = zipped(tmp_path / "x", tmp_path / "downloads/val.zip")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"x")
    else:
        add_member(pack(tmp_path / "x", tmp_path / "downloads/val.tar"), name)
    with pytest.raises(CcdError, match="leads out"):
        prepare.run("diode", tmp_path / "downloads", tmp_path / "data", report=Silent())
    assert not (tmp_path / "data").exists()


def test_links_in_archives_are_left_out(tmp_path):
    write_diode(tmp_path / "x")
    tar = pack(tmp_path / "x", tmp_path / "downloads/val.tar")
    add_member(tar, "./indoors/link.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    with zipfile.ZipFile(tmp_path / "downloads/more.zip", "w") as archive:
        info = zipfile.ZipInfo("indoors/other.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    names = [item.name for item in list_items(tmp_path / "downloads")]
    assert len(names) == 6 and not any("link" in name or "other" in name for name in names)


@pytest.mark.parametrize("name", ["val.zip", "val.tar.gz", "val.tar"])
def test_damaged_archives_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04" + b"rubbish" * 300)
    with pytest.raises(CcdError, match=name.replace(".", r"\.")):
        prepare.run("diode", tmp_path, tmp_path / "data", report=Silent())


def test_a_file_that_is_longer_or_shorter_than_announced(tmp_path):
    for size, word in ((3, "longer"), (5, "truncated")):
        with pytest.raises(CcdError, match=word):
            copy_item(io.BytesIO(b"1234"), size, tmp_path / "x", "x.png")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_prepared(tmp_path):
    with pytest.raises(UsageProblem, match="builtin"):
        prepare.run("builtin", tmp_path, tmp_path, report=Silent())
    with pytest.raises(UsageProblem, match="splits"):
        prepare.run("nyuv2", tmp_path, tmp_path, list_file=tmp_path / "x", report=Silent())
    (tmp_path / "diode").mkdir()
    with pytest.raises(UsageProblem, match="where the set is written"):
        prepare.run("diode", tmp_path / "diode", tmp_path, report=Silent())
    with pytest.raises(CcdError, match="does not exist"):
        prepare.run("diode", tmp_path / "nowhere", tmp_path, report=Silent())


def test_members_that_are_no_files_are_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        head = tarfile.TarInfo("x/photo.png")
        head.size = 3
        tar.addfile(head, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("x/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "photo.png"
        tar.addfile(link)
        pipe = tarfile.TarInfo("x/pipe")
        pipe.type = tarfile.FIFOTYPE
        tar.addfile(pipe)
    left_out: list[str] = []
    assert [item.name for item in list_items(tmp_path, left_out)] == ["x/photo.png"]
    assert left_out == ["a.tar: x/link.png (a link)", "a.tar: x/pipe (not a plain file)"]


def test_a_zip_that_is_damaged_inside_is_one_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", b"x" * 500)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[200] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    (item,) = list_items(tmp_path / "a.zip")
    with pytest.raises(CcdError, match="damaged"):
        for name, file in open_items(item.container, [item.name]):
            copy_item(file, item.size, tmp_path / "out.txt", name)
    assert not (tmp_path / "out.txt").exists()


def test_a_member_without_a_name_is_an_error_of_the_archive(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x")
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 28] = 0  # of the name in the list at the end; its letter becomes a comment
    data[entry + 32] = 1
    path.write_bytes(bytes(data))
    with pytest.raises(CcdError, match="without a name"):
        list(list_items(path, []))
