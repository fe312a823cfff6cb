"""Interlaced video: a frame of one moment for each frame, whose time and content do not depend on where decoding began."""

from fractions import Fraction

import av
import numpy as np
import pytest

from ccd_cli.media.video.read import Place, open_video


def moments(count, shift):
    """Pictures of an edge that moves `shift` pixels from one to the next."""
    x = np.arange(160)[None, :]
    ramp = np.arange(120)[:, None] % 40 * 2
    return [
        np.repeat((np.where((x - 20 - shift * i) // 20 % 2, 200, 40) + ramp)[..., None], 3, 2).astype(np.uint8)
        for i in range(count)
    ]


def woven(path, pictures, top_first=True):
    """Two moments a frame in alternating rows, as MPEG-2."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, "yuv420p", 6
        stream.options = {"flags": "+ilme+ildct", "b": "6M", "field_order": "tt" if top_first else "bb"}
        for i in range(len(pictures) // 2):
            frame = pictures[2 * i].copy()
            first, second = (0, 1) if top_first else (1, 0)
            frame[first::2], frame[second::2] = pictures[2 * i][first::2], pictures[2 * i + 1][second::2]
            made = av.VideoFrame.from_ndarray(frame, format="rgb24")
            out.mux(stream.encode(made))
        out.mux(stream.encode(None))
    return path


def distance(a, b):
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("name", ["a.mpg", "a.mkv", "a.ts"])
def test_a_frame_shows_one_moment_and_none_is_lost(tmp_path, name):
    pictures = moments(24, 3)
    video = open_video(woven(tmp_path / name, pictures))
    assert any("deinterlaced" in note for note in video.notes)
    frames = list(video.frames())
    assert [frame.number for frame in frames] == list(range(12))
    assert np.allclose([frame.seconds for frame in frames], np.arange(12) / 25, atol=1e-3)
    with av.open(str(tmp_path / name)) as container:
        stored = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for i in range(1, 11):  # bwdif keeps the field that comes first, whichever the file says that is
        near = min(distance(frames[i].rgb, pictures[2 * i]), distance(frames[i].rgb, pictures[2 * i + 1]))
        combed = min(distance(stored[i], pictures[2 * i]), distance(stored[i], pictures[2 * i + 1]))
        assert near < 0.5 * combed, (i, near, combed)


def test_going_on_gives_the_same_frames(tmp_path):
    video = open_video(woven(tmp_path / "a.mkv", moments(48, 3)))
    whole = list(video.frames())
    for number in (0, 5, 6, 13, 22):
        rest = list(video.frames(after=Place(number, whole[number].seconds)))
        assert [frame.number for frame in rest] == list(range(number + 1, 24))
        assert all((a.rgb == b.rgb).all() for a, b in zip(rest, whole[number + 1 :], strict=True)), number


def test_progressive_frames_pass_unchanged(tmp_path):
    from ccd_cli.media.video.fields import deinterlaced

    def frames():
        for i, picture in enumerate(moments(4, 3)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = 2 * i, Fraction(1, 50)
            yield frame

    for given, found in zip(frames(), deinterlaced(frames()), strict=True):
        assert given.pts == found.pts
        assert (given.to_ndarray() == found.to_ndarray()).all()
