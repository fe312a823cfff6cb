"""Images with ground truth in a recipe: which files describe them, and which of them validate. Free of torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ccd_cli.config.section import Count, Section


class Sensor(Section):
    """What is excluded from measured depth, on the measurement's own pixels and before anything is resized."""

    edges: Annotated[int, Field(ge=0, le=16)] = 0
    """Pixels excluded on both sides of a depth edge, a jump of more than 10 % between neighbors: sensors mix depths there."""
    seen_past: Annotated[int, Field(ge=0, le=64)] = 0
    """Radius in pixels of a window around each measured pixel: it is excluded where another one in the window is nearer by more
    than 10 %. A LiDAR beside the camera sees past edges, and its far points land on near things; on grazing ground a wide window
    takes true points as well."""


class PairsFile(Section):
    """One file that describes images with ground truth."""

    file: str
    """A YAML file that says where images and ground truth lie and what its numbers mean (see `docs/pairs.md`), relative to the
    current folder."""
    repeat: Count = 1
    """How often each of its images comes in an epoch: 2 draws them twice as often as those of other files."""
    sensor: Sensor = Sensor()


class Split(Section):
    """Which of the images validate and are not trained on."""

    fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Fraction of the images that validate, drawn once by the recipe's seed; 0: none."""
    by: Literal["folder", "image"] = "folder"
    """What is drawn: whole folders, so that frames of one clip never lie on both sides, or single `image`s, which are then
    nearly the same on both sides where they are frames of a clip."""
    images: list[str] = Field(default=[])
    """Instead of a fraction: images or folders that validate, as globs below the `root` of each file, or a `.txt` list of them."""


class Pairs(Section):
    """Images with ground truth. `pairs: FILE` is short for `pairs: {files: [{file: FILE}]}`."""

    files: Annotated[list[PairsFile], Field(min_length=1)]
    """The files that describe them."""
    validation: Split = Split()
    """What validates, where `eval.pairs` names no pairs of its own."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            value = {"files": value}
        if isinstance(value, dict) and isinstance(value.get("files"), list):
            files = [{"file": each} if isinstance(each, str) else each for each in value["files"]]
            return {**value, "files": files}
        return value

    @model_validator(mode="after")
    def _once(self) -> Pairs:
        names = [each.file for each in self.files]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"files: {', '.join(twice)} is listed twice; say `repeat` instead")
        if self.validation.images and self.validation != Split(images=self.validation.images):
            raise ValueError("validation: give `images`, or a fraction")
        return self
