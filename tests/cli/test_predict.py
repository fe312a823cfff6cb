"""`ccd predict` from end to end, with a tiny random network: names, formats, doing nothing twice, and what is broken."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from ccd_cli.media.map_read import read_map
from ccd_cli.media.outputs import read_failures
from ccd_cli.media.video.read import open_video
from ccd_cli.pointcloud.preview import preview


def photo(path, size=(80, 60), mode="RGB", seed=0, **options):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = small.resize(size, Image.Resampling.BICUBIC)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif mode != "RGB":
        picture = picture.convert(mode)
    picture.save(path, **options)
    return path


def video(path, count=30, size=(64, 48), rate=30):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = 10
        y, x = np.mgrid[: size[1], : size[0]]
        for i in range(count):
            picture = np.stack([(x + 2 * i) % 256, y * 4 % 256, x * 3 % 256], -1).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def frames_of(path, form):
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format=form) for frame in file.decode(video=0)]


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_files_folders_globs_and_lists(predict, tmp_path):
    photo(tmp_path / "set" / "a.jpg")
    photo(tmp_path / "set" / "deep" / "a.png", (50, 70))
    photo(tmp_path / "set" / ".hidden.jpg")
    photo(tmp_path / "one.png")
    photo(tmp_path / "g1.webp")
    photo(tmp_path / "far" / "listed.bmp")
    (tmp_path / "list.txt").write_text("# photos\nfar/listed.bmp\n\n")
    result = predict(
        "set", "one.png", "g*.webp", "list.txt", "-", "--save", "npy", input=str(tmp_path / "far/listed.bmp")
    )
    assert result.exit_code == 0, result.stderr
    stems = ["a", "deep/a", "g1", "listed", "one"]
    assert names(tmp_path / "ccd-out") == sorted(f"{s}{end}" for s in stems for end in (".json", ".npy"))
    assert np.load(tmp_path / "ccd-out/deep/a.npy").shape == (70, 50)


def test_inputs_that_would_share_a_name(predict, tmp_path):
    for i, name in enumerate(("a.jpg", "a.png", "x/a.jpg", "x.y.png")):
        photo(tmp_path / name, seed=i)
    result = predict("a.jpg", "a.png", "x/a.jpg", "x.y.png", "a.jpg", "--save", "npy")
    assert result.exit_code == 0, result.stderr
    found = {p for p in names(tmp_path / "ccd-out") if p.endswith(".npy")}
    assert found == {"a.jpg.npy", "a.png.npy", "a.jpg-2.npy", "x.y.npy"}
    maps = [np.load(tmp_path / "ccd-out" / name) for name in found]
    assert all(not np.array_equal(maps[0], other) for other in maps[1:])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16", "1", "P"])
def test_every_mode_of_a_photo(predict, tmp_path, mode):
    photo(tmp_path / "p.png", mode=mode)
    assert predict("p.png", "--save", "npz").exit_code == 0
    assert read_map(tmp_path / "ccd-out/p.npz").depth_map.values.shape == (60, 80)


def test_exif_rotation_and_focal_length(predict, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif.get_ifd(0x8769)[0xA405] = 28
    photo(tmp_path / "turned.jpg", exif=exif)
    assert predict("turned.jpg", "--save", "npy").exit_code == 0
    sidecar = json.loads((tmp_path / "ccd-out/turned.json").read_text())
    assert np.load(tmp_path / "ccd-out/turned.npy").shape == (80, 60)
    assert sidecar["intrinsics_source"] == "exif"
    assert sidecar["intrinsics"][0] == pytest.approx(28 * 100 / np.hypot(36, 24))


def test_the_formats_agree_and_the_sidecar_tells_all(predict, tmp_path, model):
    photo(tmp_path / "p.png")
    result = predict("p.png", "--save", "npy,npz,png16,exr,color,side", "--pointcloud", "--fov", "50", "--json")
    assert result.exit_code == 0, result.stderr
    out = tmp_path / "ccd-out"
    raw = np.load(out / "p.npy")
    sidecar = json.loads((out / "p.json").read_text())
    for name, error in {"p.npz": 0, "p.exr": 0, "p.depth.png": sidecar["scale"] / 2 + 1e-6}.items():
        assert np.abs(read_map(out / name).depth_map.values - raw).max() <= error, name
    assert (sidecar["kind"], sidecar["direction"], sidecar["license"]) == ("disparity", "larger = nearer", "MIT")
    assert (sidecar["model"], sidecar["resolution"], sidecar["intrinsics_source"]) == ("small", 64, "fov")
    assert sidecar["cloud"]["points"] > 100
    answer = json.loads(result.stdout)
    assert answer["failed"] == []
    assert {p.split("/")[-1] for p in answer["done"][0]["files"]} | {"p.json"} == set(names(out))
    assert Image.open(out / "p.side.png").size[0] > 160


def test_nothing_is_done_twice_and_changes_are(predict, tmp_path):
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png", seed=1)
    out = tmp_path / "ccd-out"
    predict("a.png", "b.png")
    before = {n: (out / n).stat().st_mtime_ns for n in names(out)}
    assert "2 skipped" in predict("a.png", "b.png").stderr
    assert before == {n: (out / n).stat().st_mtime_ns for n in names(out)}
    (out / "a.color.png").unlink()
    photo(tmp_path / "b.png", seed=2)
    assert "2 done, 0 skipped" in predict("a.png", "b.png").stderr
    kept = predict("a.png", "b.png", "--resolution", "96").stderr
    assert "0 done, 0 skipped, 2 failed" in kept
    assert kept.count("made with resolution 64 (now 96), which are kept") == 4
    assert "2 done, 0 skipped" in predict("a.png", "b.png", "--resolution", "96", "--overwrite").stderr
    (out / "a.json").write_text('{"fingerprint": 3, "files": {"x": "../../etc/passwd"}, "seal": "?"}')
    assert "1 done, 1 skipped" in predict("a.png", "b.png", "--resolution", "96").stderr


def test_bad_inputs_are_named_and_the_rest_is_done(predict, tmp_path):
    good = photo(tmp_path / "good.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "no.mp4").write_bytes(b"\0" * 1000)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:300])
    photo(tmp_path / "thin.png", (4000, 4))
    bad = [
        "empty.jpg",
        "text.png",
        "no.mp4",
        "cut.png",
        "thin.png",
        "missing.jpg",
        "nowhere/",
        "a\0b.png"[:1] + "?.xyz",
    ]
    result = predict(*bad, "good.png", "--save", "npy", "--json")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    answer = json.loads(result.stdout)
    assert len(answer["failed"]) == len(bad)
    assert all(any(name.split("/")[0] in f["input"] for f in answer["failed"]) for name in bad)
    assert names(tmp_path / "ccd-out") == ["failed.jsonl", "good.json", "good.npy"]
    kept = {line["input"]: line["reason"] for line in read_failures(tmp_path / "ccd-out")}
    assert set(kept) == {f"../{name}" for name in bad[:5]} | set(bad[5:]), "relative to the folder, where it is a file"
    assert all(f["reason"] in kept.values() for f in answer["failed"])


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--save", "nothing"], 2, "unknown output"),
        (["--save", ","], 2, "nothing to write"),
        (["--cmap", "infern"], 2, "inferno"),
        (["--fov", "200"], 2, "fov"),
        (["--intrinsics", "1,2,3"], 2, "intrinsics"),
        (["--intrinsics", "50,50,30,40", "--fov", "60"], 2, "contradict"),
        (["--batch", "many"], 2, "batch"),
        (["--resolution", "9000"], 2, "resolution"),
        (["--pointcloud", "--near", "3", "--far", "2"], 2, "near"),
        (["--device", "toaster"], 2, "device"),
    ],
)
def test_wrong_usage(predict, tmp_path, options, code, said):
    photo(tmp_path / "p.png")
    result = predict("p.png", *options)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert not (tmp_path / "ccd-out").exists()


def test_without_a_hub_the_built_in_model_does_it(ccd_here, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    photo(tmp_path / "p.png")
    result = ccd_here("predict", "p.png")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("warning") == 1
    assert json.loads((tmp_path / "ccd-out/p.json").read_text())["model"] == "builtin:tiny"
    named = ccd_here("predict", "p.png", "--model", "depth-anything-v2-small")
    assert named.exit_code == 1
    assert "ccd teachers pull" in named.stderr


def cloud_of(path):
    """Points and colors of a binary PLY."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    assert b"format binary_little_endian" in header
    table = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    return table["xyz"].copy(), table["rgb"].copy()


