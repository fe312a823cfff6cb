"""`ccd predict` where things go wrong: names, disks, two runs at once, what lies in the output folder, broken maps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from ccd_cli.core.files import _MACHINE
from ccd_cli.media.map_read import read_map
from ccd_cli.media.video.read import open_video
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.checkpoint import save_model
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.teachers.adapters.native import NativeTeacher
from tests.cli.test_predict import names, photo, video
from tests.unit.media.test_video import picture
from tests.unit.media.test_video_track import write

NAMES = [
    "ünï 日本.jpg",
    " blank .png",
    "new\nline.png",
    "-dash.png",
    ":cat:[red]x[b].png",
    "日" * 80 + ".png",
    "x" * 240 + ".png",
]


@pytest.fixture
def made_of(tmp_path):
    """Return a function that saves a network all of whose weights are one number."""

    def make(value: float, kind: str = "disparity") -> str:
        network = DepthNet(timm_arch("test_convnext", kind=kind, features=16, resolution=64))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(value)
        return str(save_model(tmp_path / "same.safetensors", network, network.arch, {"license": "MIT"}))

    return make


def test_strange_names_are_names(predict, tmp_path):
    for i, name in enumerate(NAMES):
        photo(tmp_path / "set" / name, seed=i)
    photo(tmp_path / "set" / "[" / "b].png")  # in markup: a closing tag without an opening one
    result = predict("set", "--json")
    assert result.exit_code == 0, result.stderr
    assert len(json.loads(result.stdout)["done"]) == len(NAMES) + 1
    assert ":cat:[red]x[b].png" in result.stderr
    assert "8 skipped" in predict("set").stderr


def test_a_list_of_names_that_are_not_utf8(predict, tmp_path):
    name = os.fsdecode(b"caf\xe9\xe2\x80\xa8.png")
    photo(tmp_path / name)
    (tmp_path / "list.txt").write_bytes(os.fsencode(name) + b"\r\n")
    assert predict("list.txt", "--save", "npy,color").exit_code == 0
    assert (tmp_path / "ccd-out" / name.replace(".png", ".npy")).is_file()
    odd = predict("list.txt", "--save", "exr")
    assert odd.exit_code == 1
    assert "not UTF-8" in odd.stderr


def test_one_photo_without_a_cloud_does_not_stop_the_rest(predict, tmp_path):
    photo(tmp_path / "set" / "a.png")
    photo(tmp_path / "set" / "b.png", seed=1)
    (tmp_path / "ref").mkdir()
    np.save(tmp_path / "ref" / "b.npy", np.linspace(1, 5, 4800, dtype=np.float32).reshape(60, 80))
    np.save(tmp_path / "ref" / "a.npy", np.zeros((60, 80), np.float32))
    result = predict("set", "--save", "npy", "--pointcloud", "--align-to", "ref", "--no-preview", "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [f["input"] for f in answer["failed"]] == ["set/a.png"]
    assert len(answer["done"]) + len(answer["failed"]) == 2


@pytest.mark.parametrize(("value", "cloud", "said"), [(float("nan"), False, "valid value"), (0.0, True, "flat")])
def test_maps_that_say_nothing_are_failures(ccd_here, made_of, tmp_path, value, cloud, said):
    photo(tmp_path / "p.png")
    video(tmp_path / "v.mp4", 6)
    arguments = ["predict", "p.png", "v.mp4", "--model", made_of(value), *(["--pointcloud"] if cloud else [])]
    for _ in range(2):  # and stay failures
        result = ccd_here(*arguments)
        assert result.exit_code == 1
        assert result.stderr.count("failed: p.png: The m") == 1
        assert result.stderr.count(said) >= 4
    assert not list(tmp_path.glob("ccd-out/.*"))


def test_results_are_no_inputs(predict, tmp_path):
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.depth.png")  # somebody else's, without a sidecar
    video(tmp_path / "v.mp4", 6)
    for out in ("ccd-out", "."):
        assert "3 done, 0 skipped" in predict(".", "--out", out, "--save", "color,png16,side").stderr
        assert "0 done, 3 skipped" in predict(".", "--out", out, "--save", "color,png16,side").stderr
    assert (
        "0 done, 2 skipped"
        in predict("a.png", "a.color.png", "v.mp4", "--out", ".", "--save", "color,png16,side").stderr
    )
    alone = predict("a.color.png")
    assert alone.exit_code == 1
    assert "a result that ccd wrote" in alone.stderr


def test_what_is_not_ours_is_not_replaced(predict, tmp_path):
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png", seed=1)
    own = photo(tmp_path / "b.color.png", seed=2).read_bytes()
    (tmp_path / "a.json").write_text('{"shapes": []}')
    result = predict("a.png", "b.png", "b.color.png", "--out", ".")
    assert result.exit_code == 1
    assert "a.json is there and is not from ccd" in result.stderr
    assert "would replace an input" in result.stderr
    assert (tmp_path / "a.json").read_text() == '{"shapes": []}'
    assert (tmp_path / "b.color.png").read_bytes() == own
    assert predict("a.png", "--out", ".", "--overwrite").exit_code == 0


def test_no_map_of_one_model_under_the_sidecar_of_another(predict, ccd_here, made_of, tmp_path):
    photo(tmp_path / "a.png")
    out = tmp_path / "ccd-out"
    predict("a.png", "--save", "npy,png16")
    predict("a.png", "--save", "exr")  # the same map: all stay, all are listed, and read back
    listed = json.loads((out / "a.json").read_text())
    assert sorted(listed["files"]) == ["exr", "npy", "png16"]
    for name in listed["files"].values():
        assert np.allclose(read_map(out / name).depth_map.values, np.load(out / "a.npy"), atol=listed["scale"])
    before = {name: (out / name).read_bytes() for name in names(out)}
    other = ("predict", "a.png", "--save", "color", "--model", made_of(0.01, "depth"))
    refused = ccd_here(*other)
    assert refused.exit_code == 1
    assert "made by small, which are kept" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    replaced = ccd_here(*other, "--overwrite")
    assert "1 results made by small are replaced" in replaced.stderr
    assert names(out) == ["a.color.png", "a.json"]


def test_results_of_other_settings_and_other_inputs_are_kept(predict, tmp_path):
    photo(tmp_path / "set" / "a.png")
    photo(tmp_path / "set" / "b.png", seed=1)
    predict("set", "--save", "npy")
    first = np.load(tmp_path / "ccd-out/a.npy")
    refused = predict("set", "--save", "npy", "--resolution", "96", "--json")
    assert refused.exit_code == 1
    failed = json.loads(refused.stdout)["failed"]
    assert [each["input"] for each in failed] == ["set/a.png", "set/b.png"]
    assert all("made with resolution 64 (now 96), which are kept" in each["reason"] for each in failed)
    photo(tmp_path / "far" / "a.png", seed=2)
    assert "of another input (../set/a.png), which are kept" in predict("far/a.png", "--save", "npy").stderr
    assert np.array_equal(np.load(tmp_path / "ccd-out/a.npy"), first)
    photo(tmp_path / "set" / "a.png", (90, 60), seed=3)  # the photo itself was replaced: its results are stale
    again = predict("set", "--save", "npy")
    assert again.exit_code == 0
    assert "1 results of an earlier version of the file are replaced" in again.stderr
    assert np.load(tmp_path / "ccd-out/a.npy").shape == (60, 90)
    for name in ("a.npy", "b.npy"):
        (tmp_path / "ccd-out" / name).unlink()
    assert predict("set", "--save", "npy", "--resolution", "96").exit_code == 0  # nothing is there to lose


def test_no_frame_of_an_earlier_span_among_the_new_ones(predict, tmp_path):
    video(tmp_path / "v.mp4", 30)
    predict("v.mp4", "--save", "npy")
    refused = predict("v.mp4", "--save", "npy", "--end", "0.3")
    assert refused.exit_code == 1
    assert "made with end default (now 0.3)" in refused.stderr
    assert len(list((tmp_path / "ccd-out/v").iterdir())) == 30
    predict("v.mp4", "--save", "npy", "--end", "0.3", "--overwrite")
    assert len(list((tmp_path / "ccd-out/v").iterdir())) == 9
    predict("v.mp4", "--save", "color", "--end", "0.3")
    assert sorted(json.loads((tmp_path / "ccd-out/v.json").read_text())["files"]) == ["color", "frames"]


def test_a_truncated_video_fails_again(predict, tmp_path):
    whole = video(tmp_path / "v.mkv", 60, size=(160, 120)).read_bytes()
    (tmp_path / "v.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    assert [predict("v.mkv").exit_code for _ in range(2)] == [1, 1]
    assert "1 skipped" in predict("v.mkv").stderr


def test_a_short_clip_does_not_stop_the_others(predict, tmp_path):
    video(tmp_path / "long.mp4", 40)
    video(tmp_path / "short.mp4", 10)
    result = predict("short.mp4", "long.mp4", "--start", "1")
    assert result.exit_code == 1
    assert "1 done" in result.stderr
    assert "behind its end" in result.stderr


def test_what_a_dead_run_left_goes_with_the_next_run(predict, tmp_path):
    video(tmp_path / "v.mp4", 6)
    assert predict("v.mp4").exit_code == 0  # this process has swept the folder
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    out = tmp_path / "ccd-out"
    dead = out / f".v.depth.mkv.ccd-{_MACHINE}-{gone.pid}-0123456789abcdef.mkv"
    dead.touch()
    (out / "v.json").unlink()
    (out / ".v.json.parts").mkdir()
    assert predict("v.mp4").exit_code == 0
    assert not list(out.glob(".*"))
    (out / ".v.json.parts").mkdir()  # killed between its sidecar and its end
    (out / ".v.json.parts" / "clip.json").touch()
    (out / ".v.clouds").mkdir()
    assert "1 skipped" in predict("v.mp4").stderr
    assert not list(out.glob(".*"))


def test_pixels_that_are_not_square_keep_their_shape(predict, tmp_path):
    write(tmp_path / "dvd.mpg", [picture(i, 180, 144) for i in range(6)], codec="mpeg2video", aspect=Fraction(64, 45))
    arguments = ("dvd.mpg", "--save", "color,png16,side,npy", "--pointcloud", "--every", "100", "--fov", "60")
    result = predict(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "pixels are 64:45, not square: frames of 180x144 are resampled to 256x144" in result.stderr
    out = tmp_path / "ccd-out"
    for name, size in (("dvd.color.mp4", (256, 144)), ("dvd.depth.mkv", (256, 144)), ("dvd.side.mp4", (514, 144))):
        made = open_video(out / name)
        assert (made.width, made.height) == size
    assert np.load(out / "dvd/000000.npy").shape == (144, 256)
    side = json.loads((out / "dvd.json").read_text())
    fx, fy, cx, cy = side["intrinsics"]
    assert fx == fy == pytest.approx(128 / np.tan(np.radians(30)))
    assert (cx, cy) == (128, 72)
    stored = side["video"]["stored"]
    assert (stored["width"], stored["height"], stored["pixel_aspect"]) == (180, 144, "64/45")
    assert stored["resampled_to_square_pixels"] is True


def test_two_runs_do_not_mix_one_video(predict, tmp_path):
    video(tmp_path / "v.mp4", 6)
    parts = tmp_path / "ccd-out" / ".v.json.parts"
    parts.mkdir(parents=True)
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 2); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold, str(parts)], stdin=-1, stdout=-1, text=True) as other:
        other.stdout.readline()
        result = predict("v.mp4")
        other.communicate("\n")
    assert result.exit_code == 1
    assert "Another run" in result.stderr
    assert predict("v.mp4").exit_code == 0


def test_a_file_in_the_way_of_the_folder_stops_all_at_once(predict, tmp_path):
    for i in range(4):
        photo(tmp_path / "set" / f"{i}.png", seed=i)
    (tmp_path / "file").touch()
    result = predict("set", "--out", "file/below")
    assert result.exit_code == 1
    assert result.stderr.count("Not a directory") == 1


def test_a_full_disk_says_so(predict, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("76800 requested and 74720 written")  # numpy's words, without an error number

    for i in range(4):
        photo(tmp_path / "set" / f"{i}.png", seed=i)
    monkeypatch.setattr(np, "save", full)
    result = predict("set", "--save", "npy")
    assert result.exit_code == 1
    assert result.stderr.count("Is the disk full?") == 1
    assert not names(tmp_path / "ccd-out")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--near", "1", "--every", "5", "--no-preview"], "--every, --no-preview, --near"),
        (["--pointcloud", "--align-to", "nowhere.npy"], "does not exist"),
        (["--pointcloud", "--align-to", "a.png"], "one file for 2"),
        (["--pointcloud", "--ref-scale", "1000"], "needs --align-to"),
        (["--start", "3", "--end", "1"], "later than --start"),
    ],
)
def test_options_that_would_go_unread(predict, tmp_path, options, said):
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png")
    result = predict("a.png", "b.png", *options)
    assert result.exit_code == 2, result.stderr
    assert said in " ".join(result.stderr.split())


def test_a_second_signal_stops_at_once(predict, tmp_path, monkeypatch):
    asked = []

    def interrupted(*_, **__):  # the network is at work when both signals come
        asked.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png")
    video(tmp_path / "v.mp4", 6)
    monkeypatch.setattr(NativeTeacher, "predict_photos", interrupted)
    for arguments in (["a.png", "b.png", "--batch", "2"], ["v.mp4"]):
        asked.clear()
        result = predict(*arguments)
        assert result.exit_code == 130, result.stderr
        assert "Stopped at once" in result.stderr
        assert "warning" not in result.stderr
        assert len(asked) == 1


def test_a_model_without_a_name_is_not_the_default(ccd_here, tmp_path):
    photo(tmp_path / "a.png")
    assert ccd_here("predict", "a.png", "--model", "").exit_code == 1
