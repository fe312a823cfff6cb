"""The label recipe: images, teachers and shards of `ccd label`. Free of torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ccd_cli.config.common import GROUND_TRUTH, Crops, Fill, Images, Positive, Section


class LabelTeacher(Section):
    """One teacher and how it is run. A bare name is short for `{model: NAME}`."""

    model: str
    """A catalog name, a run folder written by `ccd distill`, a checkpoint file, or `ground-truth`: what was measured of
    `images.pairs`."""
    arch: str | None = None
    """Architecture of a checkpoint file that cannot be identified by its keys."""
    resolution: Annotated[int, Field(ge=14)] | None = None
    """Input resolution of the teacher in pixels, rounded to a multiple of its patch size; default: the size of the crop."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Floating-point precision; `auto`: bf16 or fp16 on CUDA, fp32 elsewhere. Labels are stored as float32 in any case."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Batch size (crops per forward pass). Part of the recipe because it affects rounding, and labels must be reproducible."""
    fill: Fill | None = None
    """Fills the holes of `ground-truth`, with the `precision` and `batch` above; what was measured always wins."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @property
    def network(self) -> LabelTeacher | Fill | None:
        """The keys (`model`, `arch`, `resolution`) of the network that it runs: of ground truth what fills its holes, if any."""
        return self.fill if self.model == GROUND_TRUTH else self


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
    """Random seed of image order, crops, and of which pairs are held out; the same seed in a distillation recipe draws the same."""
    out: str | None = None
    """Output folder; default: `labels/NAME`."""
    images: Images
    """The images to label: `paths`, or `pairs`, of which those are labeled that a distillation recipe with the same seed trains on.
    Not `scenes`, whose exact depth needs no labels."""
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
    if recipe.images.paths and recipe.images.pairs is not None:
        found.append(("images", "`paths` and `pairs` exclude each other: label them into two folders"))
    if not recipe.images.paths and recipe.images.pairs is None:
        found.append(("images.paths", "is required: the images to label (or `pairs`, images with ground truth)"))
    if recipe.images.scenes is not None:
        found.append(("images.scenes", "cannot be labeled: synthetic scenes come with exact depth"))
    if recipe.crops.region != "shared":
        found.append(("crops.region", "labels need `shared` crops"))
    if recipe.crops.patch_min > recipe.crops.patch_max:
        low, high = recipe.crops.patch_min, recipe.crops.patch_max
        found.append(("crops.patch_min", f"{low} is larger than crops.patch_max {high}"))
    names = [teacher.model for teacher in recipe.teachers]
    for i, name in enumerate(names):
        if name in names[:i]:
            found.append((f"teachers.{i}.model", f"'{name}' is listed twice"))
    found += _of_ground_truth(recipe)
    if len(names) == 1 and (recipe.drop.worst or recipe.drop.disagreement is not None):
        found.append(("drop", "needs two teachers, to measure their disagreement"))
    return found


def _of_ground_truth(recipe: LabelRecipe) -> list[tuple[str, str]]:
    """Return what contradicts the teacher `ground-truth`, or the pairs that it needs."""
    found: list[tuple[str, str]] = []
    pairs = recipe.images.pairs is not None
    if pairs and not any(teacher.model == GROUND_TRUTH for teacher in recipe.teachers):
        found.append(
            ("images.pairs", f"need the teacher `{GROUND_TRUTH}`; networks alone label plain images: use images.paths")
        )
    for i, teacher in enumerate(recipe.teachers):
        if teacher.model != GROUND_TRUTH:
            if teacher.fill is not None:
                found.append((f"teachers.{i}.fill", f"is for `{GROUND_TRUTH}`"))
            continue
        if not pairs:
            found.append((f"teachers.{i}.model", f"`{GROUND_TRUTH}` needs `images.pairs`, images with ground truth"))
        found += [
            (f"teachers.{i}.{key}", f"is for networks; `fill.{key}` is that of the one that fills holes")
            for key in ("arch", "resolution")
            if getattr(teacher, key) is not None
        ]
        if teacher.fill is not None and teacher.fill.weight != 1:
            found.append((f"teachers.{i}.fill.weight", "must be 1: labels store no weights of pixels"))
    return found
