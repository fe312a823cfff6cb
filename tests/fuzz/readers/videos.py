"""Videos in the containers that cameras, phones and editors write."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import saved

_CODECS = {
    "a.mp4": ("mp4", "mpeg4", "yuv420p"),
    "b.mov": ("mov", "mjpeg", "yuvj420p"),
    "c.mkv": ("matroska", "ffv1", "yuv420p"),
    "d.avi": ("avi", "mpeg4", "yuv420p"),
    "e.ts": ("mpegts", "mpeg2video", "yuv420p"),
    "f.y4m": ("yuv4mpegpipe", "wrapped_avframe", "yuv420p"),
}


def video_readers() -> list[Reader]:
    """Return the reader of videos: what a video is, then its frames, all of them and after a seek."""
    from ccd_cli.media.video.read import open_video

    def read(place: Path, name: str) -> None:
        video = open_video(place / name)
        assert video.width > 0 and video.height > 0 and video.rate > 0 and video.duration >= 0 and video.frame_count > 0
        for span in ((0.0, None, 1), (0.1, 0.3, 2)):
            try:
                frames = video.frames(*span)
            except Exception:
                if span[0] == 0.0:
                    raise
                continue
            for number, frame in enumerate(frames):
                assert frame.rgb.shape == (video.height, video.width, 3) and frame.seconds >= 0
                if number > 40:
                    break

    files = {name: _video(*codec) for name, codec in _CODECS.items()}
    pictures = [Image.fromarray(picture) for picture in _pictures()]
    files["g.gif"] = saved(lambda b: pictures[0].save(b, "GIF", save_all=True, append_images=pictures[1:], duration=90))
    return [Reader("videos", read, files, dict.fromkeys(files, "bytes"), weight=6)]


def _pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.clip(rng.integers(0, 9, (32, 48, 3)) + 20 * i, 0, 255).astype(np.uint8) for i in range(8)]


def _video(form: str, codec: str, pixels: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 48, 32, pixels
        stream.codec_context.sample_aspect_ratio = Fraction(1, 1)
        for picture in _pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
