"""Sections that recipes of several tasks are made of: images, crops, teachers. Free of torch.

Numbers marked "paper" are from Distill Any Depth (arXiv 2502.19204); "choice" marks what the paper leaves open.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ccd_cli.config.pairs import Pairs
from ccd_cli.config.section import Count, Fraction, Positive, Section, Weight

RENAMED = {
    "saturated_share": "saturated_fraction",
    "jitter_share": "jitter_probability",
    "gray_share": "gray_probability",
    "blur_share": "blur_probability",
    "final_lr": "final_lr_ratio",
}
"""Keys of earlier versions and what they are called now; a recipe that has one is refused with the new name."""
GROUND_TRUTH = "ground-truth"
"""The teacher that is no network: the exact depth of rendered scenes, and what was measured of one's own pairs."""
HELD_OUT = 2**40
"""Scene seeds from here on are reserved for evaluation."""


Family = Literal["mixed", "room", "ground", "table", "close", "yard", "varied"]


class Scenes(Section):
    """Synthetic scenes with exact depth (rooms, tables, people and objects, streets, open land), rendered on the fly."""

    count: Count = 10_000
    """Number of different scenes."""
    height: Annotated[int, Field(ge=32, le=2048)] = 192
    """Image height in pixels."""
    width: Annotated[int, Field(ge=32, le=2048)] = 256
    """Image width in pixels."""
    family: Family = "mixed"
    """Type of scene: `room`, open `ground` (streets, land), `table` (tabletops from above), `close` (close-ups), `yard` (parks,
    lanes); `mixed`: the first two; `varied`: all of them, with random camera tilt and exposure."""
    first: Annotated[int, Field(ge=0, lt=2**40)] = 0
    """Seed of the first scene; seeds from 2^40 on are reserved for evaluation."""
    cache_mb: Annotated[int, Field(ge=0)] = 0
    """Size of the cache for rendered scenes in MB; it changes speed only, never the images."""


class Images(Section):
    """The images: unlabeled, generated scenes, pairs with ground truth. `images: DIR` is short for `images: {paths: [DIR]}`."""

    paths: list[str] = Field(default=[])
    """Folders (searched recursively), globs, single files or `.txt` lists, relative to the current folder;
    `builtin:photos` are the example images that ship with ccd."""
    scenes: Scenes | None = None
    """Synthetic scenes in addition to the images, or instead of them."""
    pairs: Pairs | None = None
    """Images with ground truth, which the teacher `ground-truth` gives: one's own RGB-D, LiDAR or stereo (see
    `docs/fine-tuning.md`)."""
    max_skipped: Fraction = 0.01
    """Largest fraction of unreadable images before the run stops; they are listed in `skipped.jsonl` either way."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Data-loading threads (decoding, cropping); 0: one per CPU core, at most 16."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"paths": [value]}
        if isinstance(value, list):
            return {"paths": value}
        if isinstance(value, dict) and isinstance(value.get("paths"), str):
            return {**value, "paths": [value["paths"]]}
        return value


class PrecomputedLabelsSection(Section):
    """Labels precomputed by `ccd label`. `labels: DIR` is short for `labels: {path: DIR}`."""

    path: str
    """Folder of the labels; images, crops and teachers come from it, and no teacher weights are needed."""
    order: Literal["recorded", "shuffled"] = "recorded"
    """`recorded`: the first epoch follows the stored order, which is that of training with live teachers and the same seed;
    later epochs are shuffled. `shuffled`: all epochs are."""
    buffer: Count = 1000
    """Samples in the shuffle buffer, in addition to the shuffling of whole shards; takes no memory."""
    verify: bool = True
    """Compare the sha256 of every shard with the index's, once, before its first use."""


class Noise(Section):
    """Synthetic label noise added to a teacher's labels, to measure on ground truth how each loss handles it."""

    outliers: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Fraction of every label that is corrupted: a rectangle at a random position, each pixel scaled by its own U(0.2, 4)."""
    blur: Annotated[int, Field(ge=0, le=64)] = 0
    """Blurred depth boundaries: box filter with this radius in label pixels (labels are `crops.size` pixels wide) around depth
    edges of more than 10 %."""
    scale_jitter: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Inconsistent scale between labels: each one, after normalization to unit scale, is multiplied by exp(U(-x, x)).
    Normalized losses are invariant to it: only normalization `none` and the anchor are affected."""
    shift_jitter: Weight = 0.0
    """Inconsistent shift between labels: U(-x, x) is added to each one at unit scale, in mean absolute deviations."""
    missing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Fraction of the pixels of every label that are unknown, drawn for each one: 0.99 leaves as much as a sparse sensor."""
    errors_of: str | None = None
    """The errors of a real network instead of invented ones: where this model's map of the same view, fitted to the label by
    scale and shift, is wrong, the label is its map. They are the same whenever the view is the same."""
    errors_over: Fraction = 0.0
    """With `errors_of`: only errors above this fraction of the label's disparity (0: all, diffuse ones too; 0.4: gross ones)."""
    errors_resolution: Annotated[int, Field(ge=14)] | None = None
    """With `errors_of`: that model's input resolution in pixels; default: the size of the crop."""


