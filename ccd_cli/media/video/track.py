"""Which track of a file is the film, and how its stored frames become upright pictures with square pixels."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ccd_cli.core.errors import ImageError
from ccd_cli.media import photos
from ccd_cli.media.hdr import HDR, tone_map

_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_LOOKED_AT = 400  # packets after which a track with a single one of them is a picture, not a film
_UNTAGGED = 2  # AVCOL_SPC_UNSPECIFIED, AVCOL_TRC_UNSPECIFIED: the color matrix then by the size, as players do
_EXTREME = 16  # to 1: no camera, disc or encoder has pixels that far from square
_SQUARE = 0.005  # encoders that round sides to blocks state pixels this little off: left as they are


@dataclass(frozen=True)
class Geometry:
    """How stored frames become what a player shows: resampled to square pixels, then transposed and mirrored.

    `width`, `height` of the stored frames, `pixel_aspect` their pixels' width / height. Afterwards rows and columns are
    exchanged if `transposed`, and then `upside_down` reverses rows, `mirrored` columns: with these three, all eight
    orientations of a display matrix.
    """

    width: int
    height: int
    pixel_aspect: Fraction = Fraction(1)
    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    @property
    def resampled(self) -> bool:
        """Whether pixels are not square, so that frames change their shape."""
        return abs(self.pixel_aspect - 1) > _SQUARE

    @property
    def square(self) -> tuple[int, int]:
        """Width and height with square pixels, before turning: the shorter axis is stretched, so that no pixel is lost."""
        if not self.resampled:
            return self.width, self.height
        if self.pixel_aspect > 1:
            return round(self.width * self.pixel_aspect), self.height
        return self.width, round(self.height / self.pixel_aspect)

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        width, height = self.square
        return (height, width) if self.transposed else (width, height)

    def upright(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return a decoded frame as a player shows it, uint8 RGB [H, W, 3]; HDR is tone-mapped to standard range."""
        width, height = self.square
        untagged = frame.colorspace == _UNTAGGED
        space = (Colorspace.ITU709 if self.height >= 720 else Colorspace.ITU601) if untagged else None
        transfer = int(frame.color_trc)
        shown = frame.reformat(
            width=width,
            height=height,
            format="rgb48le" if transfer in HDR else "rgb24",
            src_colorspace=space,
            interpolation=Interpolation.BICUBIC if self.resampled else None,
        )
        rgb: Any = shown.to_ndarray()
        rgb = tone_map(rgb, transfer) if transfer in HDR else rgb
        rgb = rgb.transpose(1, 0, 2) if self.transposed else rgb
        return np.ascontiguousarray(rgb[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1])

    def facts(self) -> dict[str, Any]:
        """Return what the sidecar says of the stored frames."""
        return {
            "width": self.width,
            "height": self.height,
            "pixel_aspect": str(self.pixel_aspect),
            "resampled_to_square_pixels": self.resampled,
            "transposed": self.transposed,
            "upside_down": self.upside_down,
            "mirrored": self.mirrored,
        }


def geometry_of(path: Path, stream: VideoStream, frame: VideoFrame) -> Geometry:
    """Return the geometry of a track by its first frame.

    Raises ImageError for pixels beyond 16:1, and where square ones would make a picture of over 250 megapixels.
    """
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    aspect = Fraction(aspect) if aspect and aspect > 0 else Fraction(1)
    if not 1 / _EXTREME <= aspect <= _EXTREME:
        raise ImageError(
            f"{path}: its pixels are stated as {aspect.numerator}:{aspect.denominator}, which no video has",
            "Set the right shape: ffmpeg -i FILE -c copy -aspect 16:9 OUT",
        )
    made = Geometry(frame.width, frame.height, aspect, *_orientation(frame))
    width, height = made.square
    if width * height > photos.MAX_PIXELS:
        raise ImageError(
            f"{path}: its pixels are stated as {aspect.numerator}:{aspect.denominator}, which makes it {width}x{height}, "
            f"over {photos.MAX_PIXELS // 1_000_000} megapixels"
        )
    return made


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Return (transposed, upside_down, mirrored) from the frame's display matrix, to the nearest quarter turn.

    The matrix (a b u; c d v; x y w) shows the stored axis "right" along (a, b) and "down" along (c, d).
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), "=i4")[:5].astype(float)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, bool(d < 0), bool(a < 0)
    return True, bool(b < 0), bool(c < 0)


def choose_track(path: Path, container: InputContainer) -> tuple[int, str | None]:
    """Return the index among the video tracks of the film, and a note where there are several films.

    The film is the track with the most pixels, of several the default one or the first. Attached pictures, thumbnails
    and tracks of a single picture are none. May read on in `container`. Raises ImageError where no track is a film.
    """
    tracks = list(container.streams.video)
    films = [track for track in tracks if not track.disposition & _STILLS]
    if not films:
        raise ImageError(f"{path}: holds {'only a still picture' if tracks else 'no video'}")
    if len(films) > 1:
        count: Counter[int] = Counter()
        with suppress(av.error.FFmpegError):
            for looked, packet in enumerate(container.demux(films)):
                count[packet.stream.index] += packet.size > 0
                if looked >= _LOOKED_AT:
                    break
        films = [track for track in films if count[track.index] > 1] or films
    film = max(films, key=lambda track: (_pixels(track), bool(track.disposition & Disposition.default)))
    index = tracks.index(film)
    if len(films) == 1:
        return index, None
    return index, f"{len(films)} video tracks: track {index + 1} is read, the largest ({film.width}x{film.height})"


def _pixels(track: VideoStream) -> int:
    try:
        return int(track.width * track.height)
    except AttributeError:  # PyAV has no decoder
        return 0
