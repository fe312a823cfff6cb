"""The images of a label recipe: plain ones, or those with ground truth on which a distillation recipe of its seed trains."""

from __future__ import annotations

from dataclasses import dataclass

from ccd_cli.benchmarks.own.training import open_training_pairs
from ccd_cli.config.label import LabelRecipe
from ccd_cli.data.source import Source
from ccd_cli.media.find import list_photos
from ccd_cli.media.not_read import NotRead


@dataclass(frozen=True)
class LabelImages:
    """The images to label, and how many pairs are held out: they validate, as in a distillation recipe with the same seed."""

    source: Source
    held_out: int = 0


def open_images(recipe: LabelRecipe, not_read: NotRead | None = None) -> LabelImages:
    """Return a recipe's images, and in `not_read` what is passed over.

    Raises what `list_photos` and `open_training_pairs` raise: for a folder without images, bad files of pairs, or a split that
    leaves a side empty.
    """
    if (section := recipe.images.pairs) is None:
        return LabelImages(Source(list_photos(recipe.images.paths, not_read)))
    pairs = open_training_pairs(section, recipe.seed)
    return LabelImages(Source([], pairs=pairs.train), sum(map(len, pairs.validation)))
