"""One pseudo-label as a 16-bit PNG, and the sidecar that says what the PNGs of a sample mean.

`docs/labels.md` describes the format for readers in other languages; the models here are what ccd writes and accepts.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, FiniteFloat, SerializerFunctionWrapHandler, model_serializer, model_validator

from ccd_cli.config.common import Fraction, Section
from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.kinds import Kind
from ccd_cli.media.formats import ALL_READABLE
from ccd_cli.media.map_write import TOP, decode16, encode16
from ccd_cli.media.photos import decode_photo

Format = Literal["ccd-labels/1", "ccd-labels/2"]
Encoding = Literal["linear", "inverse"]
OLD_FORMAT: Final = "ccd-labels/1"
"""The version before, which is read: every label in it is linear, so that one far pixel costs near depth its detail."""
FORMAT: Final = "ccd-labels/2"
"""The version that is written."""
INFINITE = 1
"""Code of infinite depth (sky) in an inverse label."""
MAX_IMAGE_BYTES = 1_000_000_000
"""Size of the largest image file that is labeled."""
MEMBER = re.compile(
    rf"(\d{{9}})\.(json|t\d{{1,3}}\.c\d{{1,3}}\.png|(?:{'|'.join(s[1:] for s in sorted(ALL_READABLE))}))"
)
"""Names that a shard may hold: KEY.json, KEY.<image suffix>, KEY.t<teacher>.c<crop>.png."""
_ZLIB = 3  # level 6 is 2 % smaller and takes several times as long

FloatMap = NDArray[np.float32]
Natural = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Box = tuple[Natural, Natural, Annotated[int, Field(ge=1)]]


class Filled(Section):
    """How the holes of ground truth were filled in one crop."""

    filled: Fraction
    """Fraction of the crop's pixels that were not measured and have a value of the fitted network."""
    error: float | None = None
    """Median of |fitted / measured - 1| over the measured pixels; null where there was no fit."""
    refused: bool
    """Whether no fit was accepted, so that the crop is as it was measured."""


class _WithFill(Section):
    """What says nothing of `fill` where no network fills ground truth, as before there was any."""

    @model_serializer(mode="wrap")
    def _without_fill(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        if values.get("fill") is None:
            values.pop("fill", None)
        return values


class Crop(_WithFill):
    """One label: the crop that was labeled, and how its PNG becomes values."""

    file: Annotated[str, Field(pattern=r"^\d{9}\.t\d{1,3}\.c\d{1,3}\.png$")]
    """Member of the shard: 16-bit gray; code 0 is invalid."""
    box: Box
    """(top, left, side) in pixels of the upright image (EXIF rotation applied)."""
    scale: float
    """What one step of the code adds to the encoded quantity, which is code * scale + offset."""
    offset: float
    """What code 0 would stand for, were it valid."""
    valid: Fraction
    """Fraction of pixels with a value."""
    saturated: Fraction
    """Fraction of the valid pixels on a plateau at the label's exact minimum or maximum."""
    flat: bool
    """Whether the label has no relief: its order is noise."""
    fill: Filled | None = None
    """How its holes were filled; only for ground truth with a network that fills them."""


class TeacherLabels(_WithFill):
    """All labels of one teacher for one image: the shared region's first, then its patches'."""

    teacher: str
    """Catalog name, run folder or file, or `ground-truth`."""
    kind: Kind
    """What the values mean."""
    direction: str
    """Where larger values lie."""
    unit: str
    """What one unit is."""
    checkpoint_sha256: str
    """Hash of the weights (of the whole folder for multi-file models); of ground truth that of `fill`, else empty."""
    license: str
    """License of the weights."""
    resolution: int | None
    """Input resolution of the network (side, px), before rounding to its multiple; null: the label's own size."""
    precision: str
    """Floating-point precision of the network, with the software that ran it in brackets where that is not torch."""
    batch: int
    """Crops per forward pass."""
    encoding: Encoding = "linear"
    """What the codes count: the value itself (linear), or 1 / value with code 1 for infinite depth (inverse)."""
    fill: str | None = None
    """Name of the network that fills the holes of ground truth; `license` to `batch` are its own. Only where there is one."""
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

    format: Format
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

    @model_validator(mode="after")
    def _encoded_by_its_version(self) -> Self:
        for labels in self.labels:
            if labels.encoding != ("linear" if self.format == OLD_FORMAT else encoding_of(labels.kind)):
                raise ValueError(f"labels of {labels.kind} are not {labels.encoding} in {self.format}")
        return self


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

    format: Format
    """Version of the format."""
    name: str
    """Name of the recipe."""
    size: Annotated[int, Field(ge=1, le=4096)]
    """Side of every label in pixels."""
    crops: Annotated[int, Field(ge=1)]
    """Labels per image and teacher: the shared region and its patches."""
    teachers: list[dict[str, str | int | FiniteFloat | None]]
    """Name, kind, license and weights of each teacher, in the order of the labels. With `fill`, over all crops in the shards:
    `filled`, the mean fraction, and `refused`, the number of crops without an accepted fit."""
    license: str
    """The strictest license among the teachers."""
    samples: Natural
    """Samples in all shards: an image has one for each epoch."""
    images: Natural | None = None
    """Different images among the samples; null in version 1."""
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
    quality_sha256: Sha256 | None = None
    """Hash of `quality.jsonl`; null in version 1."""
    checksum: Sha256 | None = None
    """Hash of this index with `checksum` null; null in version 1."""

    def checked(self) -> Self:
        """Return the index with its checksum."""
        return self.model_copy(update={"checksum": self.expected_checksum})

    @property
    def expected_checksum(self) -> str:
        """Return the checksum that fits the other keys."""
        return hashlib.sha256(to_json(self.model_copy(update={"checksum": None}))).hexdigest()


def encoding_of(kind: Kind) -> Encoding:
    """Return how labels of a kind are encoded: depth as 1 / depth, in which students learn; the rest as it is.

    Affine-invariant depth has no disparity before it is fitted to another teacher's depth.
    """
    return "inverse" if kind in ("depth", "metric") else "linear"


def old_format_note(index: Index) -> str:
    """Return what is to be said of labels of version 1 whose depth may have lost detail, or an empty string."""
    kinds = {str(teacher.get("kind")) for teacher in index.teachers}
    if index.format != OLD_FORMAT or not kinds & {"depth", "metric"}:
        return ""
    return (
        f"these labels are {OLD_FORMAT}, which stores depth linearly: near detail is coarse where something is far, and sky "
        "has no value. Label the images again with --overwrite or another --out."
    )


def encode_label(values: FloatMap, kind: Kind) -> tuple[bytes, float, float]:
    """Return (PNG bytes, scale, offset) for a label float32 [S, S] of `kind`, encoded as `encoding_of` says.

    The codes span the label's own minimum..maximum, of 1 / value for depth and metric: there the error is at most half of
    `scale`. What has no value gets code 0: what is not finite, and of depth what `losses.disparity.to_disparity` leaves out.
    Infinite depth gets code INFINITE and does not stretch the range.
    """
    if encoding_of(kind) == "linear":
        codes, scale, offset = encode16(values, None, kind)
    else:
        codes, scale, offset = _encode_inverse(values, kind)
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, format="PNG", compress_level=_ZLIB)
    return buffer.getvalue(), scale, offset


