"""`ccd predict` of letterboxed film: the picture alone gets depth, the same as without bars, and it is said once."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest

from tests.unit.media.test_video_bars import scene
from tests.unit.media.test_video_track import write

SAVE = ("--save", "npy,npz,png16,side", "--temporal", "none")


@pytest.fixture
def film(tmp_path):
    """The same clip without and with bars of 24 rows, and with a caption in the bars of two of its eight frames."""
    picture = scene(96, 160)
    frames = [np.roll(picture, 2 * i, axis=1) for i in range(8)]
    boxed = [np.pad(frame, ((24, 24), (0, 0), (0, 0))) for frame in frames]
    write(tmp_path / "plain.mp4", frames)
    write(tmp_path / "bars.mp4", boxed)
    captioned = [frame.copy() for frame in boxed]
    for frame in captioned[3:5]:
        frame[126:136, 50:110] = 255
    write(tmp_path / "caption.mp4", captioned)
    return tmp_path


def test_bars_have_no_depth_and_the_picture_has_its_own(film, predict):
    said = predict("plain.mp4", "bars.mp4", *SAVE)
    assert said.exit_code == 0, said.stderr
    assert " ".join(said.stderr.split()).count("black bars (48 rows above and below): the picture of 160x96") == 1
    out = film / "ccd-out"
    for number in range(8):
        plain, boxed = (np.load(out / name / f"{number:06d}.npy") for name in ("plain", "bars"))
        assert boxed.shape == (144, 160)
        assert np.isnan(boxed[:24]).all() and np.isnan(boxed[-24:]).all()
        inside = boxed[24:-24]
        assert np.isfinite(inside).all()
        assert np.corrcoef(inside.ravel(), plain.ravel())[0, 1] > 0.99  # two encodings of the same pictures
    assert json.loads((out / "bars.json").read_text())["video"]["black_bars"] == {
        "top": 24,
        "bottom": 24,
        "left": 0,
        "right": 0,
    }
    assert not any(json.loads((out / "plain.json").read_text())["video"]["black_bars"].values())
    stored = np.load(out / "bars" / "000000.npz")
    assert not stored["valid"][:24].any() and stored["valid"][24:-24].all()


def test_a_caption_in_the_bars_is_told(film, predict):
    said = predict("caption.mp4", *SAVE)
    assert said.exit_code == 0, said.stderr
    assert "2 of 8 frames show something in the black bars" in " ".join(said.stderr.split())


def test_clouds_hold_the_picture_alone(film, predict):
    said = predict("bars.mp4", "plain.mp4", "--pointcloud", "--temporal", "none", "--fov", "60")
    assert said.exit_code == 0, said.stderr
    counts = [
        next(
            int(line.split()[-1])
            for line in (film / "ccd-out" / name / "000000.ply").read_bytes().split(b"\n")
            if line.startswith(b"element vertex")
        )
        for name in ("bars", "plain")
    ]
    assert 0.85 < counts[0] / counts[1] < 1.1
    boxed, plain = (json.loads((film / f"ccd-out/{name}.json").read_text())["intrinsics"] for name in ("bars", "plain"))
    assert boxed == pytest.approx([plain[0], plain[1], plain[2], plain[3] + 24])


def test_16_bit_codes_of_the_bars_are_0(film, predict):

    assert predict("bars.mp4", *SAVE).exit_code == 0

    with av.open(str(film / "ccd-out/bars.depth.mkv")) as container:
        codes = next(container.decode(video=0)).to_ndarray(format="gray16le")
    assert (codes[:24] == 0).all() and (codes[24:-24] > 0).mean() > 0.99
