"""What a player shows of a file: upright, square pixels, the film among several tracks, times that begin late, HDR."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from ccd_cli.core.errors import ImageError
from ccd_cli.media.hdr import HLG, PQ, tone_map
from ccd_cli.media.video.read import open_video
from tests.unit.media.test_video import make, picture

ONE = 65536


def write(path, frames, *, aspect=None, codec="libx264", begin=0, options=None, rate=25, form=None):
    """Write frames uint8 RGB, `begin` milliseconds late."""
    with av.open(str(path), "w", format=form, options=options or {}) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000) if codec != "mpeg2video" else Fraction(1, rate)
        stream.bit_rate = 4_000_000
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for i, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = begin + 1000 * i // rate, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def set_matrix(path, matrix):
    """Put a display matrix a b c d into the track header of an mp4."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4
    a, b, c, d = matrix
    at += 40 if data[at] == 0 else 52
    data[at : at + 36] = struct.pack(">9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


UPRIGHT = picture(3, 96, 64)
ORIENTATIONS = {  # (a, b, c, d) and how the stored frame comes from the upright one
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, 1, 0): lambda p: p.transpose(1, 0, 2),
    (0, 1, -1, 0): lambda p: np.rot90(p, 1),
    (0, -1, 1, 0): lambda p: np.rot90(p, -1),
    (0, -1, -1, 0): lambda p: p[::-1, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", ORIENTATIONS)
@pytest.mark.parametrize("aspect", [None, Fraction(2)])
def test_every_display_matrix_comes_upright(matrix, aspect, tmp_path):
    path = write(tmp_path / "a.mp4", [ORIENTATIONS[matrix](UPRIGHT)] * 3, aspect=aspect)
    set_matrix(path, matrix)
    video = open_video(path)
    shown = next(video.frames()).rgb
    turned = bool(matrix[1])
    wide, high = (1, 2) if aspect and turned else (2, 1) if aspect else (1, 1)  # the aspect is that of stored pixels
    assert shown.shape == (64 * high, 96 * wide, 3) == (video.height, video.width, 3)
    assert np.abs(shown[::high, ::wide].astype(int) - UPRIGHT).mean() < 8
    wrong = [turn(UPRIGHT) for turn in (lambda p: p[::-1], lambda p: p[:, ::-1], lambda p: p[::-1, ::-1])]
    assert all(np.abs(shown[::high, ::wide].astype(int) - other).mean() > 20 for other in wrong)


@pytest.mark.parametrize(
    ("name", "codec", "aspect", "shape"),
    [
        ("a.mp4", "libx264", Fraction(64, 45), (144, 256)),  # a wide PAL DVD at a quarter
        ("a.mpg", "mpeg2video", Fraction(64, 45), (144, 256)),
        ("a.mkv", "libx264", Fraction(8, 9), (162, 180)),  # NTSC: the height grows, no column is lost
        ("a.ts", "libx264", Fraction(4, 3), (144, 240)),
        ("a.mp4", "libx264", Fraction(1001, 1000), (144, 180)),  # of rounding to blocks
        ("a.mp4", "libx264", Fraction(1), (144, 180)),
    ],
)
def test_pixels_become_square(name, codec, aspect, shape, tmp_path):
    video = open_video(write(tmp_path / name, [picture(i, 180, 144) for i in range(8)], codec=codec, aspect=aspect))
    assert (video.height, video.width) == shape
    frame = next(video.frames()).rgb
    assert frame.shape == (*shape, 3)
    assert any("not square" in note for note in video.notes) == (shape != (144, 180))
    stored = video.geometry.facts()
    assert (stored["width"], stored["height"]) == (180, 144)
    assert stored["resampled_to_square_pixels"] == (shape != (144, 180))


def test_an_impossible_aspect_is_refused(tmp_path):
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(3)], aspect=Fraction(40))
    with pytest.raises(ImageError, match="40:1"):
        open_video(path)


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.ts", "a.mp4", "a.mov", "a.nut", "f.mp4"])
@pytest.mark.parametrize("begin", [0, 700, 5000, 3_600_000])
def test_a_late_beginning_is_no_cut(name, begin, tmp_path):
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    options = {"movflags": "frag_keyframe+empty_moov"} if name == "f.mp4" else None
    path = write(tmp_path / name, [picture(i) for i in range(40)], codec=codec, begin=begin, options=options)
    video = open_video(path)
    frames = list(video.frames())
    assert len(frames) == video.frame_count == 40
    assert video.truncated is None
    assert frames[0].seconds == 0
    assert video.duration == pytest.approx(1.6, abs=0.06)
    assert [f.number for f in video.frames(0.4, 0.8)] == list(range(10, 20))
    with pytest.raises(ImageError, match="behind its end"):
        video.frames(2.0)