class Fill(Section):
    """A network that fills the holes of ground truth with its map of each crop, fitted to what was measured there. `fill: NAME` is
    short for `{model: NAME}`."""

    model: str
    """A catalog name, a run folder or a checkpoint file."""
    arch: str | None = None
    """Architecture of a checkpoint file that cannot be identified by its keys."""
    resolution: Annotated[int, Field(ge=14)] | None = None
    """Input resolution in pixels, rounded to a multiple of its patch size; default: the size of the crop."""
    weight: Fraction = 1.0
    """Weight of a filled pixel in the losses; a measured one has 1."""
    min_points: Annotated[int, Field(ge=16)] = 50
    """Fewest measured pixels of a crop for a fit; a crop with fewer stays as it was measured."""
    max_error: Positive = 0.2
    """Largest median of |fitted / measured - 1| for a fit to be used; a crop above it stays as it was measured."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value


class TeacherEntry(Section):
    """One teacher; a bare name is short for `{model: NAME}`."""

    model: str
    """A catalog name, a run folder written by `ccd distill`, a checkpoint file, or `ground-truth`: the exact depth of
    synthetic scenes, with which the built-in teachers were trained, or what was measured of `images.pairs`."""
    weight: Weight = 1.0
    """Probability of being drawn for a step (`select`), or weight in the mean (`average`); normalized over the teachers."""
    arch: str | None = None
    """Architecture of a checkpoint file that cannot be identified by its keys (Depth Anything V1, V2 and V2-metric share
    theirs)."""
    resolution: Annotated[int, Field(ge=14)] | None = None
    """Input resolution of the teacher in pixels, rounded to a multiple of its patch size; default: the size of the crop."""
    device: Annotated[str, Field(pattern=r"^(cpu|mps|cuda(:[0-9]{1,3})?)$")] | None = None
    """Where it runs while the student trains elsewhere: `cpu`, `cuda:1`, ...; default: the student's device."""
    fit_to: str | None = None
    """For an affine-invariant depth teacher: the `model` of the depth or metric teacher whose prediction sets scale and shift
    on each crop; default: the first such teacher of the recipe."""
    fill: Fill | None = None
    """Fills the holes of `ground-truth`; what was measured always wins."""
    full_weight_to: Positive | None = None
    """For `ground-truth`: depth in meters up to which a pixel counts fully; beyond, its weight is (this / depth)^2. The error of
    stereo in proportion to depth grows with depth."""
    noise: Noise = Noise()
    """Synthetic noise on its labels, for experiments; determined by the recipe's seed and the step. Default: none."""

    @field_validator("model")
    @classmethod
    def _renamed(cls, value: str) -> str:
        if value == "truth":
            raise ValueError(f"`truth` is now called `{GROUND_TRUTH}`")
        return value

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value


class Crops(Section):
    """Crops that teacher and student see (paper, section 3.2)."""

    size: Annotated[int, Field(ge=28, le=2048)] = 560
    """Input resolution in pixels (paper: 560); crops are square. Must be a multiple of the student's patch size (of its
    largest stride for convolutional encoders)."""
    min_side: Count = 644
    """Smallest shared crop in image pixels (paper: uniform in [644, short side]); of a smaller image, the whole short side is
    used."""
    patches: Annotated[int, Field(ge=1, le=64)] = 4
    """Local patches per crop for the local-global context (choice: 4)."""
    patch_min: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Smallest patch size as a fraction of the crop's (choice)."""
    patch_max: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Largest patch size as a fraction of the crop's (choice)."""
    region: Literal["shared", "own"] = "shared"
    """Crop of the local-global context: the `shared` crop, which needs no second student pass and lets labels be cached
    (choice), or its `own` crop, at the cost of a second student view per image."""
