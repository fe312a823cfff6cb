"""Everything that `ccd label` checks before its first teacher loads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial
from typing import Any, get_args

import torch

import ccd_cli
from ccd_cli.benchmarks.own.doubts import doubts_before_a_run
from ccd_cli.config.label import LabelRecipe
from ccd_cli.config.load import recipe_hash, to_yaml
from ccd_cli.core.compute import EXACT, Compute
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.files import check_free_space, write_json, write_text
from ccd_cli.core.lock import exclusive_lock, lock_for
from ccd_cli.core.parse import parse_json
from ccd_cli.core.report import Report
from ccd_cli.data.source import Source
from ccd_cli.label.folder import LabelFolder, choose_label_folder
from ccd_cli.label.images import open_images
from ccd_cli.label.job import LabelJob
from ccd_cli.label.parts import TeacherFacts
from ccd_cli.label.plan import Plan
from ccd_cli.labels.format import FORMAT, OLD_FORMAT
from ccd_cli.media.not_read import NotRead
from ccd_cli.media.photos import bad_headers
from ccd_cli.runtimes.choose import Work
from ccd_cli.runtimes.sessions import RuntimeName
from ccd_cli.teachers.load import ModelRef
from ccd_cli.teachers.needs import find_models
from ccd_cli.teachers.runtime import choose_runtime

ResolveDevice = Callable[[Sequence[str], int], tuple[str, list[str]]]
"""(precisions of the recipe, its threads) -> (device, the precision of each teacher on it)."""
_BYTES_PER_PIXEL = 1.6  # of a label's PNG, at most, for the estimate of the disk space


def prepare(
    recipe: LabelRecipe,
    folder: LabelFolder,
    overwrite: bool,
    resolve_device: ResolveDevice,
    runtime: str,
    report: Report,
    stack: ExitStack,
) -> LabelJob:
    """Check everything and return the job; `stack` holds the folder's lock from then on.

    `runtime` is what `--runtime` names; labels that were begun go on in the one that they were begun in.
    Raises CcdError with one plain sentence for whatever is wrong; nothing is written before all checks have passed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageProblem(
            "ccd label works in one process.", "Start it without torchrun; of several processes, each with --shard I/N."
        )
    images = _list_images(recipe, folder, report)
    references = _find_networks(recipe)
    name, precisions = resolve_device([entry.precision for entry in recipe.teachers], recipe.threads)
    precisions = [EXACT if ref is None else each for ref, each in zip(references, precisions, strict=True)]
    plan = Plan(recipe, images)
    _check_space(recipe, folder, plan)
    folder.path.mkdir(parents=True, exist_ok=True)
    stack.enter_context(lock_for(folder.lock, folder.only, f"Another process is writing {folder.path}."))
    with _one_begins(folder, report):
        # again: another run may have written before the lock
        choose_label_folder(recipe, str(folder.path), overwrite, folder.only)
        if folder.only is None:
            folder.sweep()
        new = overwrite or not folder.recipe.exists()
        work = Work(plan.count * plan.crops_per_image, plan.size**2)
        begun = [] if new or runtime != "auto" else _recorded_runtimes(folder, len(references))
        runtimes = [
            choose_runtime(ref, wanted, Compute(name, precision, threads=recipe.threads), work, prepared=False)
            if ref is not None
            else "torch"
            for ref, precision, wanted in zip(references, precisions, begun or [runtime] * len(references), strict=True)
        ]
        state = _new_state(images, torch.device(name), precisions, runtimes)
        job = LabelJob(
            recipe=recipe,
            folder=folder,
            plan=plan,
            references=references,
            precisions=precisions,
            runtimes=runtimes,
            device=torch.device(name),
            threads=recipe.images.workers or min(16, os.cpu_count() or 1),
            recipe_sha256=labels_hash(recipe),
            state=state if new else _resumed_state(folder, state, report),
        )
        if new:
            job.check_unreadable(
                {str(p): reason for p, reason in bad_headers(images.paths, recipe.seed, job.threads, report)}
            )
            if folder.only is None:
                folder.clear()
            write_json(folder.state, state)
            write_text(folder.recipe, to_yaml(recipe))  # last: from here on the folder holds labels
            if folder.only is not None:  # where the disk has no locks, another shard may have begun it in another way
                job.state = _resumed_state(folder, state, report)
    job.take_over_found()
    return job


def _one_begins(folder: LabelFolder, report: Report) -> AbstractContextManager[None]:
    """Return what keeps several processes with --shard from beginning a folder at once: the others wait, then they resume."""
    if folder.only is None:
        return nullcontext()
    wait = partial(report.note, "Waiting for another shard, which is checking the images")
    return exclusive_lock(folder.begin_lock, "", wait)


