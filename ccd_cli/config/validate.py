"""Recipe keys that are valid alone and contradict each other. Free of torch."""

from __future__ import annotations

from itertools import pairwise

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.pairs import Split


def contradictions(recipe: DistillRecipe) -> list[tuple[str, str]]:
    """Return every (key path, problem) where keys that are valid alone contradict each other."""
    found: list[tuple[str, str]] = []
    if recipe.labels is not None:
        found += _beside_labels(recipe)
    else:
        images = recipe.images
        if not images.paths and images.scenes is None and images.pairs is None:
            found.append(("images", "needs `paths`, `scenes` or `pairs` (or use `labels`)"))
        if not recipe.teachers:
            found.append(("teachers", "is required: the models that label the images (or use `labels`)"))
        elif sum(teacher.weight for teacher in recipe.teachers) <= 0:
            found.append(("teachers", "all weights are 0"))
    if recipe.student.freeze_encoder and recipe.optim.layer_decay < 1:
        found.append(("optim.layer_decay", "has no effect with student.freeze_encoder"))
    if recipe.eval.pairs is not None and recipe.eval.scenes:
        found.append(("eval.scenes", "is not used with eval.pairs"))
    if recipe.images.paths and any(teacher.model == GROUND_TRUTH for teacher in recipe.teachers):
        found.append(
            (
                "teachers",
                f"`{GROUND_TRUTH}` is available for `images.pairs` and `images.scenes` only: remove images.paths",
            )
        )
    found += _beside_pairs(recipe)
    student, crops, loss = recipe.student, recipe.crops, recipe.loss
    if (student.arch == "timm") != (student.encoder is not None):
        found.append(("student.encoder", "is required with `arch: timm`, and only allowed there"))
    if student.arch == "timm" and student.init == "pretrained" and student.weights is None:
        found.append(
            ("student.init", "`pretrained` with `arch: timm` needs `student.weights`; or use `encoder` or `scratch`")
        )
    if student.init == "scratch" and student.weights is not None:
        found.append(("student.weights", "is not used with `init: scratch`"))
    if student.init == "scratch" and student.freeze_encoder:
        found.append(("student.freeze_encoder", "would freeze a random encoder with `init: scratch`"))
    if student.freeze_encoder and student.checkpointing:
        found.append(
            ("student.checkpointing", "has no effect with `freeze_encoder`: a frozen encoder keeps no activations")
        )
    found += _kind_of(recipe)
    found += _sky(recipe)
    if crops.patch_min > crops.patch_max:
        found.append(("crops.patch_min", f"{crops.patch_min} is larger than crops.patch_max {crops.patch_max}"))
    for key, context in (("shared", loss.shared), ("local_global", loss.local_global)):
        if any(fine <= coarse or fine % coarse for coarse, fine in pairwise(context.levels)):
            found.append(
                (f"loss.{key}.levels", f"{context.levels}: each level must be a larger multiple of the previous one")
            )
        if recipe.mixing == "average" and context.weight and context.normalization == "none":
            why = "`none` does not go with `mixing: average`, whose labels have a median of 0"
            found.append((f"loss.{key}.normalization", why))
    if loss.shared.weight == 0 and loss.local_global.weight == 0 and not loss.depth.weight:
        found.append(("loss", "both contexts have weight 0: there is no loss"))
    if loss.local_global.unit == "region" and crops.region == "own" and loss.shared.weight:
        found.append(("loss.local_global.unit", "`region` needs `crops.region: shared`, or no shared context"))
    names = [teacher.model for teacher in recipe.teachers]
    for i, teacher in enumerate(recipe.teachers):
        if teacher.model in names[:i]:
            found.append((f"teachers.{i}.model", f"'{teacher.model}' is listed twice"))
        if teacher.fit_to is not None and (teacher.fit_to == teacher.model or teacher.fit_to not in names):
            found.append((f"teachers.{i}.fit_to", f"'{teacher.fit_to}' is not another teacher of this recipe"))
        if teacher.model != GROUND_TRUTH:
            found += [
                (f"teachers.{i}.{key}", f"is for `{GROUND_TRUTH}`")
                for key in ("fill", "full_weight_to")
                if getattr(teacher, key) is not None
            ]
        elif teacher.device is not None and teacher.fill is None:
            found.append((f"teachers.{i}.device", f"`{GROUND_TRUTH}` is no network: it runs nowhere"))
        if teacher.noise.errors_of is None and (teacher.noise.errors_over or teacher.noise.errors_resolution):
            found.append((f"teachers.{i}.noise", "`errors_over` and `errors_resolution` need `errors_of`"))
        for key in ("scale_jitter", "shift_jitter"):
            if recipe.mixing != "select" and getattr(teacher.noise, key):
                found.append((f"teachers.{i}.noise.{key}", f"has no effect with `mixing: {recipe.mixing}`"))
        weighted = teacher.full_weight_to is not None or (teacher.fill is not None and teacher.fill.weight < 1)
        if weighted and loss.drop_worst:
            found.append(("loss.drop_worst", "does not go with pixels of different weights"))
        if recipe.mixing != "select" and (teacher.fill is not None or teacher.full_weight_to is not None):
            found.append((f"teachers.{i}", f"`fill` and `full_weight_to` need `mixing: select`, not {recipe.mixing}"))
    return found


