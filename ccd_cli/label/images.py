"""The images of a label recipe: plain ones, or those with ground truth on which a distillation recipe of its seed trains."""

from __future__ import annotations

from dataclasses import dataclass, field

from ccd_cli.benchmarks.own.sets import CustomBenchmark
from ccd_cli.benchmarks.own.training import open_training_pairs
from ccd_cli.config.label import LabelRecipe
from ccd_cli.data.source import Source
from ccd_cli.media.find import list_photos
from ccd_cli.media.not_read import NotRead


@dataclass(frozen=True)
class LabelImages:
    """The images to label, the `sets` of pairs that they are of, how many of those are held out, and what is odd about that."""

    source: Source
    sets: list[CustomBenchmark] = field(default_factory=list)
    held_out: int = 0
    doubts: list[str] = field(default_factory=list)


def open_images(recipe: LabelRecipe, not_read: NotRead | None = None) -> LabelImages:
    """Return a recipe's images, and in `not_read` what is passed over.

    Raises what `list_photos` and `open_training_pairs` raise: for a folder without images, bad files of pairs, or a split that
    leaves a side empty.
    """
    if (section := recipe.images.pairs) is None:
        return LabelImages(Source(list_photos(recipe.images.paths, not_read)))
    pairs = open_training_pairs(section, recipe.seed)
    held = sum(map(len, pairs.validation))
    return LabelImages(Source([], pairs=pairs.train), pairs.train.sets, held, pairs.doubts(section.validation))
