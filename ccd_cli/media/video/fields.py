"""Interlaced frames hold two moments, one in the even rows and one in the odd ones; here they become frames of one moment.

The filter is ffmpeg's bwdif (Bob Weaver, after w3fdif and yadif): the earlier field stays as it is, and the other rows are
interpolated in space and time. A frame in gives a frame out, with its time; frames that are not marked interlaced are left.
"""

from __future__ import annotations

from collections.abc import Iterator

from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

OPTIONS = "mode=send_frame:parity=auto:deint=interlaced"


def deinterlaced(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Yield as many frames as come in, those that are marked interlaced made progressive.

    The filter looks one frame back and one ahead, so a frame does not depend on where decoding began, if at least one frame
    before it was decoded too.
    """
    passing: _Filter | None = None
    for frame in frames:
        if passing is not None and not passing.takes(frame):
            yield from passing.end()
            passing = None
        if passing is None and frame.interlaced_frame:
            passing = _Filter(frame)
        if passing is None:
            yield frame
        else:
            yield from passing.push(frame)
    if passing is not None:
        yield from passing.end()


class _Filter:
    """A filter graph for frames of one size and pixel format; its output's times are in the input's time base."""

    def __init__(self, frame: VideoFrame) -> None:
        self.form = _form(frame)
        self.time_base = frame.time_base
        self.graph = Graph()
        source = self.graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        chain: list[FilterContext] = [source, self.graph.add("bwdif", OPTIONS), self.graph.add("buffersink")]
        self.graph.link_nodes(*chain).configure()
        self.waiting: list[int | None] = []

    def takes(self, frame: VideoFrame) -> bool:
        return _form(frame) == self.form

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        self.waiting.append(frame.pts)
        self.graph.vpush(frame)
        return self._ready()

    def end(self) -> Iterator[VideoFrame]:
        self.graph.vpush(None)
        return self._ready()

    def _ready(self) -> Iterator[VideoFrame]:
        while True:
            try:
                frame = self.graph.vpull()
            except (BlockingIOError, EOFError):
                return
            frame.pts, frame.time_base = self.waiting.pop(0), self.time_base
            yield frame


def _form(frame: VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
