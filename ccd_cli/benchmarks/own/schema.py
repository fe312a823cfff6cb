"""What a suite file of a user's own pairs may say: typed keys, unknown ones refused, all problems reported together.

The same file serves `ccd eval --suite FILE` and `eval.pairs` of a recipe (docs/pairs.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from ccd_cli.benchmarks.layouts import LAYOUTS
from ccd_cli.benchmarks.moge.bundle import BUNDLE
from ccd_cli.config.common import Section
from ccd_cli.config.problems import problem_of
from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import RecipeError

Positive = Annotated[float, Field(gt=0)]
Span = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]
RESERVED = frozenset({*LAYOUTS, *BUNDLE, "builtin", "da-2k"})
MAX_GLOB, MAX_STARS = 1000, 16
"""Limits of a glob; longer ones take minutes to compile or to match."""
EXTRAS = ("edges", "planes", "segments")
"""Keys of maps beside the depth, which add scores."""
FEWEST = 4.0
"""Pixels of a focal length: less is no lens, but one over the photo's size."""
_PAIRS, _CLIP = "(pairs)", "(clip)"  # which of the two a set was taken for; no part of a key's path


class Crop(Section):
    """Where pixels are scored; the photo itself stays whole. Half open: `[45, 471]` are rows 45 to 470."""

    rows: Span | None = None
    """First row and the row after the last; default: all."""
    columns: Span | None = None
    """First column and the column after the last; default: all."""

    @model_validator(mode="after")
    def _forward(self) -> Crop:
        for key, span in (("rows", self.rows), ("columns", self.columns)):
            if span is not None and span[0] >= span[1]:
                raise ValueError(f"{key}: the first must be below the second, not {span}")
        return self


class CustomSet(Section):
    """One set of photos with ground truth."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Names the set in results and the folder of predictions."""
    about: str = ""
    """A sentence for tables."""
    root: str = "."
    """Folder of the globs, relative to this file."""
    image: str
    """Glob of the photos below `root`; `**` goes into folders."""
    depth: str
    """Glob of the ground truth below `root`: PNG, TIFF, PFM or EXR of one channel, `.npy`, `.npz`, `.mat`, `.h5`."""
    mask: str | None = None
    """Glob of masks below `root`: pixels that are not 0 are scored."""
    pair: Literal["order", "match"] = "order"
    """`order`: sorted files belong together; `match`: what the wildcards of the globs stand for must be the same text."""
    kind: Literal["depth", "disparity"] = "depth"
    """`depth`: distance along the optical axis; `disparity`: stereo disparity in pixels, scored as depth 1 / disparity of
    unknown scale, or in meters where `baseline` and `focal` are given."""
    scale: Positive = 1.0
    """Meters (disparity: pixels) for one unit of the file, for instance 0.001 for millimeters."""
    divisor: Positive | None = None
    """The other way round, units of the file for one meter (disparity: pixel): 1000 for millimeters, 256 for KITTI."""
    min: Annotated[float, Field(ge=0)] = 1e-3
    """Smallest valid value after scaling; 0, NaN and infinity are never valid."""
    max: Positive = 1e4
    """Largest valid value after scaling."""
    cap: Positive | None = None
    """Largest depth of an aligned prediction, in the unit of the ground truth. Default: the largest ground truth of each image
    after a fit in disparity, `max` after any other."""
    unknown: list[float] = Field(default_factory=list)
    """Values of the file that mean unknown, for instance `[65535]`. Default: 0 and 65535 in whole numbers, 65504, 65535 and what
    is 1e9 or more in others; `[]`: none."""
    baseline: Positive | None = None
    """Distance of the two cameras in meters (disparity)."""
    focal: Positive | None = None
    """Focal length in pixels (disparity); default: the first of `intrinsics`."""
    intrinsics: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    """fx, fy, cx, cy in pixels of the photo, where pixel (0, 0) has its center at (0.5, 0.5)."""
    crop: Crop = Crop()
    """Where pixels are scored."""
    resolution: Annotated[int, Field(ge=14)] | None = None
    """Side in pixels at which models see photos, as `--resolution`; default: the model's own."""
    boundary: bool = False
    """Whether the ground truth is sharp enough for boundary scores."""
    bins: list[Positive] = Field(default_factory=list, max_length=8)
    """Rising depths in meters that divide near from far, for instance `[3, 10]`: adds the errors of each range."""
    clouds: bool = False
    """Adds Chamfer distance and F-score of the points, in meters; needs `intrinsics` and depth in meters, takes about a second an
    image."""
    edges: str | None = None
    """Glob of maps of true depth edges (pixels that are not 0): adds the depth boundary errors of iBims-1."""
    planes: str | None = None
    """Glob of label maps of true planes (0: none): adds the planarity errors of iBims-1; needs `intrinsics` and meters."""
    segments: str | None = None
    """Glob of label maps of objects (0: none): adds MoGe's points of each object on its own; needs `intrinsics`."""

    @model_validator(mode="after")
    def _agree(self) -> CustomSet:
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def metric(self) -> bool:
        """Whether depth is in meters."""
        return self.kind == "depth" or self.baseline is not None

    @property
    def reach(self) -> float:
        """Depth at a disparity of one pixel: meters where the baseline is known."""
        if self.baseline is None:
            return 1.0
        return self.baseline * (self.focal or (self.intrinsics or [1.0])[0])

    @property
    def depth_range(self) -> tuple[float, float]:
        """(nearest, farthest) depth of an aligned prediction."""
        low, high = self.min, self.max
        if self.kind == "disparity":
            low, high = self.reach / self.max, self.reach / self.min if self.min > 0 else float("inf")
        return low, high if self.cap is None else self.cap


