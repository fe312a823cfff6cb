"""Read videos frame by frame: upright uint8 RGB with timestamps, in constant memory, whatever PyAV decodes.

Time counts in seconds from the video's first frame. Pixels that are not square are resampled to square ones on reading, so
that the shape, the focal length and all that is made of a frame agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ccd_cli.core.errors import ImageError, UsageProblem
from ccd_cli.media import photos
from ccd_cli.media.hdr import HDR
from ccd_cli.media.video_track import Geometry, choose_track, geometry_of

# fmt: off
SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".asf", ".flv",
    ".ogv", ".3gp", ".y4m", ".gif", ".ivf", ".mxf", ".nut",
})
# fmt: on
# Containers that hold a video; ffmpeg would also "decode" text files, playlists that open other files, and still images.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,gif,ivf,mxf,nut,yuv4mpegpipe,"
    "h264,hevc,m4v,obu,av1"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_SEEK_BACK_S = 10
READER = 2
"""Counts up when the same file gives other frames than before, so that results of the earlier ones are not taken for new."""


class Frame(NamedTuple):
    """One frame: its number in the video (from 0), seconds from the video's first frame, and uint8 RGB [H, W, 3]."""

    number: int
    seconds: float
    rgb: NDArray[np.uint8]


class Place(NamedTuple):
    """Where a frame is: its number in the video and its seconds; what an interrupted run keeps to go on behind it."""

    number: int
    seconds: float


class Truncated(NamedTuple):
    """A video that ended early or is damaged: how many frames decoded, and how many there should have been."""

    decoded: int
    expected: int

    def __str__(self) -> str:
        return f"only {self.decoded} of about {self.expected} frames could be decoded; the rest is cut off or damaged"


@dataclass
class Video:
    """What is known about a video before its frames are read. It holds no open file; `frames` opens one.

    `width`, `height`: upright, in pixels. `rate`: average frames a second. `duration`: seconds. `frame_count`: from the
    container, else counted from its packets without decoding. `time_base`: seconds of one tick of its timestamps; `start`:
    the first frame's. `track`: which of the file's video tracks it is, from 0; `geometry` makes stored frames upright.
    `notes` say what was decided in reading it.
    `truncated` is set when an iterator of `frames` has reached the end and frames were missing.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    duration: float
    frame_count: int
    time_base: Fraction
    start: int
    track: int
    geometry: Geometry
    notes: tuple[str, ...] = ()
    truncated: Truncated | None = None

    def frames(
        self, start_s: float = 0.0, end_s: float | None = None, stride: int = 1, after: Place | None = None
    ) -> Iterator[Frame]:
        """Give every `stride`-th frame with start_s <= seconds < end_s, counted from the first one in that span.

        `after` (the place of a frame that an earlier run gave, with the same arguments) goes on with the next one. Both
        seek to the key frame before instead of decoding all. Frames that do not decode are left out; the rest is given,
        and `truncated` tells. Raises UsageProblem for an impossible span, ImageError for one outside the video or a file gone.
        """
        if stride < 1:
            raise UsageProblem(f"--stride {stride}: give 1 or more.")
        if start_s < 0 or (end_s is not None and end_s <= start_s):
            raise UsageProblem(f"--start {start_s:g} --end {end_s}: the end must lie behind the start.")
        if start_s > 0 and start_s >= self.duration:
            raise ImageError(f"{self.path}: --start {start_s:g} lies behind its end ({self.duration:.2f} s)")
        return self._frames(start_s, end_s, stride, after)

    def _frames(self, start_s: float, end_s: float | None, stride: int, after: Place | None) -> Iterator[Frame]:
        self.truncated = None
        half_tick = float(self.time_base) / 2
        from_s = start_s - half_tick if after is None else after.seconds + half_tick
        origin = after.number if after is not None else self._count_before(from_s) if from_s > 0 else 0
        index, expected = origin + (after is not None), self.frame_count
        damage: list[int] = []
        for seconds, frame in self._decoded(from_s if after is None else after.seconds, damage):
            if seconds < from_s:
                continue
            if end_s is not None and seconds >= end_s - half_tick:
                expected = 0
                break
            if (index - origin) % stride == 0:
                yield Frame(index, seconds, self.geometry.upright(frame))
            index += 1
        if damage or (index < expected and _scan(self)[1] < expected):
            self.truncated = Truncated(index, max(expected, index + len(damage)))

    def _decoded(self, from_s: float, damage: list[int]) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (seconds, frame) from a key frame at or before `from_s` on; from the start where seeking fails."""
        for back in (0, _SEEK_BACK_S, None):
            damage.clear()
            with _opened(self.path, self.track) as (container, stream):
                seek = back is not None and from_s - back > 0
                if seek:
                    target = self.start + int((from_s - (back or 0)) / self.time_base)
                    try:
                        container.seek(target, stream=stream, backward=True, any_frame=False)
                    except av.error.FFmpegError:
                        continue
                frames = _timed(_decode(container, stream, damage), self, not seek)
                head = next(frames, None)
                if seek and (head is None or head[0] > from_s + float(self.time_base)):
                    continue
                yield from () if head is None else chain([head], frames)
                return

    def _count_before(self, seconds: float) -> int:
        """Return how many frames lie before `seconds`, from the packets' timestamps, without decoding."""
        count = 0
        with _opened(self.path, self.track) as (container, stream), suppress(av.error.FFmpegError):
            for packet in container.demux(stream):
                if packet.dts is not None and (packet.dts - self.start) * self.time_base >= seconds:
                    break
                if _is_shown(packet) and packet.pts is not None:
                    count += (packet.pts - self.start) * self.time_base < seconds
        return count


