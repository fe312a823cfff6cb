"""The label recipe: what `ccd label` makes, with which teachers and in what portions. Free of torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ccd_cli.config.common import GROUND_TRUTH, Crops, Images, Positive, Section


class LabelTeacher(Section):
    """One teacher and how it is run. A bare name is short for `{model: NAME}`."""

    model: str
    """A catalog name, a run folder written by `ccd distill`, or a checkpoint file."""
    arch: str | None = None
    """Architecture of a checkpoint file whose keys cannot tell it."""
    resolution: Annotated[int, Field(ge=14)] | None = None
    """Side in pixels at which the teacher sees a crop, rounded to its multiple; default: the crop's own size."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the network; `auto` is bf16 or fp16 on CUDA and fp32 elsewhere. Labels are float32 in any case."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Crops a forward pass. Part of the recipe because the batch decides how sums round, and labels must be repeatable."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value


class Drop(Section):
    """Which photos are left out of the shards because teachers contradict each other; needs two teachers."""

    worst: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Leave out this share of the photos, those on which the teachers disagree most (0.05: the worst 5 %)."""
    disagreement: Positive | None = None
    """Leave out photos whose disagreement is above this: mean |difference| of the teachers' disparity after each was
    brought to median 0 and mean absolute deviation 1. 0: equal up to scale and shift; unrelated maps: above 1."""


class LabelRecipe(Section):
    """A recipe for `ccd label`."""

    task: Literal["label"]
    """What the recipe is for."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Names the labels; the default output folder is `labels/NAME`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides the photos' order and the crops, exactly as the seed of a distillation recipe does."""
    out: str | None = None
    """Output folder; default `labels/NAME`."""
    images: Images
    """The photos to label (`scenes` is not used here: their depth is known)."""
    teachers: Annotated[list[LabelTeacher], Field(min_length=1)]
    """Who labels, one after another; the first is the primary teacher."""
    crops: Crops = Crops()
    """Regions and patches, drawn as a distillation recipe with the same section draws them."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """How often each photo is drawn, each time with crops of its own: as many passes a student can learn from."""
    photos: Literal["embed", "path"] = "embed"
    """`embed`: shards hold the photo files as they are; `path`: only their paths. The sha256 is there in both."""
    shard: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Photos a shard; also the portion of work that a stop may cost."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 4
    """CPU threads for tensors. Part of the recipe because their number decides how sums round."""
    drop: Drop = Drop()
    """Photos left out."""

    @field_validator("teachers", mode="before")
    @classmethod
    def _one_teacher(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value


def label_contradictions(recipe: LabelRecipe) -> list[tuple[str, str]]:
    """Return every (key path, problem) where keys that are valid alone contradict each other."""
    found: list[tuple[str, str]] = []
    if not recipe.images.paths:
        found.append(("images.paths", "is needed: the photos to label"))
    if recipe.images.scenes is not None:
        found.append(("images.scenes", "is not labeled: the depth of generated scenes is known"))
    if recipe.crops.region != "shared":
        found.append(("crops.region", "labels are made for `shared` regions only"))
    if recipe.crops.patch_min > recipe.crops.patch_max:
        low, high = recipe.crops.patch_min, recipe.crops.patch_max
        found.append(("crops.patch_min", f"{low} is larger than crops.patch_max {high}"))
    names = [teacher.model for teacher in recipe.teachers]
    for i, name in enumerate(names):
        if name == GROUND_TRUTH:
            found.append((f"teachers.{i}.model", f"`{GROUND_TRUTH}` is known for generated scenes only"))
        if name in names[:i]:
            found.append((f"teachers.{i}.model", f"'{name}' is listed twice"))
    if len(names) == 1 and (recipe.drop.worst or recipe.drop.disagreement is not None):
        found.append(("drop", "needs two teachers: one alone has nobody to disagree with"))
    return found