class CustomClip(CustomSet):
    """The frames of one clip, in order: one scale and shift for all of them; with cameras, how steady the maps are."""

    clip: Literal[True]
    """Says that this is a clip."""
    image: str = ""
    """Glob of the frames below `root`, in the order of their names (frame 2 before frame 10); or `video`."""
    video: str = ""
    """A video below `root`, whose frames are the photos."""
    depth: str = ""
    """Glob of the ground truth, one for each frame in order; without it models in meters alone are scored, on steadiness."""
    poses: str = ""
    """Where the camera was: a glob of text files, one a frame with the numbers of a 4x4 or 3x4 matrix, or one file with a line
    a frame. With `intrinsics` it gives the temporal alignment error of a scene that stands still; `mask` and `crop` say where."""
    pose: Literal["camera-to-world", "world-to-camera"] = "camera-to-world"
    """What the matrices do. Translations are in meters, or in the unit of the ground truth."""


def _sort(raw: Any) -> str:
    """Return which of the two a set is taken for."""
    return _CLIP if (isinstance(raw, dict) and "clip" in raw) or isinstance(raw, CustomClip) else _PAIRS


Described = Annotated[Annotated[CustomClip, Tag(_CLIP)] | Annotated[CustomSet, Tag(_PAIRS)], Discriminator(_sort)]


class SuiteFile(Section):
    """Several sets in one file; a file with the keys of one set is a suite of that set."""

    sets: Annotated[list[Described], Field(min_length=1)]
    """The sets."""

    @model_validator(mode="after")
    def _names_differ(self) -> SuiteFile:
        names = [rule.name for rule in self.sets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"name: {', '.join(twice)} is used twice")
        return self


def read_suite(path: Path) -> list[CustomSet]:
    """Return the sets of a suite file; raises RecipeError listing all problems."""
    raw: Any = read_yaml(path)
    raw = raw if isinstance(raw, dict) else {}
    try:
        if "sets" in raw:
            return list(SuiteFile.model_validate(raw).sets)
        return [(CustomClip if _sort(raw) == _CLIP else CustomSet).model_validate(raw)]
    except ValidationError as error:
        problems = [_problem(item, raw) for item in error.errors()]
        raise RecipeError(str(path), problems, "suite file") from None


