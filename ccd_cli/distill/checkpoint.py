"""A run on disk: save its state and its student, restore them, and compare what a resumed run is given with what was saved.

The state is the one truth of a run: it carries its own checksum, the best student and the lines of `metrics.jsonl`, so that
what is damaged beside it is written again.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, ValidationError

import ccd_cli
from ccd_cli.config.common import Count, Section
from ccd_cli.config.load import check_recipe, differences, recipe_hash
from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError, RecipeError, UsageProblem, first_line
from ccd_cli.core.files import atomic_write, torch_saves
from ccd_cli.core.report import Report
from ccd_cli.data.source import Source
from ccd_cli.data.views import Stream
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.state import Run, TrainState, whole_student
from ccd_cli.distill.validation import Validation
from ccd_cli.geometry.kinds import DIRECTION, UNIT
from ccd_cli.labels.format import Natural
from ccd_cli.labels.shards import ShardReader
from ccd_cli.models.checkpoint import save_model
from ccd_cli.teachers.licenses import strictest

FORMAT = 4
_SEAL = b"\nccd sha256 of what is before this: "
"""What follows the saved file, and is followed by 32 bytes; readers of zip files look for their end before it."""
FREE_TO_CHANGE = (
    "out",
    "images.workers",
    "images.scenes.cache_mb",
    "log.samples",
    "log.samples_every",
    "log.tensorboard",
    "log.wandb",
    "log.mlflow",
    "optim.checkpoint_every",
    "guards.",
    "images.max_skipped",
    "labels.verify",
    "student.checkpointing",
    "student.sharded",
    "compute.",
)
"""Recipe keys that may differ on resume, and teachers' `device`: they do not touch the weights, rounding apart."""


class _GuardState(Section):
    model_config = ConfigDict(allow_inf_nan=True)

    recent: list[float]
    start: float | None
    nonfinite_row: int
    nonfinite_total: int
    warned_flat: bool
    stopped: bool


class _Saved(Section):
    """What a saved state holds beside tensors."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=True)

    step: Natural
    guard: _GuardState
    history: list[dict[str, float]]
    best: dict[str, float] | None
    bad: list[tuple[str, str]]
    threads: Count
    device: str
    precision: str
    world: Count
    photos: Natural
    source_hash: str
    validation_hash: str
    hashes: dict[str, str]


def save(run: Run, state: TrainState) -> None:
    """Save all state for `--resume`, and the student as it is now unless a scored one is the best.

    The first process writes; all of them take part. Nothing is saved of a run in a dry folder.
    """
    if run.folder.dry:
        return
    values = state.state_dict()
    with whole_student(run, state):
        if run.compute.main:
            _write_state(run, state, values)


def _write_state(run: Run, state: TrainState, values: dict[str, Any]) -> None:
    surroundings = {
        "bad": [(str(path), reason) for path, reason in sorted(run.stream.bad.items())],
        "threads": torch.get_num_threads(),
        "device": run.compute.device.type,
        "precision": run.compute.precision,
        "world": run.compute.world,
        "photos": len(run.stream),
        "source_hash": run.stream.digest,
        "validation_hash": "" if run.validation is None else run.validation.digest,
        "hashes": run.hashes,
        "recipe_hash": recipe_hash(run.recipe),
        "version": ccd_cli.__version__,
    }
    write(run.folder.state, values | surroundings)
    if state.best is None:
        save_student(run, state)


def save_student(run: Run, state: TrainState) -> None:
    """Write `student.safetensors`, the best student if any was scored, with the facts that users of the weights need."""
    arch, size = state.student.arch, run.recipe.crops.size
    step = state.step if state.best is None else int(state.best["step"])
    metadata = {
        "format": "pt",
        "kind": arch.kind,
        "direction": DIRECTION[arch.kind],
        "unit": UNIT[arch.kind],
        "resolution": str(size),
        "license": strictest(run.licenses),
        "step": str(step),
        "recipe_hash": recipe_hash(run.recipe),
        "teachers": ";".join(f"{m.teacher.name}={m.teacher.checkpoint_sha256}" for m in run.ensemble.members),
        "ccd_version": ccd_cli.__version__,
    }
    weights = state.evaluated if state.best_weights is None else state.best_weights
    save_model(run.folder.student, weights, replace(arch, resolution=size), metadata)


def restore(state: TrainState, stream: Stream, saved: dict[str, Any]) -> None:
    """Take up a saved state, and the images that could not be read by then; raises CcdError for one of another student."""
    try:
        state.load_state_dict(saved)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, zlib.error) as error:
        raise CcdError(
            f"The saved state does not fit the run ({first_line(error)[:200]}).", "Start over with --overwrite."
        ) from error
    for path, reason in saved["bad"]:
        stream.mark_bad(Path(path), reason)


def write(path: Path, values: dict[str, Any]) -> None:
    """Write a state whole or not at all, its checksum at its end; raises Unwritable on a full disk."""
    with atomic_write(path) as temporary:
        with torch_saves():
            torch.save({"format": FORMAT, **values}, temporary)
        with temporary.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0, 2)
            file.write(_SEAL + digest)


def read(path: Path) -> dict[str, Any] | None:
    """Return a saved state (tensors on the CPU, weights-only loading), or None before the first save.

    Raises CcdError for a file of which a single bit has changed, and for one of another version.
    """
    if not path.exists():
        return None
    try:
        sealed = _is_sealed(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may fail anywhere in the unpickler
        raise CcdError(f"{path} is damaged ({type(error).__name__}).", "Start over with --overwrite.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CcdError(f"{path} was not written by this version of ccd.", "Start over with --overwrite.")
    if not sealed:
        raise CcdError(f"{path} is damaged (its checksum is another).", "Start over with --overwrite.")
    return values


def read_whole(path: Path) -> dict[str, Any] | None:
    """Return what `read` does; raises CcdError, too, for a state that lacks something or holds it in another type."""
    values = read(path)
    try:
        if values is not None:
            _Saved.model_validate(values)
    except ValidationError as error:
        wrong = ".".join(map(str, error.errors()[0]["loc"]))[:80]
        raise CcdError(f"{path} is damaged: it lacks a proper '{wrong}'.", "Start over with --overwrite.") from error
    return values


def _is_sealed(path: Path) -> bool:
    """Whether a state ends with the checksum of what is before it."""
    length = len(_SEAL) + 32
    rest, digest = path.stat().st_size - length, hashlib.sha256()
    with path.open("rb") as file:
        while rest > 0 and (piece := file.read(min(rest, 1 << 20))):
            digest.update(piece)
            rest -= len(piece)
        return file.read() == _SEAL + digest.digest()


def check_same_recipe(folder: RunFolder, recipe: dict[str, Any]) -> None:
    """Raise UsageProblem listing every key in which a resumed run's recipe differs from the one it began with."""
    try:
        raw = read_yaml(folder.recipe)
        if not isinstance(raw, dict):
            raise RecipeError(str(folder.recipe), [("file", "holds no recipe")])
        old = check_recipe(raw, str(folder.recipe)).model_dump(mode="json")  # keys that it lacks had their defaults
    except RecipeError as error:
        raise CcdError(
            f"{folder.recipe} is damaged, or of a version with other keys.", "Start over with --overwrite."
        ) from error
    changed = [d for d in differences(_placeless(old), _placeless(recipe)) if not d[0].startswith(FREE_TO_CHANGE)]
    if changed:
        rows = "; ".join(f"{key}: {a} then, {b} now" for key, a, b in changed[:8])
        raise UsageProblem(
            f"{folder.path} was begun with another recipe ({rows}).",
            "Resume with the same recipe, or start over with --overwrite or another --out.",
        )


