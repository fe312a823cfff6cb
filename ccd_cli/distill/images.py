"""The images of a run: where they come from, and the stream of their views."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ccd_cli.benchmarks.own.training import OpenPairs, open_training_pairs
from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.pairs import Split
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.parse import parse_json
from ccd_cli.data.augment import Augmentation
from ccd_cli.data.source import Source
from ccd_cli.data.views import PhotoStream, Stream, ViewConfig
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.teachers import label_columns, label_recipe, labels_folder
from ccd_cli.labels.shards import ShardReader
from ccd_cli.labels.stream import LabelChoice, LabelStream
from ccd_cli.media.find import list_photos
from ccd_cli.media.not_read import NotRead
from ccd_cli.scenes.source import SceneSource


def how_many(images: Source | ShardReader) -> str:
    """Return the number of images in words, those with ground truth and generated scenes apart."""
    if isinstance(images, ShardReader):
        return f"{len(images)} labeled images"
    counts = {
        "photos": len(images.photos),
        "images with ground truth": images.files - len(images.photos),
        "generated scenes": len(images) - images.files,
    }
    return " and ".join(f"{count} {what}" for what, count in counts.items() if count)


def open_images(recipe: DistillRecipe, not_read: NotRead | None = None, pairs: OpenPairs | None = None) -> Source:
    """Return the recipe's images, and in `not_read` what is passed over; raises CcdError where a folder holds none.

    `pairs` are those of the recipe, opened.
    """
    images = recipe.images
    photos = list_photos(images.paths, not_read) if images.paths else []
    scenes = images.scenes
    made = None
    if scenes is not None:
        cache = scenes.cache_mb * 1_000_000
        made = SceneSource(scenes.count, scenes.height, scenes.width, scenes.family, scenes.first, cache)
    return Source(photos, made, None if pairs is None else pairs.train)


def open_pairs_of(recipe: DistillRecipe) -> OpenPairs | None:
    """Open the recipe's images with ground truth and check that they suit the student; None where it has none.

    Raises RecipeError with the problems of their files, UsageProblem for a split that makes no sense or a unit that is not known.
    """
    section = recipe.images.pairs
    if section is None:
        return None
    if recipe.eval.pairs is not None:  # they validate, and all of these train
        section = section.model_copy(update={"validation": Split(fraction=0.0)})
    opened = open_training_pairs(section, recipe.seed)
    metric = recipe.student.kind == "metric" or any(entry.full_weight_to for entry in recipe.teachers)
    for benchmark in opened.train.sets:
        name = benchmark.rule.name
        if metric and not benchmark.rule.metric:
            raise UsageProblem(
                f"images.pairs: the depth of {name} has no unit (disparity without `baseline`), and this recipe needs meters.",
                "Give `baseline` and `focal` in its file, or use student.kind: depth or disparity.",
            )
        if recipe.student.canonical_focal is not None and benchmark.rule.intrinsics is None:
            raise UsageProblem(
                f"student.canonical_focal needs the focal length of every image, and {name} has no `intrinsics`.",
                "Give them in its file, or remove canonical_focal.",
            )
    return opened


def open_pairs_of_labels(recipe: DistillRecipe) -> tuple[OpenPairs | None, list[str]]:
    """Open the pairs that the recipe's labels were made of, None where they were not: those held out validate, unless the recipe
    says what does.

    Returns what is to be warned of, too: pairs that are no longer those of the labels do not validate.
    """
    if recipe.labels is None:
        return None, []
    folder = labels_folder(recipe)
    made = label_recipe(folder)
    if made.images.pairs is None:
        return None, []
    not_here = f"The pairs that {folder} was made of are not here as they were: those held out do not validate"
    try:
        opened = open_training_pairs(made.images.pairs, made.seed)
        same = parse_json((folder / "label.json").read_text(encoding="utf-8"))["photos"]
    except (CcdError, OSError, ValueError, KeyError, TypeError) as error:
        return None, [f"{not_here} ({error.message if isinstance(error, CcdError) else 'label.json is damaged'})."]
    if Source([], pairs=opened.train).digest != same:
        return None, [f"{not_here} (their files or their description have changed)."]
    validation = [] if recipe.eval.pairs is not None or recipe.eval.scenes else opened.validation
    if recipe.student.kind == "metric" and not all(one.rule.metric for one in validation):
        return replace(opened, validation=[]), [
            f"The depth of the pairs held out by {folder} has no unit, so they do not validate a metric student: give eval.pairs."
        ]
    return replace(opened, validation=validation), []


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
        whole=loss.depth.weight > 0 or loss.sky.weight > 0,
        local_global=loss.local_global.weight > 0,
        features=loss.feature.weight > 0,
        region_labels=loss.local_global.unit == "region",
        ground_truth_teacher=ground_truth[0] if ground_truth else None,
    )


def worker_count(recipe: DistillRecipe) -> int:
    """Return the number of threads that prepare images."""
    return recipe.images.workers or min(16, os.cpu_count() or 1)