def _problem(item: Any, raw: dict[str, Any]) -> tuple[str, str]:
    """Return one error of pydantic as (key path, plain words)."""
    clip = _CLIP in item["loc"] or ("sets" not in raw and _sort(raw) == _CLIP)
    loc = tuple(part for part in item["loc"] if part not in (_PAIRS, _CLIP))
    inside = loc[2:] if loc[:1] == ("sets",) and len(loc) > 2 else loc  # the keys of one set
    top: type[Section] = SuiteFile if "sets" in raw and inside == loc else CustomClip if clip else CustomSet
    _, problem = problem_of({**item, "loc": inside}, top)
    return ".".join(map(str, loc)) or "file", problem


def _contradictions(rule: CustomSet) -> Iterator[str]:
    if rule.name in RESERVED:
        yield f"name: {rule.name} is a published set's"
    if rule.min >= rule.max:
        yield f"min: {rule.min:g} is not below max {rule.max:g}"
    if rule.divisor is not None and "scale" in rule.model_fields_set:
        yield "divisor: scale says the same; give one of them"
    if rule.kind == "depth" and (rule.baseline is not None or rule.focal is not None):
        yield "baseline, focal: for kind disparity"
    if rule.focal is not None and rule.baseline is None:
        yield "focal: useless without baseline"
    if rule.baseline is not None and rule.focal is None and rule.intrinsics is None:
        yield "baseline: needs focal or intrinsics"
    if rule.intrinsics is not None and min(rule.intrinsics[:2]) <= 0:
        yield "intrinsics: fx and fy must be above 0"
    elif rule.intrinsics is not None and min(rule.intrinsics[:2]) < FEWEST:
        yield "intrinsics: fx and fy are in pixels of the photo; these look like shares of its size"
    if rule.cap is not None and rule.depth_range[0] >= rule.cap:
        yield f"cap: {rule.cap:g} is not beyond the nearest valid depth, {rule.depth_range[0]:g}"
    if rule.bins != sorted(set(rule.bins)):
        yield "bins: each must be above the one before"
    if rule.bins and not rule.metric:
        yield "bins: need depth in meters (baseline)"
    if rule.clouds and (rule.intrinsics is None or not rule.metric):
        yield "clouds: need intrinsics and depth in meters (baseline)"
    for key in ("planes", "segments"):
        if getattr(rule, key) is not None and rule.intrinsics is None:
            yield f"{key}: needs intrinsics"
    if rule.planes is not None and not rule.metric:
        yield "planes: needs depth in meters (baseline)"
    texts = {key: getattr(rule, key) for key in ("image", "depth", "mask", *EXTRAS)}
    if isinstance(rule, CustomClip):
        yield from _clip_contradictions(rule)
        texts = {key: text or None for key, text in {**texts, "video": rule.video, "poses": rule.poses}.items()}
    for key, text in texts.items():
        if text is not None and (PurePosixPath(text).is_absolute() or ".." in PurePosixPath(text).parts or not text):
            yield f"{key}: a glob below root; put the folder into root"
        elif text is not None and (len(text) > MAX_GLOB or text.count("*") > MAX_STARS):
            yield f"{key}: a glob of at most {MAX_GLOB} characters and {MAX_STARS} asterisks"


def _clip_contradictions(rule: CustomClip) -> Iterator[str]:
    if bool(rule.image) == bool(rule.video):
        yield "image, video: give one of them"
    if rule.pair == "match":
        yield "pair: the frames of a clip go by order"
    if rule.poses and rule.intrinsics is None:
        yield "poses: useless without intrinsics"
    if not rule.depth and not rule.poses:
        yield "depth, poses: without both there is nothing to score"
    if not rule.depth and rule.kind == "disparity":
        yield "kind: useless without depth"
    yield from (f"{key}: is for photos, not for clips" for key in EXTRAS if getattr(rule, key) is not None)
