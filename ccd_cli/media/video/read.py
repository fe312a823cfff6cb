"""Read videos frame by frame: upright uint8 RGB with timestamps, in constant memory, whatever PyAV decodes.

Time counts in seconds from the video's first frame. Pixels that are not square are resampled to square ones on reading, so
that the shape, the focal length and all that is made of a frame agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
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
from ccd_cli.media.hdr import HDR
from ccd_cli.media.video.container import decoded, opened, opened_file
from ccd_cli.media.video.fields import deinterlaced
from ccd_cli.media.video.track import Geometry, choose_track, geometry_of

# fmt: off
SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".asf", ".flv",
    ".ogv", ".3gp", ".y4m", ".gif", ".ivf", ".mxf", ".nut",
})
# fmt: on
_SEEK_BACK_S = 10
_ALL_DECODED = 240  # frames: of shorter videos, and where key frames are rare, these many are decoded to sample some
READER = 3
"""Counts up when the same file gives other frames than before, so that results of the earlier ones are not taken for new."""


class Frame(NamedTuple):
    """One frame: its number in the video (from 0), seconds from the video's first frame, and uint8 RGB [H, W, 3].

    `damaged`: how many of the packets before it did not decode.
    """

    number: int
    seconds: float
    rgb: NDArray[np.uint8]
    damaged: int = 0


class Place(NamedTuple):
    """Where a frame is: its number in the video, its seconds, `damaged` packets before; a stopped run keeps it to go on behind."""

    number: int
    seconds: float
    damaged: int = 0


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
        known, again = (
            (0, 0) if after is None else (after.damaged, 0)
        )  # of earlier runs, and seen again from the key frame on
        for seconds, frame in self._decoded(from_s if after is None else after.seconds, damage):
            if seconds < from_s:
                again = 0 if after is None else len(damage)
                continue
            if end_s is not None and seconds >= end_s - half_tick:
                expected = 0
                break
            if (index - origin) % stride == 0:
                yield Frame(index, seconds, self.geometry.upright(frame), known + len(damage) - again)
            index += 1
        lost = known + len(damage) - again
        if lost or (index < expected and _scan(self)[1] < expected):
            self.truncated = Truncated(index, max(expected, index + lost))

    def _decoded(self, from_s: float, damage: list[int]) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (seconds, frame) from a key frame at or before `from_s` on; from the start where seeking fails."""
        for back in (0, _SEEK_BACK_S, None):
            damage.clear()
            with opened(self.path, self.track) as (container, stream):
                seek = back is not None and from_s - back > 0
                if seek:
                    target = self.start + int((from_s - (back or 0)) / self.time_base)
                    try:
                        container.seek(target, stream=stream, backward=True, any_frame=False)
                    except av.error.FFmpegError:
                        continue
                frames = _timed(deinterlaced(decoded(container, stream, damage)), self, not seek)
                head = next(frames, None)
                if seek and (head is None or head[0] > from_s + float(self.time_base)):
                    continue
                yield from () if head is None else chain([head], frames)
                return

    def samples(self, count: int = 12) -> Iterator[NDArray[np.uint8]]:
        """Give about `count` frames [H, W, 3] from all over the video: of a long one the key frames nearest to even times."""
        step = max(1, self.frame_count // count)
        with opened(self.path, self.track) as (container, stream):
            if self.frame_count > _ALL_DECODED and (found := self._key_frames(container, stream, count)):
                yield from map(self.geometry.upright, found)
                return
        with opened(self.path, self.track) as (container, stream):
            frames = islice(decoded(container, stream, []), 0, _ALL_DECODED, min(step, _ALL_DECODED // count))
            yield from map(self.geometry.upright, frames)

    def _key_frames(self, container: InputContainer, stream: VideoStream, count: int) -> list[VideoFrame]:
        """Return frames found by seeking, none twice; an empty list where too few are."""
        found: dict[int | None, VideoFrame] = {}
        for i in range(count):
            with suppress(av.error.FFmpegError):
                target = self.start + int((i + 0.5) / count * self.duration / self.time_base)
                container.seek(target, stream=stream, backward=True, any_frame=False)
                frame = next(decoded(container, stream, []), None)
                if frame is not None:
                    found[frame.pts] = frame
        return list(found.values()) if len(found) > count // 3 else []

    def _count_before(self, seconds: float) -> int:
        """Return how many frames lie before `seconds`, from the packets' timestamps, without decoding."""
        count = 0
        with opened(self.path, self.track) as (container, stream), suppress(av.error.FFmpegError):
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
    with opened_file(path) as container:
        track, several = choose_track(path, container)
    with opened(path, track) as (container, stream):
        head = next(decoded(container, stream, []), None)
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
        yield "interlaced: its frames hold two moments each and are deinterlaced (bwdif, as many frames as before)"


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
    with opened(video.path, video.track) as (container, stream), suppress(av.error.FFmpegError):
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
