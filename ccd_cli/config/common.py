"""Sections that recipes of several tasks are made of: images, crops, teachers. Free of torch.

Numbers marked "paper" are from Distill Any Depth (arXiv 2502.19204); "choice" marks what the paper leaves open.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Weight = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


RENAMED = {
    "saturated_share": "saturated_fraction",
    "jitter_share": "jitter_probability",
    "gray_share": "gray_probability",
    "blur_share": "blur_probability",
    "final_lr": "final_lr_ratio",
}
"""Keys of earlier versions and what they are called now; a recipe that has one is refused with the new name."""
GROUND_TRUTH = "ground-truth"
"""The teacher that is no network: the exact depth of generated scenes."""
HELD_OUT = 2**40
"""Seeds of scenes from here on are never trained on."""


class Section(BaseModel):
    """A group of recipe keys: unknown keys are errors and nothing is converted behind the user's back."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
    )


Family = Literal["mixed", "room", "ground", "table", "close", "yard", "varied"]


class Scenes(Section):
    """Generated pictures of rooms, tables, people and things, streets and open land with exact depth; nothing is stored."""

    count: Count = 10_000
    """How many different scenes there are."""
    height: Annotated[int, Field(ge=32, le=2048)] = 192
    """Picture height in pixels."""
    width: Annotated[int, Field(ge=32, le=2048)] = 256
    """Picture width in pixels."""
    family: Family = "mixed"
    """What is shown: `room`s, open `ground` (streets, land), `table`s from above, `close` subjects, `yard`s (parks, lanes);
    `mixed` is the first two, `varied` all of them, with cameras tilted and exposed as they come."""
    first: Annotated[int, Field(ge=0, lt=2**40)] = 0
    """Seed of the first scene; seeds from 2^40 on are kept for evaluation."""
    cache_mb: Annotated[int, Field(ge=0)] = 0
    """Memory in which rendered scenes are kept for their next use; the same pictures come out with and without it."""


class Images(Section):
    """The unlabeled photos. `images: DIR` is short for `images: {paths: [DIR]}`."""

    paths: list[str] = []
    """Folders (searched recursively), globs, single files or `.txt` lists, relative to the current folder;
    `builtin:photos` are the example photos that ship with ccd."""
    scenes: Scenes | None = None
    """Generated scenes beside the photos, or instead of them."""
    max_skipped: Fraction = 0.01
    """Stop when a larger share of the photos than this cannot be read; they are listed in `skipped.jsonl` either way."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Threads that decode and crop photos; 0 takes the machine's cores, at most 16."""

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
    """Labels made earlier by `ccd label`. `labels: DIR` is short for `labels: {path: DIR}`."""

    path: str
    """The folder; its photos, crops and teachers are used, and no teacher's weights are needed."""
    order: Literal["recorded", "shuffled"] = "recorded"
    """`recorded`: the first pass goes through the labels as they lie, which is the order of live training with their seed;
    later passes are shuffled. `shuffled`: the first pass too."""
    buffer: Count = 1000
    """Samples in the shuffle buffer, beside the shuffling of whole shards; it costs no memory."""
    verify: bool = False
    """Compare every shard's sha256 with the index before the start."""


class Noise(Section):
    """Errors put on purpose into a teacher's labels, to see with a known truth what each loss makes of them."""

    outliers: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of every label that is spoiled: a rectangle at a random place, each pixel times a factor U(0.2, 4) of its own."""
    blur: Annotated[int, Field(ge=0, le=64)] = 0
    """Soft boundaries: around steps of more than a tenth, the mean of this many label pixels to each side (`crops.size` is a
    label's side)."""
    scale_jitter: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Inconsistent scale between labels: each one, already at unit scale, times exp(U(-x, x)). Jitter before unit scale
    would be divided out. Normalization divides it out too: only `none` and the anchor feel it."""
    shift_jitter: Weight = 0.0
    """Inconsistent shift between labels: each one, at unit scale, plus U(-x, x), in mean absolute deviations."""


class TeacherEntry(Section):
    """One teacher. A bare name is short for `{model: NAME}`. The first teacher is the primary one."""

    model: str
    """A catalog name, a run folder written by `ccd distill`, a checkpoint file, or `ground-truth`: the exact depth of generated
    scenes, which is how built-in teachers are made."""
    weight: Weight = 1.0
    """Share of the steps it supervises (`select`) or its say in the mean (`average`); normalized over the teachers."""
    arch: str | None = None
    """Architecture of a checkpoint file whose keys cannot tell it (Depth Anything V1, V2 and V2-metric share theirs)."""
    resolution: Annotated[int, Field(ge=14)] | None = None
    """Side in pixels at which the teacher sees a crop, rounded to its multiple; default: the crop's own size."""
    fit_to: str | None = None
    """For an affine-depth teacher: the `model` of the depth or metric teacher that gives it scale and shift on each crop;
    default: the first such teacher of the recipe."""
    noise: Noise = Noise()
    """Errors added to its labels, for experiments; decided by the recipe's seed and the step. Default: none."""

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
    """What teacher and student look at (paper, section 3.2)."""

    size: Annotated[int, Field(ge=28, le=2048)] = 560
    """Side of every network input in pixels (paper: 560); a multiple of the student's side multiple."""
    min_side: Count = 644
    """Smallest side of the shared crop in photo pixels (paper: uniform in [644, shorter side]); a smaller photo gives its
    whole shorter side."""
    patches: Annotated[int, Field(ge=1, le=64)] = 4
    """Local patches a region for the local-global context (choice: 4)."""
    patch_min: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Smallest patch side as a share of the region's (choice)."""
    patch_max: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Largest patch side as a share of the region's (choice)."""
    region: Literal["shared", "own"] = "shared"
    """Where the local-global context lies: in the shared crop's region, at no further student pass and so that labels can
    be cached (choice), or in one of its own, for a second student view a photo."""
