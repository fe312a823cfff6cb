"""The label recipe: images, teachers and shards of `ccd label`. Free of torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ccd_cli.config.common import GROUND_TRUTH, Crops, Images, Positive, Section


class LabelTeacher(Section):
    """One teacher and how it is run. A bare name is short for `{model: NAME}`."""

    model: str
    """A catalog name, a run folder written by `ccd distill`, or a checkpoint file."""
    arch: str | None = None
    """Architecture of a checkpoint file that cannot be identified by its keys."""
    resolution: Annotated[int, Field(ge=14)] | None = None
    """Input resolution of the teacher in pixels, rounded to a multiple of its patch size; default: the size of the crop."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Floating-point precision; `auto`: bf16 or fp16 on CUDA, fp32 elsewhere. Labels are stored as float32 in any case."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Batch size (crops per forward pass). Part of the recipe because it affects rounding, and labels must be reproducible."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value


class Drop(Section):
    """Images that are excluded from the shards because the teachers disagree; needs two teachers."""

    worst: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Exclude this fraction of the images, those with the largest disagreement between teachers (0.05: the worst 5 %)."""
    disagreement: Positive | None = None
    """Exclude images with a disagreement above this: mean absolute difference of the teachers' disparity, each normalized to
    median 0 and mean absolute deviation 1. 0: equal up to scale and shift; unrelated maps: above 1."""


class LabelRecipe(Section):
    """A recipe for `ccd label`."""

    task: Literal["label"]
    """Task of the recipe."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Name of the labels; the default output folder is `labels/NAME`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Random seed of image order and crops; the same seed in a distillation recipe draws the same crops."""
    out: str | None = None
    """Output folder; default: `labels/NAME`."""
    images: Images
    """The images to label (without `scenes`, whose exact depth needs no labels)."""
    teachers: Annotated[list[LabelTeacher], Field(min_length=1)]
    """Teachers, run one after another; the first is the primary teacher."""
    crops: Crops = Crops()
    """Crops and patches, drawn as by a distillation recipe with the same section."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """Epochs to label: each draws new crops of every image, for as many different training epochs."""
    photos: Literal["embed", "path"] = "embed"
    """`embed`: store the image files in the shards; `path`: store only their paths. The sha256 is stored in both cases."""
    shard: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Images per shard; also the largest amount of work lost when a run is interrupted."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 4
    """Number of CPU threads. Part of the recipe because it affects rounding."""
    drop: Drop = Drop()
    """Excluded images."""

    @field_validator("teachers", mode="before")
    @classmethod
    def _one_teacher(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value


def label_contradictions(recipe: LabelRecipe) -> list[tuple[str, str]]:
    """Return every (key path, problem) where keys that are valid alone contradict each other."""
    found: list[tuple[str, str]] = []
    if not recipe.images.paths:
        found.append(("images.paths", "is required: the images to label"))
    if recipe.images.scenes is not None:
        found.append(("images.scenes", "cannot be labeled: synthetic scenes come with exact depth"))
    if recipe.crops.region != "shared":
        found.append(("crops.region", "labels need `shared` crops"))
    if recipe.crops.patch_min > recipe.crops.patch_max:
        low, high = recipe.crops.patch_min, recipe.crops.patch_max
        found.append(("crops.patch_min", f"{low} is larger than crops.patch_max {high}"))
    names = [teacher.model for teacher in recipe.teachers]
    for i, name in enumerate(names):
        if name == GROUND_TRUTH:
            found.append((f"teachers.{i}.model", f"`{GROUND_TRUTH}` is available for synthetic scenes only"))
        if name in names[:i]:
            found.append((f"teachers.{i}.model", f"'{name}' is listed twice"))
    if len(names) == 1 and (recipe.drop.worst or recipe.drop.disagreement is not None):
        found.append(("drop", "needs two teachers, to measure their disagreement"))
    return found