def test_a_video_keeps_count_rate_and_values(predict, tmp_path):
    video(tmp_path / "v.mp4", 30, rate=25)
    result = predict("v.mp4", "--save", "color,png16,npy,side", "--pointcloud", "--every", "10")
    assert result.exit_code == 0, result.stderr
    out = tmp_path / "ccd-out"
    clip = open_video(out / "v.color.mp4")
    assert (clip.frame_count, clip.rate, clip.width, clip.height) == (30, Fraction(25), 64, 48)
    assert open_video(out / "v.side.mp4").frame_count == 30
    assert len(list((out / "v").glob("*.npy"))) == 30
    assert sorted(p.name for p in (out / "v").glob("*.ply")) == ["000000.ply", "000010.ply", "000020.ply"]
    told = json.loads((out / "v.json").read_text())
    assert told["files"]["preview"] == "v.cloud.png"
    assert np.array_equal(np.asarray(Image.open(out / "v.cloud.png")), preview(*cloud_of(out / "v" / "000010.ply")))
    codes = frames_of(out / "v.depth.mkv", "gray16le")
    ranges = told["video"]["code_ranges"]
    for i, (scale, shift) in enumerate(told["video"]["scale_shift"]):
        coding = [r for r in ranges if r["from"] <= i][-1]
        steady = scale * np.load(out / "v" / f"{i:06d}.npy") + shift
        assert np.abs(codes[i] * coding["scale"] + coding["offset"] - steady).max() <= coding["scale"] * 0.51
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    assert "1 skipped" in predict("v.mp4", "--save", "color,png16,npy,side", "--pointcloud", "--every", "10").stderr