def test_a_late_video_that_was_cut_off_says_how_much(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    path = write(tmp_path / "a.mkv", frames, begin=5000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = open_video(path)
    count = len(list(video.frames()))
    assert 20 < count < 80
    assert video.truncated == (count, 100)


def tracks(path, *streams):
    """Write several video tracks: (size, count, codec, disposition)."""
    with av.open(str(path), "w") as out:
        made = []
        for size, _, codec, disposition in streams:
            stream = out.add_stream(codec, rate=25)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            made.append(stream)
        for stream, (size, count, _, _) in zip(made, streams, strict=True):
            for i in range(count):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i, *size), format="rgb24")))
            out.mux(stream.encode(None))
    return path


NONE, FIRST = Disposition(0), Disposition.default


@pytest.mark.parametrize(
    ("streams", "size", "noted"),
    [
        ([((64, 64), 1, "mjpeg", NONE), ((160, 120), 10, "libx264", NONE)], (160, 120), False),
        ([((640, 480), 1, "mjpeg", NONE), ((160, 120), 10, "libx264", NONE)], (160, 120), False),  # a large cover
        ([((64, 48), 10, "libx264", FIRST), ((160, 120), 10, "libx264", NONE)], (160, 120), True),
        ([((160, 120), 10, "libx264", NONE), ((64, 48), 10, "libx264", FIRST)], (160, 120), True),
        ([((64, 48), 10, "libx264", NONE), ((640, 480), 1, "mjpeg", Disposition.attached_pic)], (64, 48), False),
    ],
)
def test_the_film_is_the_largest_track(streams, size, noted, tmp_path):
    attached = streams[1][3] == Disposition.attached_pic
    path = tracks(tmp_path / ("a.mp4" if attached else "a.mkv"), *streams)
    video = open_video(path)
    frames = list(video.frames())
    assert (video.width, video.height) == size == frames[0].rgb.shape[1::-1]
    assert len(frames) == 10 and video.truncated is None
    assert [f.number for f in video.frames(0.2)] == list(range(5, 10))
    assert any("2 video tracks" in note for note in video.notes) == noted


def test_a_cover_alone_is_no_film(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=8000)
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 64, 48, "yuvj420p", Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(picture(1), format="rgb24")))
        out.mux(cover.encode(None))
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        wave.sample_rate = 8000
        out.mux(sound.encode(wave))
        out.mux(sound.encode(None))
    with pytest.raises(ImageError, match="still picture"):
        open_video(path)


def test_tone_mapping_gives_the_standard_picture_back():
    gray = np.array([0.0, 0.02, 0.1, 0.18, 0.5, 0.75], np.float64)  # linear light, white at 1
    srgb = np.where(gray <= 0.0031308, gray * 12.92, 1.055 * gray ** (1 / 2.4) - 0.055) * 255
    light = gray * 203 / 10000
    power = light**0.1593017578125
    pq = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    scene = (gray * 203 / 1000) ** (1 / 1.2)
    hlg = np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )
    for code, transfer in ((pq, PQ), (hlg, HLG)):
        stored = np.rint(np.repeat(code[None, :, None], 3, -1) * 65535).astype(np.uint16)
        assert np.abs(tone_map(stored, transfer)[0, :, 1].astype(float) - srgb).max() < 2.5
    bright = tone_map(np.rint(np.linspace(0.5, 1, 64)[None, :, None].repeat(3, -1) * 65535).astype(np.uint16), PQ)
    assert (np.diff(bright[0, :, 0].astype(int)) >= 0).all() and bright.max() == 255


def test_plain_video_has_no_notes(tmp_path):
    assert open_video(make(tmp_path / "a.mp4", 5)).notes == ()
