"""What a distillation run looks at: its images, its views of them, and the set that it is scored on."""

from __future__ import annotations

import os
from pathlib import Path

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.paths import builtin_path
from ccd_cli.core.seeding import step_seed
from ccd_cli.data.augment import Augmentation
from ccd_cli.data.source import Source
from ccd_cli.data.views import PhotoStream, ViewConfig
from ccd_cli.distill.ensemble import TeacherEnsemble
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.teachers import label_columns
from ccd_cli.labels.shards import ShardReader
from ccd_cli.labels.stream import LabelStream
from ccd_cli.media.photos import list_photos
from ccd_cli.scenes.rule import SceneSource


def make_source(recipe: DistillRecipe) -> Source:
    """Return the recipe's images; raises CcdError where a folder holds none."""
    images = recipe.images
    photos = list_photos([builtin_path(text) for text in images.paths]) if images.paths else []
    scenes = images.scenes
    if scenes is None:
        return Source(photos)
    cache = scenes.cache_mb * 1_000_000
    return Source(photos, SceneSource(scenes.count, scenes.height, scenes.width, scenes.family, scenes.first, cache))


def make_stream(recipe: DistillRecipe, source: Source, folder: RunFolder, bad: list[tuple[Path, str]]) -> PhotoStream:
    """Return the stream of views; photos known to be `bad` are left out and listed from the start."""
    stream = PhotoStream(source, recipe.seed, _view_rule(recipe), _augmentation(recipe), folder.note_skipped)
    for path, reason in bad:
        stream.mark_bad(path, reason)
    return stream


def make_label_stream(
    recipe: DistillRecipe, labels: ShardReader, ensemble: TeacherEnsemble, folder: RunFolder
) -> LabelStream:
    """Return the stream of views over labels made earlier, which reads those of each step's teacher alone."""
    assert recipe.labels is not None
    photos_a_step = recipe.optim.batch * recipe.optim.accumulate

    def needed(position: int) -> list[int]:
        return ensemble.needed(ensemble.draw(teacher_seed(recipe, position // photos_a_step + 1)))

    return LabelStream(
        labels,
        recipe.seed,
        recipe.labels.order == "recorded",
        _view_rule(recipe),
        _augmentation(recipe),
        label_columns(recipe, labels.index),
        needed,
        folder.note_skipped,
    )


def teacher_seed(recipe: DistillRecipe, step: int) -> int:
    """Return the seed from which the teacher of a step is drawn."""
    return step_seed(recipe.seed, 4, step)


def _view_rule(recipe: DistillRecipe) -> ViewConfig:
    crops, loss = recipe.crops, recipe.loss
    truths = [i for i, entry in enumerate(recipe.teachers) if entry.model == GROUND_TRUTH]
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
        ground_truth_teacher=truths[0] if truths else None,
    )


def _augmentation(recipe: DistillRecipe) -> Augmentation:
    how = recipe.augment
    return Augmentation(how.jitter, how.jitter_probability, how.gray_probability, how.blur_probability)


def worker_count(recipe: DistillRecipe) -> int:
    """Return the number of threads that prepare photos."""
    return recipe.images.workers or min(16, os.cpu_count() or 1)
