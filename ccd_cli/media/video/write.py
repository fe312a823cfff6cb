"""Write a clip's pictures as they come: color as H.264 mp4, 16-bit codes and masks as lossless FFV1 mkv, in constant memory.

A clip is written as finished segments of a fixed number of frames in a folder of parts, each with a small JSON record that
is written last; `finish` joins them by copying packets. A stop at any moment loses only the segment in work, and what
is joined is the same, packet for packet, as if nothing had stopped. The final files are either whole or absent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import av
import av.error
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import atomic_write, disk_error, write_json
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.core.parse import parse_json
from ccd_cli.media.video.read import Place

SEGMENT = 240  # frames: what a stop loses at most
_LAYOUT = 2
# No B-frames: packets then lie in the order of display, and segments join without touching their timestamps.
_H264 = {"crf": "18", "preset": "fast", "bf": "0", "g": "60", "rc-lookahead": "15"}
_THREADS = 4  # fixed, as what x264 writes depends on it: a clip goes on alike on another machine
_FFV1 = {"level": "3", "slicecrc": "1", "slices": "4", "g": "1"}
_LOSSLESS = {"codes": ("gray16le", np.uint16), "mask": ("gray", np.uint8)}
"""Contents of an .mkv: pixel format, and type of what is written."""


@dataclass(frozen=True)
class Track:
    """One file of a clip: `color` takes uint8 RGB [H, W, 3] for an .mp4, `codes` uint16 and `mask` uint8 [H, W] for an .mkv.

    H.264 that every player shows (yuv420p) has even sides: an odd width or height is padded by one repeated edge pixel.
    The others keep their exact size and values.
    """

    path: Path
    content: Literal["color", "codes", "mask"]
    width: int
    height: int


class ClipWriter:
    """Writes the tracks of one clip; use it as a context, `add` every frame, then `finish` and `discard`.

    `parts` is the folder for unfinished work (by `parts_folder`), `rate` the output's average frames a second,
    `time_base` the source's tick in seconds, `settings` a fingerprint of all that shapes the pictures: parts that other
    settings made are thrown away, with `fresh` all. After construction `place` is the last frame that is safely on disk
    (None at the start) and `state` what was given with it: read on with `Video.frames(..., after=writer.place)`.
    """

    def __init__(
        self,
        parts: Path,
        tracks: Mapping[str, Track],
        *,
        rate: Fraction,
        time_base: Fraction,
        settings: str,
        segment: int = SEGMENT,
        fresh: bool = False,
    ) -> None:
        self.parts, self.tracks, self.rate, self.segment = parts, dict(tracks), rate, segment
        self._base = time_base
        self._open: dict[str, _Segment] = {}
        self._notes: list[Any] = []
        self.place: Place | None = None
        self.state: Any = None
        self._origin: float | None = None
        self._tick = -1
        head = {
            "layout": _LAYOUT,
            "settings": settings,
            "segment": segment,
            "time_base": str(time_base),
            "tracks": {name: [t.path.name, t.content, t.width, t.height] for name, t in tracks.items()},
        }
        with _plain_errors(parts):
            parts.mkdir(parents=True, exist_ok=True)
        self._lock = ExitStack()
        self._lock.enter_context(exclusive_lock(parts, "Another run is at work on this in the same folder."))
        if fresh or _read(parts / "clip.json") != head:
            for path in parts.iterdir():
                path.unlink(missing_ok=True)
            write_json(parts / "clip.json", head)
        self._done, last = self._finished()
        if last is not None:
            self.place, self.state = Place(last["number"], last["seconds"]), last["state"]
            self._origin, self._tick = last["origin"], last["tick"]
        self._now = self.place

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self._open.values():
            part.abandon()
        self._open = {}
        self._lock.close()

    def add(
        self,
        number: int,
        seconds: float,
        pictures: Mapping[str, NDArray[Any]],
        *,
        note: Any = None,
        state: Callable[[], Any] = lambda: None,
    ) -> None:
        """Write the next frame of every track.

        `number` and `seconds` are the source frame's; `note` is JSON kept for each frame (its scale and shift), `state` gives
        the JSON that a later run needs to go on behind this frame, and is asked at the end of a segment. Raises CcdError on
        a full disk and for a picture of another size or type than its track's.
        """
        if self._origin is None:
            self._origin = seconds
        self._tick = max(self._tick + 1, round((seconds - self._origin) / self._base))
        for name, track in self.tracks.items():
            if name not in self._open:
                self._open[name] = _Segment(self._part(self._done, name), track, self.rate, self._base)
            self._open[name].write(pictures[name], self._tick)
        self._now = Place(number, seconds)
        self._notes.append(note)
        if len(self._notes) == self.segment:
            self._commit(state())

    def finish(self, state: Callable[[], Any] = lambda: None) -> list[Any]:
        """Complete the segments, join them into the final files and return the note of every frame in order; see `complete`."""
        notes = self.complete(state)
        self.join()
        return notes

    def join(self) -> None:
        """Join the segments into the final files. Raises CcdError on a full disk."""
        for name, track in self.tracks.items():
            self._join(name, track)

    def complete(self, state: Callable[[], Any] = lambda: None) -> list[Any]:
        """Complete the last segment and return the note of every frame in order.

        `state` is kept with it, and the parts stay until `discard`: a stop from here on, too, costs no frame. Raises CcdError on
        a full disk, and for a clip without frames.
        """
        if self._notes:
            self._commit(state())
        if not self._done:
            raise CcdError(f"{self.parts}: no frame was written.")
        return [note for i in range(self._done) for note in _read(self._record(i))["notes"]]

    def discard(self) -> None:
        """Remove the parts: the clip is finished, or not wanted."""
        for part in self._open.values():
            part.abandon()
        self._open = {}
        shutil.rmtree(self.parts, ignore_errors=True)

    def _part(self, number: int, name: str) -> Path:
        return self.parts / f"{number:05d}.{name}.nut"

    def _record(self, number: int) -> Path:
        return self.parts / f"{number:05d}.json"

    def _commit(self, state: Any) -> None:
        """Close the segment in work; its record, written last, makes it count."""
        for part in self._open.values():
            part.close()
        self._open = {}
        assert self._now is not None
        record = {
            "number": self._now.number,
            "seconds": self._now.seconds,
            "origin": self._origin,
            "tick": self._tick,
            "notes": self._notes,
            "state": state,
        }
        write_json(self._record(self._done), record)
        self._done += 1
        self.place, self.state, self._notes = self._now, state, []

    def _finished(self) -> tuple[int, Any]:
        """Return the number of finished segments and the last one's record; remove what a stop left behind them."""
        kept, last, done = {"clip.json"}, None, 0
        while (record := _read(self._record(done))) is not None:
            files = [self._part(done, name) for name in self.tracks]
            if not all(path.is_file() for path in files):
                break
            kept |= {self._record(done).name} | {path.name for path in files}
            last, done = record, done + 1
        for path in self.parts.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)
        return done, last

    def _join(self, name: str, track: Track) -> None:
        """Copy the packets of all segments into the final file."""
        form = "mp4" if track.content == "color" else "matroska"
        with (
            atomic_write(track.path) as temporary,
            _plain_errors(track.path),
            av.open(str(temporary), "w", format=form, options={"fflags": "+bitexact"}) as out,  # no random ids
        ):
            stream: VideoStream | None = None
            for number in range(self._done):
                with av.open(str(self._part(number, name))) as source:
                    given = source.streams.video[0]
                    if stream is None:
                        stream = out.add_stream_from_template(given)
                        stream.codec_context.framerate = self.rate
                    for packet in source.demux(given):
                        if packet.size > 0:
                            packet.stream = stream
                            out.mux(packet)