def _encode_inverse(values: FloatMap, kind: Kind) -> tuple[NDArray[np.uint16], float, float]:
    """Return (codes uint16 [S, S], scale, offset) with 1 / depth = code * scale + offset from code INFINITE + 1 on."""
    import torch  # seconds, and whoever only reads labels or checks a folder of them needs none

    from ccd_cli.losses.disparity import to_disparity

    disparity, valid = (one[0].numpy() for one in to_disparity(torch.from_numpy(values)[None], kind))
    finite = valid & (disparity > 0)
    codes = np.where(valid, np.uint16(INFINITE), np.uint16(0))
    if not finite.any():
        return codes, 1.0, 0.0
    first = INFINITE + 1
    known = disparity[finite].astype(np.float64)
    low, high = float(known.min()), float(known.max())
    scale = (high - low) / (TOP - first) or low
    offset = low - first * scale
    codes[finite] = np.clip(np.rint((known - offset) / scale), first, TOP).astype(np.uint16)
    return codes, scale, offset


def decode_label(
    data: bytes, scale: float, offset: float, size: int, name: str, encoding: Encoding = "linear"
) -> tuple[FloatMap, NDArray[np.bool_]]:
    """Return (values float32 [size, size], NaN where invalid and infinite for sky; valid bool) of a label's PNG.

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
    if encoding == "linear":
        return decode16(codes, scale, offset)
    disparity = codes.astype(np.float64) * scale + offset
    finite = (codes > INFINITE) & (disparity > 0)
    values = np.divide(1.0, disparity, out=np.full(codes.shape, np.nan), where=finite)
    values[codes == INFINITE] = np.inf
    return values.astype(np.float32), finite | (codes == INFINITE)


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Return uint8 RGB [H, W, 3] of an image file's bytes, equal to `photos.read_photo` of the file; raises ImageError."""
    return decode_photo(data, name)


def label_name(key: str, teacher: int, crop: int) -> str:
    """Return the member that holds a teacher's label of a crop (0: the shared region)."""
    return f"{key}.t{teacher}.c{crop}.png"


def to_json(value: Section) -> bytes:
    """Return a sidecar or an index as one line of JSON, its keys in their order."""
    return (json.dumps(value.model_dump(mode="json"), separators=(",", ":"), allow_nan=False) + "\n").encode()