def labels_hash(recipe: LabelRecipe) -> str:
    """Return the sha256 of the resolved recipe without the keys that no label depends on."""
    images = recipe.images.model_copy(update={"workers": 0, "max_skipped": 0.0})
    return recipe_hash(recipe.model_copy(update={"out": None, "images": images}))


def _find_networks(recipe: LabelRecipe) -> list[ModelRef | None]:
    """Return the networks of the teachers, found but not loaded; None for ground truth that none fills."""
    keys = [entry.network for entry in recipe.teachers]
    found = iter(find_models([(each.model, each.arch) for each in keys if each is not None]))
    return [None if each is None else next(found) for each in keys]


def _list_images(recipe: LabelRecipe, folder: LabelFolder, report: Report) -> Source:
    """Return the recipe's images, and say what is passed over; raises UsageProblem where one lies in the output folder."""
    not_read = NotRead()
    opened = open_images(recipe, not_read)
    images = opened.source
    for warning in not_read.warnings():
        report.warn(warning)
    for warning in [*doubts_before_a_run(opened.sets), *opened.doubts]:
        report.warn(warning)
    if images.pairs is not None:
        report.note(
            f"{images.files} images with ground truth; {opened.held_out} more are held out by images.pairs.validation and are not "
            f"labeled, the same as in ccd distill with seed {recipe.seed}"
        )
    out = folder.path.resolve()
    if inside := next((path for path in images.paths if path.resolve().is_relative_to(out)), None):
        raise UsageProblem(f"{inside} lies in the folder that labels go to.", "Choose another --out.")
    return images


def _check_space(recipe: LabelRecipe, folder: LabelFolder, plan: Plan) -> None:
    """Raise CcdError where the disk cannot take all labels, one shard of them twice, and the images."""
    label = plan.crops_per_image * len(recipe.teachers) * recipe.crops.size**2 * _BYTES_PER_PIXEL
    needed = (plan.count + min(plan.count, recipe.shard)) * label
    if recipe.photos == "embed":
        needed += recipe.epochs * sum(path.stat().st_size for path in plan.images if path.is_file())
    existing = 0
    for path in folder.path.rglob("*.tar") if folder.path.is_dir() else ():
        with suppress(OSError):  # of another shard, which has removed it
            existing += path.stat().st_size
    check_free_space(folder.path, max(0, int(needed) - existing), "The folder of labels")


def _recorded_runtimes(folder: LabelFolder, teachers: int) -> list[str]:
    """Return what ran each teacher when labeling began; torch before that was recorded, [] where the record is damaged."""
    try:
        found = parse_json(folder.state.read_text(encoding="utf-8")).get("runtime", ["torch"] * teachers)
        return [str(name) for name in found] if len(found) == teachers and {*found} <= {*get_args(RuntimeName)} else []
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def _new_state(images: Source, device: torch.device, precisions: list[str], runtimes: list[str]) -> dict[str, Any]:
    """Return what `label.json` holds before the first teacher is loaded."""
    return {
        "photos": images.digest,
        "device": device.type,
        "precision": precisions,
        "runtime": runtimes,
        "ccd": ccd_cli.__version__,
        "format": FORMAT,
        "teachers": {},
    }


def _resumed_state(folder: LabelFolder, now: dict[str, Any], report: Report) -> dict[str, Any]:
    """Return the state that labeling began with; raises UsageProblem where the present one would give other labels."""
    try:
        then = parse_json(folder.state.read_text(encoding="utf-8"))
        then.setdefault("runtime", ["torch"] * len(now["runtime"]))  # of an earlier version
        pairs = [(key, then[key], now[key]) for key in ("photos", "device", "precision", "runtime", "ccd")]
        for facts in then["teachers"].values():
            TeacherFacts.model_validate(facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CcdError(f"{folder.state} is damaged.", "Start over with --overwrite.") from error
    if (begun := then.get("format", OLD_FORMAT)) != FORMAT:
        raise UsageProblem(
            f"{folder.path} was begun in the format {begun}; this ccd writes {FORMAT}.",
            "Start over with --overwrite or another --out; what is finished there can still be learned from.",
        )
    for key, a, b in pairs:
        if a == b:
            continue
        if key == "ccd":
            report.warn(f"These labels were begun by ccd {a}; the rest is made by ccd {b}.")
            continue
        what = "The list of images has changed" if key == "photos" else f"The {key} is {b} and was {a}"
        raise UsageProblem(
            f"{what} since labeling began: the labels would not be the same.",
            "Restore it, or start over with --overwrite or another --out.",
        )
    return dict(then)
