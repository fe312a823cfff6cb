"""Folders as people have them: phone formats, results among photos, cameras in files, huge images, panoramas."""

import json
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.memory import MemoryBudget
from ccd_cli.media.formats import HEIC, SUFFIXES
from ccd_cli.media.map_read import read_map
from ccd_cli.predict import photos as module
from tests.cli.test_predict import photo
from tests.tiny_labels import content, label, recipe_values

NO_HEIC = pytest.mark.skipif(bool(SUFFIXES & HEIC), reason="this installation reads HEIC")


@pytest.fixture
def phone(tmp_path):
    """Eight photos that are read, and files that are not."""
    folder = tmp_path / "phone"
    for i in range(8):
        photo(folder / f"{i}.jpg", (120, 100), seed=i)
    for name in ("IMG_1.HEIC", "IMG_2.heic", "a.jxl", "notes.md", "v.svg"):
        (folder / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    return folder


FORMATS = {".heic": 2, ".jxl": 1, ".svg": 1}


def run_distill(ccd_here, write_recipe, tiny_recipe, images):
    tiny_recipe["images"] = str(images)
    tiny_recipe["optim"] |= {"steps": 2, "checkpoint_every": 2}
    return ccd_here("distill", write_recipe(tiny_recipe), "--device", "cpu", "--json")


@NO_HEIC
def test_formats_that_are_not_read_are_counted_by_every_command(
    predict,
    ccd_here,
    write_recipe,
    tiny_recipe,
    make_teacher,
    phone,
):
    done = predict("phone", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["not_read"] == {"formats": FORMATS, "folders": []}
    labels = label(ccd_here, write_recipe(recipe_values(phone, make_teacher), "label.yaml"))
    run = run_distill(ccd_here, write_recipe, tiny_recipe, phone)
    for result in (labels, run):
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["not_read"] == {"formats": FORMATS, "folders": []}
    for result in (done, labels, run):
        assert "Not read: 2 .heic files: HEIC needs pillow-heif: pip install 'ccd-depth[heic]'" in result.stderr
        assert "4 not read (.heic .jxl .svg)" in result.stderr.lower()
    assert json.loads(labels.stdout)["samples"] == 8


@NO_HEIC
def test_a_folder_of_nothing_else_is_an_error_that_says_so(predict, ccd_here, write_recipe, tiny_recipe, tmp_path):
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "IMG.HEIC").write_bytes(bytes(100))
    for result in (
        predict("only"),
        predict("only/*"),
        predict("only/IMG.HEIC"),
        run_distill(ccd_here, write_recipe, tiny_recipe, tmp_path / "only"),
    ):
        assert result.exit_code == 1
        assert "HEIC needs pillow-heif" in result.stderr


def test_what_ccd_made_of_a_folder_is_never_read_from_it(
    predict,
    ccd_here,
    write_recipe,
    tiny_recipe,
    make_teacher,
    tmp_path,
):
    pics = tmp_path / "pics"
    names = {photo(pics / f"{i}.jpg", (120, 100), seed=i).name for i in range(8)}
    tiny_recipe |= {"out": str(pics / "runs/tiny")}
    made = recipe_values(pics, make_teacher, out=str(tmp_path / "labels"))
    assert predict("pics", "--out", "pics/out", "--save", "color,png16,side,exr", "--pointcloud").exit_code == 0
    assert label(ccd_here, write_recipe(made)).exit_code == 0
    (tmp_path / "labels").rename(pics / "labels")
    assert ccd_here("inspect", pics / "labels").exit_code == 0
    assert run_distill(ccd_here, write_recipe, tiny_recipe, pics).exit_code == 0
    assert list(pics.glob("runs/tiny/plots/*.png")) and (pics / "labels/contact.png").exists()
    assert list(pics.glob("out/*.color.png")) and list(pics.glob("out/*.cloud.png"))

    again = predict("pics", "--out", "elsewhere", "--json")
    result = json.loads(again.stdout)
    assert {r["input"].rsplit("/", 1)[1] for r in result["done"]} == names and not result["failed"]
    assert result["not_read"] == {"formats": {}, "folders": ["pics/labels", "pics/runs/tiny"]}
    assert again.stderr.count("pics/labels (labels), pics/runs/tiny (a training run)") == 1
    for pattern in ("pics/**/*.png", "pics/*/*.png", "pics/*/*/*/*.png"):
        nothing = predict(pattern, "--out", "elsewhere")
        assert "0 done, 0 skipped" in nothing.stderr, pattern
    named = predict("pics/runs/tiny")
    assert named.exit_code == 1 and "holds a training run" in named.stderr

    relabeled = label(ccd_here, write_recipe(made, "again.yaml"))
    assert json.loads(relabeled.stdout)["samples"] == 8, relabeled.output
    tiny_recipe["out"] = str(tmp_path / "run2")
    retrained = run_distill(ccd_here, write_recipe, tiny_recipe, pics)
    assert retrained.exit_code == 0 and "8 photos;" in retrained.stderr
    assert "pics/labels (labels)" in retrained.stderr


def cloud_record(ccd_here, intrinsics, *args):
    command = ("pointcloud", "a.png", "--depth", "a.npy", "--kind", "metric", "--out", "out", "--no-preview", "--json")
    result = ccd_here(*command, "--intrinsics", intrinsics, *args)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["clouds"][0]


def test_cameras_in_files_give_the_cloud_that_their_numbers_give(ccd_here, tmp_path):
    photo(tmp_path / "a.png", (160, 120))
    np.save(tmp_path / "a.npy", np.full((120, 160), 2, np.float32))
    matrix = np.array([[150, 0, 80], [0, 160, 60], [0, 0, 1.0]])
    np.savetxt(tmp_path / "K.txt", matrix)
    np.save(tmp_path / "K.npy", matrix)
    half = {"width": 320, "height": 240, "intrinsic_matrix": [300, 0, 0, 0, 320, 0, 159.5, 119.5, 1]}
    (tmp_path / "o3d.json").write_text(json.dumps(half))
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 80 60 75 80 40 30\n")
    (tmp_path / "frame.json").write_text(json.dumps({"intrinsics": matrix.ravel().tolist()}))
    for intrinsics in ("150,160,80,60", "150 160 80 60", "150,0,80,0,160,60,0,0,1", "K.txt", "K.npy", "o3d.json"):
        assert cloud_record(ccd_here, intrinsics)["intrinsics"] == [150, 160, 80, 60], intrinsics
    for intrinsics in ("cameras.txt", "frame.json"):
        assert cloud_record(ccd_here, intrinsics)["intrinsics"] == [150, 160, 80, 60], intrinsics
    for intrinsics in ("gone.txt", "150,150"):
        assert ccd_here("pointcloud", "a.png", "--depth", "a.npy", "--intrinsics", intrinsics).exit_code == 2


def test_a_camera_for_another_shape_fails_that_image_alone(predict, tmp_path):
    photo(tmp_path / "in/wide.png", (160, 120))
    photo(tmp_path / "in/tall.png", (120, 160))
    (tmp_path / "k.json").write_text(json.dumps({"fx": 300, "fy": 300, "cx": 160, "cy": 120, "w": 320, "h": 240}))
    result = predict("in", "--intrinsics", "k.json", "--pointcloud", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [r["input"] for r in document["done"]] == ["in/wide.png"]
    assert "k.json is for images of 320x240 pixels, and this one of 120x160" in document["failed"][0]["reason"]
    assert json.loads((tmp_path / "ccd-out/wide.json").read_text())["intrinsics"] == [150, 150, 80, 60]


def test_large_images_have_maps_of_a_working_size_unless_asked_for(predict, tmp_path, monkeypatch):
    photo(tmp_path / "big.png", (320, 240))
    monkeypatch.setattr("ccd_cli.predict.photos.WORKING_PIXELS", 320 * 240 - 1)
    flags = ("--save", "npy,png16", "--intrinsics", "300,300,160,120", "--pointcloud", "--json")
    reduced = predict("big.png", *flags)
    record = json.loads(reduced.stdout)["done"][0]
    side = json.loads((tmp_path / "ccd-out/big.json").read_text())
    assert "320x240 pixels are reduced to 160x120" in record["notes"][0] and record["notes"][0] in reduced.stderr
    assert np.load(tmp_path / "ccd-out/big.npy").shape == (120, 160)
    assert side["image_size"] == [320, 240] and side["intrinsics"] == [150, 150, 80, 60]
    assert read_map(tmp_path / "ccd-out/big.npy").depth_map.values.shape == (120, 160)
    again = json.loads(predict("big.png", *flags).stdout)
    assert again["done"][0]["skipped"]
    refused = predict("big.png", *flags, "--full-size")
    assert refused.exit_code == 1 and "full_size" in refused.stderr, (
        "results of other settings are not replaced unasked"
    )
    full = json.loads(predict("big.png", *flags, "--full-size", "--overwrite").stdout)
    assert not full["done"][0]["skipped"] and not full["done"][0]["notes"]
    side = json.loads((tmp_path / "ccd-out/big.json").read_text())
    assert np.load(tmp_path / "ccd-out/big.npy").shape == (240, 320)
    assert "image_size" not in side and side["intrinsics"] == [300, 300, 160, 120]


def test_an_image_that_does_not_fit_is_refused_and_the_rest_is_done(predict, tmp_path, monkeypatch):
    photo(tmp_path / "in/big.png", (320, 240))
    photo(tmp_path / "in/small.png", (80, 60))
    monkeypatch.setattr("ccd_cli.media.photos.DECODING", MemoryBudget())
    monkeypatch.setattr("ccd_cli.core.memory.available_memory", lambda: 320 * 240 * 36 - 1)
    result = predict("in")
    assert result.exit_code == 1
    assert "1 done, 0 skipped, 1 failed" in result.stderr
    assert "in/big.png: 320x240 needs about" in result.stderr and "GB are free" in result.stderr


def test_large_images_go_one_by_one_where_memory_is_short(predict, tmp_path, monkeypatch):
    for i in range(8):
        photo(tmp_path / f"in/{i}.png", (160, 120), seed=i)
    under_way, load, write = set(), module.load_photo, module._try_write
    counts = []

    def loading(path, limits):
        under_way.add(path)
        counts.append(len(under_way))
        return load(path, limits)

    def writing(item, *rest):
        time.sleep(0.05)
        made = write(item, *rest)
        under_way.remove(item.path)
        return made

    monkeypatch.setattr(module, "load_photo", loading)
    monkeypatch.setattr(module, "_try_write", writing)
    assert predict("in", "--save", "npy", "--out", "many").exit_code == 0
    assert max(counts) > 2
    counts.clear()
    monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr("ccd_cli.media.photos.DECODING", MemoryBudget())
    monkeypatch.setattr("ccd_cli.core.memory.available_memory", lambda: 160 * 120 * 36 * 2)
    done = predict("in", "--save", "npy", "--out", "few")
    assert done.exit_code == 0, done.stderr
    assert max(counts) == 2
    for i in range(8):
        assert (tmp_path / f"few/{i}.npy").read_bytes() == (tmp_path / f"many/{i}.npy").read_bytes()


def test_labels_are_the_same_where_memory_is_short(ccd_here, write_recipe, photos, make_teacher, tmp_path, monkeypatch):
    path = write_recipe({**recipe_values(photos, make_teacher), "out": None})
    assert label(ccd_here, path, "--out", "many").exit_code == 0
    largest = max(np.prod(Image.open(each).size) for each in photos.iterdir()) * 10
    held, hold, most = [], MemoryBudget.hold, []

    @contextmanager
    def holding(budget, needed):
        with hold(budget, needed):
            held.append(needed)
            most.append(sum(held))
            time.sleep(0.01)
            yield
            held.remove(needed)

    monkeypatch.setattr(MemoryBudget, "hold", holding)
    monkeypatch.setattr("ccd_cli.media.photos.DECODING", MemoryBudget())
    monkeypatch.setattr("ccd_cli.core.memory.available_memory", lambda: largest)
    done = label(ccd_here, path, "--out", "few")
    assert done.exit_code == 0, done.stderr
    assert max(most) <= largest
    assert content(tmp_path / "few") == content(tmp_path / "many")


def test_missing_names_of_a_list_are_counted(predict, tmp_path):
    photo(tmp_path / "there.png")
    (tmp_path / "list.txt").write_text("there.png\n" + "\n".join(f"gone-{i}.jpg" for i in range(5000)))
    result = predict("list.txt", "--json")
    failed = json.loads(result.stdout)["failed"]
    assert result.exit_code == 1 and len(failed) == 11
    assert failed[9] == {"input": "gone-9.jpg", "reason": "no such file"}
    assert failed[10] == {"input": "list.txt", "reason": "4,990 more of its 5,000 missing files"}
    assert "1 done, 0 skipped" in result.stderr and len(result.stderr.splitlines()) < 40


def test_bit_depths_are_told_once_and_in_json(predict, tmp_path):
    for i in range(3):
        codes = (np.arange(60 * 80).reshape(60, 80) % 1000 + i).astype(np.uint16)
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(codes).save(tmp_path / f"in/{i}.png")
    result = predict("in", "--json")
    assert all("10-bit data" in record["notes"][0] for record in json.loads(result.stdout)["done"])
    assert result.stderr.count("10-bit data") == 2 and "3 images: a 16-bit file" in result.stderr


@pytest.mark.parametrize(("size", "xmp", "flags", "warned"), [
    ((160, 80), b"", (), True),
    ((160, 80), b"", ("--fov", "60"), False),
    ((160, 120), b"", (), False),
    ((160, 120), b'<x GPano:ProjectionType="equirectangular"/>', ("--fov", "60"), True),
])  # fmt: skip
def test_clouds_of_panoramas_are_warned_of(predict, ccd_here, tmp_path, size, xmp, flags, warned):
    photo(tmp_path / "p.jpg", size, **({"xmp": xmp} if xmp else {}))
    result = predict("p.jpg", "--pointcloud", *flags)
    assert result.exit_code == 0
    assert ("a pinhole camera is assumed, which is wrong for a panorama" in result.stderr) == warned
    if not flags:  # else the camera stored with the map is the user's
        cloud = ccd_here("pointcloud", "p.jpg", "--depth", "ccd-out", "--out", "clouds")
        assert ("wrong for a panorama" in cloud.stderr) == warned


def test_options_for_videos_are_not_ignored_in_silence(predict, tmp_path):
    photo(tmp_path / "a.png")
    assert "--temporal: for videos only" in predict("a.png", "--temporal", "align").stderr
    assert "for videos only" not in predict("a.png").stderr