def _beside_pairs(recipe: DistillRecipe) -> list[tuple[str, str]]:
    """Return what contradicts images with ground truth."""
    pairs = recipe.images.pairs
    if pairs is None or recipe.labels is not None:
        return []
    found = []
    if not any(teacher.model == GROUND_TRUTH for teacher in recipe.teachers):
        found.append(("images.pairs", f"are learned from by the teacher `{GROUND_TRUTH}`, which the recipe lacks"))
    if recipe.eval.scenes:
        found.append(("eval.scenes", "is not used with images.pairs, a part of which validates (`validation`)"))
    if recipe.eval.pairs is not None and pairs.validation != Split():
        found.append(("images.pairs.validation", "is not used with eval.pairs, which validate"))
    return found


def _kind_of(recipe: DistillRecipe) -> list[tuple[str, str]]:
    """Return what does not go with the kind of depth that the student learns."""
    student, loss = recipe.student, recipe.loss
    found = [
        (f"student.{key}", f"is for `kind: metric`, not for {student.kind}")
        for key in ("max_depth", "canonical_focal")
        if getattr(student, key) is not None and student.kind != "metric"
    ]
    if student.max_depth is not None and student.canonical_focal is not None:
        found.append(
            ("student.canonical_focal", "and `max_depth` exclude each other: a range in meters differs with the camera")
        )
    if student.kind == "disparity":
        if loss.depth.weight:
            found.append(("loss.depth.weight", "needs a student of kind depth or metric"))
        return found
    if not loss.depth.weight:
        found.append(("loss.depth.weight", f"must be above 0 for `kind: {student.kind}`: no other term fixes its unit"))
    for key, context in (("shared", loss.shared), ("local_global", loss.local_global)):
        if context.weight and context.normalization == "none":
            found.append(
                (f"loss.{key}.normalization", f"`none` is for disparity: `kind: {student.kind}` has a unit of its own")
            )
    if recipe.mixing != "select":
        found.append(("mixing", f"`{recipe.mixing}` gives maps without a unit, and `kind: {student.kind}` learns one"))
    if recipe.labels is not None and student.canonical_focal is not None:
        found.append(("student.canonical_focal", "needs live images: `labels` do not hold focal lengths"))
    elif recipe.images.paths and student.canonical_focal is not None and student.max_depth is None:
        found.append(("student.canonical_focal", "needs the focal length of every image, and `images.paths` have none"))
    if loss.anchor.weight:
        found.append(("loss.anchor.weight", f"is for disparity: `kind: {student.kind}` has a unit of its own"))
    return found


def _sky(recipe: DistillRecipe) -> list[tuple[str, str]]:
    """Return what does not go with a second output that marks sky, or with its absence."""
    if not recipe.student.sky:
        return [("loss.sky.weight", "needs `student.sky: true`")] if recipe.loss.sky.weight else []
    found = []
    if not recipe.loss.sky.weight:
        found.append(("loss.sky.weight", "must be above 0 with `student.sky`: nothing else trains that output"))
    if recipe.mixing != "select":
        found.append(("mixing", f"`{recipe.mixing}` gives maps without sky, and `student.sky` learns it"))
    if recipe.labels is not None:
        found.append(("student.sky", "needs live teachers: `labels` do not hold what is sky"))
    return found


def _beside_labels(recipe: DistillRecipe) -> list[tuple[str, str]]:
    """Return what has no effect with precomputed labels."""
    found = []
    if recipe.images.paths or recipe.images.scenes is not None or recipe.images.pairs is not None:
        found.append(("images", "`paths`, `scenes` and `pairs` are not used with `labels`, which contain their images"))
    if recipe.crops.region != "shared":
        found.append(("crops.region", "precomputed labels need `shared` crops"))
    if recipe.teachers and sum(teacher.weight for teacher in recipe.teachers) <= 0:
        found.append(("teachers", "all weights are 0"))
    if recipe.compute.ahead == "always" or recipe.compute.teacher_batch != "auto":
        found.append(("compute", "`ahead` and `teacher_batch` have no effect with `labels`: no teacher runs"))
    if recipe.compute.compile in ("teachers", "both"):
        found.append(("compute.compile", f"`{recipe.compute.compile}` needs live teachers, and there are `labels`"))
    for i, teacher in enumerate(recipe.teachers):
        for key in ("arch", "resolution", "device", "fill"):
            if getattr(teacher, key) is not None:
                found.append((f"teachers.{i}.{key}", "is fixed by the precomputed labels"))
        if teacher.noise.errors_of is not None:
            found.append(
                (f"teachers.{i}.noise.errors_of", "needs a live teacher: precomputed labels come without views")
            )
    return found
