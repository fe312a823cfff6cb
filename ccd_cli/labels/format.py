"""One pseudo-label as a 16-bit PNG, and the sidecar that says what the PNGs of a sample mean.

`docs/labels.md` describes the format for readers in other languages; the models here are what ccd writes and accepts.
"""

from __future__ import annotations

import io
import json
import re
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from ccd_cli.config.common import Fraction, Section
from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.kinds import Kind
from ccd_cli.media.formats import ALL_READABLE
from ccd_cli.media.map_write import decode16, encode16
from ccd_cli.media.photos import decode_photo

FORMAT: Final = "ccd-labels/1"
MEMBER = re.compile(
    rf"(\d{{9}})\.(json|t\d{{1,3}}\.c\d{{1,3}}\.png|(?:{'|'.join(s[1:] for s in sorted(ALL_READABLE))}))"
)
"""Names that a shard may hold: KEY.json, KEY.<image suffix>, KEY.t<teacher>.c<crop>.png."""
_ZLIB = 3  # level 6 is 2 % smaller and takes several times as long

FloatMap = NDArray[np.float32]
Natural = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Box = tuple[Natural, Natural, Annotated[int, Field(ge=1)]]


class Crop(Section):
    """One label: the crop that was labeled, and how its PNG becomes values."""

    file: Annotated[str, Field(pattern=r"^\d{9}\.t\d{1,3}\.c\d{1,3}\.png$")]
    """Member of the shard: 16-bit gray, code 0 invalid, else value = code * scale + offset."""
    box: Box
    """(top, left, side) in pixels of the upright image (EXIF rotation applied)."""
    scale: float
    """Value of one step of the code."""
    offset: float
    """Value of code 0, were it valid."""
    valid: Fraction
    """Fraction of pixels with a value."""
    saturated: Fraction
    """Fraction of the valid pixels on a plateau at the label's exact minimum or maximum."""
    flat: bool
    """Whether the label has no relief: its order is noise."""


class TeacherLabels(Section):
    """All labels of one teacher for one image: the shared region's first, then its patches'."""

    teacher: str
    """Catalog name, run folder or file."""
    kind: Kind
    """What the values mean."""
    direction: str
    """Where larger values lie."""
    unit: str
    """What one unit is."""
    checkpoint_sha256: str
    """Hash of the weights (of the whole folder for multi-file models)."""
    license: str
    """License of the weights."""
    resolution: int | None
    """Input resolution of the network (side, px), before rounding to its multiple; null: the label's own size."""
    precision: str
    """Floating-point precision of the network."""
    batch: int
    """Crops per forward pass."""
    crops: Annotated[list[Crop], Field(min_length=1)]
    """The shared region, then its patches."""


class PhotoFacts(Section):
    """The image that was labeled."""

    path: str
    """Where it was found, as the recipe lists it."""
    sha256: Sha256
    """Hash of the file."""
    bytes: Natural
    """Size of the file."""
    height: Annotated[int, Field(ge=1)]
    """Rows of the upright image."""
    width: Annotated[int, Field(ge=1)]
    """Columns of the upright image."""
    file: str | None
    """Member of the shard with the file's own bytes; null where the shard holds paths only."""


class Quality(Section):
    """How far the teachers agree on this image; null where fewer than two can be compared."""

    disagreement: float | None
    """Mean |difference| of disparity, each map at median 0 and mean absolute deviation 1; mean over pairs and crops."""
    agreement: float | None
    """exp(-disagreement): 1 where the teachers are equal up to scale and shift."""


class Sidecar(Section):
    """`KEY.json`: everything about one sample."""

    format: Literal["ccd-labels/1"]
    """Version of this format."""
    key: Annotated[str, Field(pattern=r"^\d{9}$")]
    """Name of the sample: its position with nine digits."""
    position: Natural
    """Index in the seeded sequence of images that a distillation run with the same seed and crops sees."""
    epoch: Natural
    """Epoch that the position lies in."""
    size: Annotated[int, Field(ge=1, le=4096)]
    """Side of every label in pixels."""
    photo: PhotoFacts
    """The image."""
    labels: Annotated[list[TeacherLabels], Field(min_length=1)]
    """One entry per teacher, in the recipe's order; all have the same boxes."""
    quality: Quality
    """Agreement of the teachers."""
    recipe_sha256: Sha256
    """Hash of the resolved recipe."""
    ccd: str
    """Version of ccd."""


class ShardFacts(Section):
    """One line of the index."""

    file: Annotated[str, Field(pattern=r"^shard-\d{6}\.tar$")]
    """Name in the folder."""
    samples: Natural
    """Images in it."""
    bytes: Natural
    """Size of the file."""
    sha256: Sha256
    """Hash of the file."""


class Index(Section):
    """`index.json`, written last: its presence says that the folder is finished."""

    format: Literal["ccd-labels/1"]
    """Version of the format."""
    name: str
    """Name of the recipe."""
    size: Annotated[int, Field(ge=1, le=4096)]
    """Side of every label in pixels."""
    crops: Annotated[int, Field(ge=1)]
    """Labels per image and teacher: the shared region and its patches."""
    teachers: list[dict[str, Any]]
    """Name, kind, license and weights of each teacher, in the order of the labels."""
    license: str
    """The strictest license among the teachers."""
    samples: Natural
    """Images in all shards."""
    dropped: Natural
    """Images dropped by the recipe's rules; `quality.jsonl` names them."""
    skipped: Natural
    """Images that cannot be read; `skipped.jsonl` names them."""
    shards: list[ShardFacts]
    """The shards, in order."""
    recipe_sha256: Sha256
    """Hash of the resolved recipe."""
    ccd: str
    """Version of ccd."""


def encode_label(values: FloatMap, kind: Kind) -> tuple[bytes, float, float]:
    """Return (PNG bytes, scale, offset) for a label float32 [S, S] of `kind`; what is not finite gets code 0.

    Codes 1..65535 span the label's own minimum..maximum, or count millimeters for `metric` (see `media.map_write.encode16`):
    the error is at most half of `scale`.
    """
    codes, scale, offset = encode16(values, None, kind)
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, format="PNG", compress_level=_ZLIB)
    return buffer.getvalue(), scale, offset


def decode_label(data: bytes, scale: float, offset: float, size: int, name: str) -> tuple[FloatMap, NDArray[np.bool_]]:
    """Return (values float32 [size, size] with NaN where invalid, valid bool) of a label's PNG.

    Raises CcdError for anything but a 16-bit gray PNG of that size, before its pixels are decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (size, size) or image.mode not in ("I;16", "I;16B", "I"):
                raise CcdError(f"{name} is no 16-bit label of {size}x{size} pixels.", "The shard is damaged.")
            codes = np.asarray(image).astype(np.uint16)
    except CcdError:
        raise
    except Exception as error:  # a decoder may raise anything for a damaged file
        raise CcdError(f"{name} cannot be decoded ({type(error).__name__}).", "The shard is damaged.") from error
    return decode16(codes, scale, offset)


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Return uint8 RGB [H, W, 3] of an image file's bytes, equal to `photos.read_photo` of the file; raises ImageError."""
    return decode_photo(data, name)


def label_name(key: str, teacher: int, crop: int) -> str:
    """Return the member that holds a teacher's label of a crop (0: the shared region)."""
    return f"{key}.t{teacher}.c{crop}.png"


def to_json(value: Section) -> bytes:
    """Return a sidecar or an index as one line of JSON, its keys in their order."""
    return (json.dumps(value.model_dump(mode="json"), separators=(",", ":"), allow_nan=False) + "\n").encode()