class _Segment:
    """One segment of one track while it is being written; `close` gives it its final name."""

    def __init__(self, path: Path, track: Track, rate: Fraction, base: Fraction) -> None:
        self.path, self.track, self.base = path, track, base
        self.temporary = path.with_suffix(".unfinished")
        self.color = track.content == "color"
        self.stored, self.type = ("yuv420p", np.uint8) if track.content == "color" else _LOSSLESS[track.content]
        with _plain_errors(path):
            self.container: OutputContainer = av.open(str(self.temporary), "w", format="nut")
            self.stream = self.container.add_stream("libx264" if self.color else "ffv1", rate=rate)
        context = self.stream.codec_context
        self.stream.width = track.width + (track.width % 2 if self.color else 0)
        self.stream.height = track.height + (track.height % 2 if self.color else 0)
        self.stream.pix_fmt = self.stored
        self.stream.options = dict(_H264 if self.color else _FFV1)
        context.time_base = base
        context.flags |= Flags.global_header
        context.thread_count = _THREADS
        if self.color:
            context.colorspace, context.color_primaries, context.color_trc = Colorspace.ITU709, 1, 1
            context.color_range = ColorRange.MPEG

    def write(self, picture: NDArray[Any], tick: int) -> None:
        """Encode one picture."""
        shape = (self.track.height, self.track.width) + ((3,) if self.color else ())
        if picture.shape != shape or picture.dtype != self.type:
            raise CcdError(f"{self.track.path}: a frame of {picture.dtype} {picture.shape} does not fit {shape}.")
        if self.color:
            odd = ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0))
            picture = np.pad(picture, odd, mode="edge") if shape[0] % 2 or shape[1] % 2 else picture
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format=self.stored, dst_colorspace=Colorspace.ITU709)
        else:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=self.stored)
        frame.pts, frame.time_base = tick, self.base
        with _plain_errors(self.path):
            self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Flush the encoder and the disk, then rename."""
        with _plain_errors(self.path):
            self.container.mux(self.stream.encode(None))
            self.container.close()
            with self.temporary.open("rb+") as file:
                os.fsync(file.fileno())
            self.temporary.replace(self.path)

    def abandon(self) -> None:
        """Drop the segment; nothing that fails here matters any more."""
        with suppress(av.error.FFmpegError, OSError):
            self.container.close()
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)


def parts_folder(final: Path) -> Path:
    """Return where the unfinished work of the clip whose sidecar or first file is `final` lies: hidden, beside it."""
    return final.parent / f".{final.name}.parts"


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Turn what ffmpeg and the system say into one plain line."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error
    except av.error.FFmpegError as error:
        raise CcdError(f"{path}: cannot be written ({error.strerror or error}).") from error


def _read(path: Path) -> Any:
    """Return a JSON file's content; None where it is absent or damaged."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
