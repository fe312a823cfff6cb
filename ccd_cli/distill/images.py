"""The images of a run: where they come from, and the stream of their views."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.data.augment import Augmentation
from ccd_cli.data.source import Source
from ccd_cli.data.views import PhotoStream, Stream, ViewConfig
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.teachers import label_columns
from ccd_cli.labels.shards import ShardReader
from ccd_cli.labels.stream import LabelChoice, LabelStream
from ccd_cli.media.find import list_photos
from ccd_cli.media.not_read import NotRead
from ccd_cli.scenes.source import SceneSource


def how_many(images: Source | ShardReader) -> str:
    """Return the number of images in words, generated scenes apart."""
    if isinstance(images, ShardReader):
        return f"{len(images)} labeled images"
    if images.files == len(images):
        return f"{len(images)} photos"
    scenes = len(images) - images.files
    return f"{images.files} photos and {scenes} generated scenes" if images.files else f"{scenes} generated scenes"


def open_images(recipe: DistillRecipe, not_read: NotRead | None = None) -> Source:
    """Return the recipe's images, and in `not_read` what is passed over; raises CcdError where a folder holds none."""
    images = recipe.images
    photos = list_photos(images.paths, not_read) if images.paths else []
    scenes = images.scenes
    if scenes is None:
        return Source(photos)
    cache = scenes.cache_mb * 1_000_000
    return Source(photos, SceneSource(scenes.count, scenes.height, scenes.width, scenes.family, scenes.first, cache))


def open_stream(
    recipe: DistillRecipe,
    images: Source | ShardReader,
    ensemble: TeacherEnsemble,
    on_bad: Callable[[Path, str], None],
    bad: list[tuple[Path, str]],
) -> Stream:
    """Return the stream of views of photos, or of labels made earlier, of which it reads those of each step's teacher alone.

    Photos known to be `bad` are skipped from the start; `on_bad` hears of them, too.
    """
    crops, augmentation = view_config(recipe), Augmentation(**recipe.augment.model_dump())
    if isinstance(images, Source):
        stream = PhotoStream(images, recipe.seed, crops, augmentation, on_bad)
        for path, reason in bad:
            stream.mark_bad(path, reason)
        return stream
    assert recipe.labels is not None
    images_per_step = recipe.optim.batch * recipe.optim.accumulate

    def needed(position: int) -> list[int]:
        return ensemble.needed(ensemble.draw(position // images_per_step + 1))

    choice = LabelChoice(label_columns(recipe, images.index), needed)
    recorded = recipe.labels.order == "recorded"
    return LabelStream(images, recipe.seed, recorded, crops, augmentation, choice, on_bad)


def view_config(recipe: DistillRecipe) -> ViewConfig:
    """Return how a recipe's views are drawn."""
    crops, loss = recipe.crops, recipe.loss
    ground_truth = [i for i, entry in enumerate(recipe.teachers) if entry.model == GROUND_TRUTH]
    return ViewConfig(
        size=crops.size,
        min_side=crops.min_side,
        patches=crops.patches,
        patch_min=crops.patch_min,
        patch_max=crops.patch_max,
        own_region=crops.region == "own" and loss.local_global.weight > 0,
        shared=loss.shared.weight > 0,
        local_global=loss.local_global.weight > 0,
        features=loss.feature.weight > 0,
        region_labels=loss.local_global.unit == "region",
        ground_truth_teacher=ground_truth[0] if ground_truth else None,
    )


def worker_count(recipe: DistillRecipe) -> int:
    """Return the number of threads that prepare images."""
    return recipe.images.workers or min(16, os.cpu_count() or 1)