def test_a_video_of_which_nothing_would_be_written_fails(predict, tmp_path):
    video(tmp_path / "v.mp4", 3)
    made = predict("v.mp4", "--save", "sky")
    assert (made.exit_code, "marks no sky" in made.output) == (1, True)
    assert predict("v.mp4", "--save", "sky,png16").exit_code == 0
    assert "sky" not in json.loads((tmp_path / "ccd-out/v.json").read_text())["files"]


def test_part_of_a_video(predict, tmp_path):
    video(tmp_path / "v.mp4", 60)
    assert predict("v.mp4", "--start", "0.5", "--end", "1.5", "--stride", "3", "--temporal", "none").exit_code == 0
    told = json.loads((tmp_path / "ccd-out/v.json").read_text())["video"]
    assert (told["frames"], told["rate"], told["temporal"]) == (10, 10.0, "none")
    assert set(map(tuple, told["scale_shift"])) == {(1.0, 0.0)}
    late = predict("v.mp4", "--start", "9")
    assert late.exit_code == 1
    assert "behind its end" in late.stderr


def test_a_truncated_video_gives_what_decodes(predict, tmp_path):
    video(tmp_path / "v.mkv", 60, size=(160, 120))
    whole = (tmp_path / "v.mkv").read_bytes()
    (tmp_path / "v.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    result = predict("v.mkv", "--save", "png16")
    assert result.exit_code == 1
    assert "could be decoded" in result.stderr
    told = json.loads((tmp_path / "ccd-out/v.json").read_text())["video"]
    assert 10 < told["frames"] < 60
    assert len(frames_of(tmp_path / "ccd-out/v.depth.mkv", "gray16le")) == told["frames"]
    assert str(told["frames"]) in told["truncated"]


LONG = ("v.mp4", "--save", "color,png16", "--pointcloud", "--every", "100", "--no-preview")


def long_run(model, out):
    return [sys.executable, "-m", "ccd_cli", "predict", *LONG, "--out", out, "--model", model, "--threads", "1"]


@pytest.fixture(scope="module")
def long_video(tmp_path_factory, model):
    """A video of 600 frames and what a run that nothing stops makes of it, in `whole`."""
    folder = tmp_path_factory.mktemp("long")
    video(folder / "v.mp4", 600)
    subprocess.run(long_run(model, "whole"), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", [".v.json.parts/00000.json", "v.color.mp4", "v/000000.ply"]
)  # frames, joining, clouds
def test_a_killed_video_goes_on_and_ends_the_same(long_video, tmp_path, model, moment):
    shutil.copytree(long_video, tmp_path, dirs_exist_ok=True)
    process = subprocess.Popen(long_run(model, "cut"), cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (tmp_path / "cut" / moment).exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut/v.json").exists()
    again = subprocess.run(
        long_run(model, "cut"), cwd=tmp_path, capture_output=True, text=True
    )  # leftovers go at its start
    assert again.returncode == 0, again.stderr
    assert not list((tmp_path / "cut").glob(".*"))
    assert names(tmp_path / "cut") == names(tmp_path / "whole")
    for name in names(tmp_path / "whole"):
        if name.endswith(".mp4"):  # x264 has been seen to write the same pictures in other bytes, once in many runs
            one, other = (np.stack(frames_of(tmp_path / run / name, "rgb24")).astype(int) for run in ("cut", "whole"))
            assert np.abs(one - other).mean() < 1, name
        elif not name.endswith(".json"):
            same = (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
            assert same, name


@pytest.mark.slow
def test_an_interrupted_batch_keeps_what_is_finished(tmp_path, model):
    for i in range(60):
        photo(tmp_path / "set" / f"{i:02d}.jpg", (640, 480), seed=i)
    command = [sys.executable, "-m", "ccd_cli", "predict", "set", "--model", model, "--save", "npy"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list((tmp_path / "ccd-out").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    kept = [p for p in names(tmp_path / "ccd-out") if p.endswith(".json")]
    assert 0 < len(kept) < 60
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0
    assert f"{len(kept)} skipped" in again.stderr


def test_intrinsics_of_another_size_are_doubted_aloud(predict, tmp_path):
    photo(tmp_path / "a.png")
    result = predict("a.png", "--intrinsics", "1000,1000,960,540")
    assert "are the intrinsics those of this size?" in result.stderr
