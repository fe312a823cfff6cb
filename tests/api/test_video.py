"""Videos: the command's files, and the same maps frame by frame."""

import json
import warnings

import numpy as np
import pytest

import ccd_cli as ccd
from tests.api.conftest import write_clip


def test_files_are_the_commands(here, model, ccd_here):
    write_clip(here / "clip.mp4")
    made = ccd.predict_video("clip.mp4", out="mine", model=model, save=["color", "png16", "npy"], near=None)
    assert (made.frames, made.kind, made.skipped) == (5, "disparity", False)
    flags = ("--model", "builtin:tiny", "--save", "color,png16,npy", "--out", "o")
    assert ccd_here("predict", "clip.mp4", *flags).exit_code == 0
    for item in ("png16", "color"):
        assert made.files[item].read_bytes() == (here / "o" / made.files[item].name).read_bytes()
    assert ccd.predict_video("clip.mp4", out="mine", model=model, save="color,png16,npy").skipped
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what fails is said once
        with pytest.raises(ccd.CcdError, match=r"which are kept.*overwrite"):
            ccd.predict_video("clip.mp4", out="mine", model=model, stride=2)


def test_frames_one_by_one(here, model):
    write_clip(here / "clip.mp4")
    made = ccd.predict_video("clip.mp4", out="mine", model=model, save=("npy",))
    raw = [np.load(made.files["frames"] / f"{i:06d}.npy") for i in range(5)]
    plain = list(model.video("clip.mp4", temporal="none", fov=70))
    assert [frame.seconds for frame in plain] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert all(np.array_equal(frame.values, values) for frame, values in zip(plain, raw, strict=True))
    assert plain[0].rgb.shape == (60, 80, 3) and plain[0].intrinsics_source == "fov"
    pairs = json.loads(made.sidecar.read_text())["video"]["scale_shift"]
    for frame, values, (scale, shift) in zip(model.video("clip.mp4"), raw, pairs, strict=True):
        assert np.allclose(frame.values, values * scale + shift, atol=1e-5)
    assert len(list(model.video("clip.mp4", start=0.1, end=0.4, stride=2))) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: ccd.predict_video("none.mp4", model=m), "no such file"),
        (lambda m: ccd.predict_video("room.jpg", model=m), "not one video"),
        (lambda m: ccd.predict_video(5, model=m), "path is a text"),
        (lambda m: ccd.predict_video("clip.mp4", model=m, sav="npy"), "Did you mean save"),
        (lambda m: ccd.predict_video("clip.mp4", model=m, temporal="mean"), "Choose from none, ema, align"),
        (lambda m: ccd.predict_video("clip.mp4", model=m, near=2), "Add pointcloud"),
        (lambda m: ccd.predict_video("clip.mp4", model=m, stride=0), "stride is at least 1"),
        (lambda m: ccd.predict_video("bad.mp4", model=m), "bad.mp4"),
        (lambda m: m.video("none.mp4"), "none.mp4"),
        (lambda m: m.video("room.jpg"), "room.jpg"),
        (lambda m: m.video("clip.mp4", start=2, end=1), "end .1 s. must be later"),
    ],
)
def test_mistakes_are_one_plain_error(here, model, call, words):
    write_clip(here / "clip.mp4")
    (here / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(ccd.CcdError, match=words) as error:
        call(model)
    assert "--" not in str(error.value)
