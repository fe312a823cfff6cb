"""Open the file of a video and decode its film: what every reading of one begins with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ccd_cli.core.errors import ImageError
from ccd_cli.media import photos

# Containers that hold a video; ffmpeg would also "decode" text files, playlists that open other files, and still images.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,gif,ivf,mxf,nut,yuv4mpegpipe,"
    "h264,hevc,m4v,obu,av1"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}


@contextmanager
def opened_file(path: Path) -> Iterator[InputContainer]:
    """Open a file of a format that holds video."""
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: empty file")
        container = av.open(f"file:{path}", options=_OPTIONS)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        hint = "If it is one, it was cut off before its index was written (an mp4 that was still being recorded)."
        raise ImageError(f"{path}: not a readable video", hint) from error
    with container:
        yield container


@contextmanager
def opened(path: Path, track: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video's film and check its size before any frame is decoded."""
    with opened_file(path) as container:
        if track >= len(container.streams.video):
            raise ImageError(f"{path}: holds no video")
        stream = container.streams.video[track]
        try:
            width, height = stream.codec_context.width, stream.codec_context.height
        except AttributeError as error:  # no codec context: PyAV has no decoder
            raise ImageError(f"{path}: no decoder for its video format") from error
        if width * height > photos.MAX_PIXELS:
            raise ImageError(f"{path}: {width}x{height} is over {photos.MAX_PIXELS // 1_000_000} megapixels")
        if 0 < min(width, height) < photos.MIN_SIDE:
            raise ImageError(f"{path}: {width}x{height} is under {photos.MIN_SIDE} pixels")
        stream.codec_context.options = {"max_pixels": str(photos.MAX_PIXELS)}  # for later frames
        stream.thread_type = "AUTO"
        yield container, stream


def decoded(container: InputContainer, stream: VideoStream, damage: list[int]) -> Iterator[VideoFrame]:
    """Yield all frames that decode, in the order of display; each damaged packet adds an entry to `damage`."""
    packets, packet = container.demux(stream), None
    while True:
        try:
            packet = next(packets, None)
            frames = stream.decode(None) if packet is None or packet.size == 0 else packet.decode()
        except av.error.FFmpegError:
            damage.append(1)
            if packet is None:
                return
            continue
        for frame in frames:
            if isinstance(frame, VideoFrame) and not frame.is_corrupt:
                yield frame
            else:
                damage.append(1)
        if packet is None or packet.size == 0:  # PyAV's own end mark
            return