def open_video(path: Path) -> Video:
    """Read what a video is and decode its first frame.

    Of several video tracks the largest is the film. Raises ImageError, with the reason, for a file that is missing, empty,
    no video, without a frame that decodes, smaller than 16 pixels or larger than 250 megapixels.
    """
    with _container(path) as container:
        track, several = choose_track(path, container)
    with _opened(path, track) as (container, stream):
        head = next(_decode(container, stream, []), None)
        if head is None:
            raise ImageError(f"{path}: none of its video frames can be decoded")
        geometry = geometry_of(path, stream, head)
        base = stream.time_base or Fraction(1, 90000)
        start = head.pts or 0
        rate = stream.average_rate  # the others guess: 1000 for many mkv files
        seconds = _duration(container, stream, float(start * base))
        count = stream.frames
        notes = tuple(filter(None, (several, *_notes(geometry, head))))
    video = Video(
        path, *geometry.shown, Fraction(rate or 25), seconds or 0.0, count, base, start, track, geometry, notes
    )
    if count <= 0 or not rate or seconds is None:
        shown, packets, last = _scan(video)
        if not rate and shown > 1 and last > 0:
            video.rate = Fraction((shown - 1) / last).limit_denominator(1001)
        reached = last + 1 / float(video.rate)
        tolerance = max(0.5, 3 / float(video.rate))
        start_s = float(start * base)
        if seconds is not None and start_s > tolerance and abs(seconds - start_s - reached) < tolerance:
            seconds = reached  # stated as the time of the end, whatever the beginning is
        if count <= 0:  # a container without a count may still state a length that its packets do not reach
            early = seconds is not None and last + tolerance < seconds
            video.frame_count = max(packets, round(seconds * video.rate)) if early and seconds else packets
        video.duration = reached if seconds is None else seconds
    video.frame_count = max(video.frame_count, 1)
    return video


def _notes(geometry: Geometry, head: VideoFrame) -> Iterator[str]:
    if geometry.resampled:
        aspect, (width, height) = geometry.pixel_aspect, geometry.square
        yield (
            f"pixels are {aspect.numerator}:{aspect.denominator}, not square: frames of {geometry.width}x{geometry.height} "
            f"are resampled to {width}x{height}"
        )
    if int(head.color_trc) in HDR:
        yield f"HDR ({HDR[int(head.color_trc)]}) is tone-mapped to standard range"
    if head.interlaced_frame:
        yield "interlaced: the two fields of a frame are not separated; deinterlace the video first (ffmpeg -vf bwdif)"


@contextmanager
def _container(path: Path) -> Iterator[InputContainer]:
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
def _opened(path: Path, track: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video's film and check its size before any frame is decoded."""
    with _container(path) as container:
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


def _decode(container: InputContainer, stream: VideoStream, damage: list[int]) -> Iterator[VideoFrame]:
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


def _timed(frames: Iterator[VideoFrame], video: Video, from_start: bool) -> Iterator[tuple[float, VideoFrame]]:
    """Give each frame its seconds; a frame without a timestamp follows the one before by the average rate."""
    last = -1 / float(video.rate)
    for frame in frames:
        if frame.pts is None:
            if not from_start and last < 0:
                continue
            last += 1 / float(video.rate)
        else:
            last = float((frame.pts - video.start) * (frame.time_base or video.time_base))
        yield last, frame


def _scan(video: Video) -> tuple[int, int, float]:
    """Return (frames that are shown, all packets, seconds of the last frame) without decoding."""
    shown, found, last = 0, 0, 0.0
    with _opened(video.path, video.track) as (container, stream), suppress(av.error.FFmpegError):
        for packet in container.demux(stream):
            found += packet.size > 0
            shown += _is_shown(packet)
            if packet.pts is not None:
                last = max(last, float((packet.pts - video.start) * video.time_base))
    return shown, found, last


def _is_shown(packet: Packet) -> bool:
    return packet.size > 0 and not packet.is_discard


def _duration(container: InputContainer, stream: VideoStream, start_s: float) -> float | None:
    """Return the seconds from the first frame on as the container states them; None where only others' length is known.

    Matroska states the time of the end, counted from 0, in its header and in the tags that ffmpeg writes; the statistics
    of mkvmerge are lengths. A tag that says more than the header is an earlier file's.
    """
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    matroska = "matroska" in container.format.name
    whole = container.duration / 1e6 if container.duration else None
    tags = {key.upper().split("-")[0]: value for key, value in stream.metadata.items()}
    hours, minutes, seconds = ([*tags.get("DURATION", "").split(":"), "", "", ""])[:3]
    with suppress(ValueError):
        stated = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        if matroska and whole is not None and stated > whole + 0.5:
            stated = whole
        elif "_STATISTICS_TAGS" in tags:
            return stated
        return max(stated - start_s, 0.0) if matroska else stated
    if whole is not None and len(container.streams) == 1:
        return max(whole - start_s, 0.0) if matroska else whole
    return None