def _placeless(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe without where its teachers run."""
    teachers = recipe.get("teachers")
    if not isinstance(teachers, list):
        return recipe
    kept = [{k: v for k, v in each.items() if k != "device"} if isinstance(each, dict) else each for each in teachers]
    return {**recipe, "teachers": kept}


def check_same_images(saved: dict[str, Any], images: Source | ShardReader) -> None:
    """Raise UsageProblem where a resumed run would see other images."""
    if saved["source_hash"] != images.digest:
        pairs = ", their ground truth or what its numbers mean" if isinstance(images, Source) and images.pairs else ""
        what = f"list of photos{pairs} has" if isinstance(images, Source) else "labels have"
        raise UsageProblem(
            f"The {what} changed since the run began ({saved['photos']} photos then, {len(images)} now).",
            "Restore it, or start over with --overwrite or another --out.",
        )


def check_same_validation(saved: dict[str, Any], validation: Validation | None) -> None:
    """Raise UsageProblem where a resumed run would be scored on others: its best weights are chosen by scores of one set.

    A run that was never scored may get another.
    """
    if saved["history"] and saved["validation_hash"] != ("" if validation is None else validation.digest):
        raise UsageProblem(
            "What the student is scored on has changed since the run began: images, ground truth or what its numbers mean.",
            "Restore it, or start over with --overwrite or another --out.",
        )


def check_same_weights(saved: dict[str, Any], hashes: dict[str, str]) -> None:
    """Raise UsageProblem where a resumed run would continue with other teachers than it began with."""
    if saved["hashes"] != hashes:
        changed = sorted(name for name in {*saved["hashes"], *hashes} if saved["hashes"].get(name) != hashes.get(name))
        raise UsageProblem(
            f"Weights have changed since the run began: {', '.join(changed)}.",
            "Restore them, or start over with --overwrite or another --out.",
        )


def match_machine(saved: dict[str, Any], compute: Compute, threads: int | None, report: Report) -> None:
    """Take up the saved thread count unless `threads` asks for another, and warn of what makes a resumed run inexact.

    On another kind of device or another number of processes, the threads stay those that suit them.
    """
    same = (saved["device"], saved["world"]) == (compute.device.type, compute.world)
    if same and threads is None:
        torch.set_num_threads(saved["threads"])
    elif same and threads != saved["threads"]:
        report.warn(f"The run began with {saved['threads']} threads: with {threads} its sums round differently.")
    if not same or saved["precision"] != compute.precision:
        then = f"{saved['device']}, {saved['precision']}, {saved['world']} processes"
        report.warn(f"The run began on {then}: continuing as {compute.describe()} is not bit for bit the same.")
