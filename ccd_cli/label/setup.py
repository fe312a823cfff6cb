"""Everything that `ccd label` checks before its first teacher loads, and the folder that it writes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ccd_cli
from ccd_cli.config.label import LabelRecipe
from ccd_cli.config.load import differences, recipe_hash, to_yaml
from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import CcdError, RecipeError, TrainingStopped, UsageProblem
from ccd_cli.core.files import check_free_space, read_json_lines, write_json, write_text
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.core.paths import builtin_path
from ccd_cli.core.report import Report
from ccd_cli.data.source import Source
from ccd_cli.label.plan import Plan
from ccd_cli.labels.shards import INDEX, read_index
from ccd_cli.media.find import list_photos
from ccd_cli.media.photos import bad_headers
from ccd_cli.teachers.load import ModelRef, check_runnable, resolve_model

Choose = Callable[[Sequence[str], int], tuple[str, list[str]]]
FREE_TO_CHANGE = ("out", "images.workers", "images.max_skipped")
"""Recipe keys that may differ when a run goes on: no label depends on them."""
_BEFORE = (".lock", "label.json", ".label.json.", ".recipe.yaml.")
"""How the names begin of what a run leaves that was killed before it wrote its recipe."""
_BYTES_A_PIXEL = 1.6  # of a label's PNG, at most, for the estimate of the disk that is needed


class LabelFolder:
    """Paths of a folder of labels. `recipe.yaml` marks a begun one; `index.json`, written last, a finished one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.state = path / "label.json"
        self.index = path / INDEX
        self.quality = path / "quality.jsonl"
        self.skipped = path / "skipped.jsonl"
        self.parts = path / "parts"
        self.lock = path / ".lock"

    def shard(self, number: int) -> Path:
        """Return the path of a shard."""
        return self.path / f"shard-{number:06d}.tar"

    def part(self, teacher: int, number: int) -> Path:
        """Return the path of what one teacher made of a shard."""
        return self.parts / f"teacher-{teacher}" / f"part-{number:06d}.tar"

    def judged(self, number: int) -> Path:
        """Return the path of a shard's lines of quality."""
        return self.parts / "quality" / f"part-{number:06d}.json"

    def clear(self) -> None:
        """Remove everything that `ccd label` and `ccd inspect` write here, and nothing else."""
        self.index.unlink(missing_ok=True)  # first: what follows is no longer whole
        files = [self.state, self.quality, self.skipped, self.path / "contact.png", self.path / "inspect.html"]
        for file in [*files, *self.path.glob("shard-[0-9][0-9][0-9][0-9][0-9][0-9].tar"), self.recipe]:
            file.unlink(missing_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)
        self.sweep()

    def sweep(self) -> None:
        """Remove files that a killed run had not finished; only under the lock."""
        for folder in (self.path, *(p for p in self.parts.glob("*") if p.is_dir())):
            for pattern in (".shard-*.tar", ".part-*.*", ".*.json", ".*.jsonl", ".*.yaml"):
                for file in folder.glob(pattern):
                    file.unlink(missing_ok=True)


@dataclass
class LabelJob:
    """All that the work needs: the recipe, where it goes, and what was found for it."""

    recipe: LabelRecipe
    folder: LabelFolder
    plan: Plan
    references: list[ModelRef]
    precisions: list[str]
    device: torch.device
    workers: int
    recipe_sha256: str
    state: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, without the photos, of which there may be millions; see `job_from`."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "folder": str(self.folder.path),
            "photos": self.plan.per_epoch,
            "precisions": self.precisions,
            "device": str(self.device),
            "workers": self.workers,
            "recipe_sha256": self.recipe_sha256,
            "state": self.state,
        }

    def name(self, teacher: int) -> str:
        """Return a teacher's name, with its place where another has the same."""
        names = [ref.name for ref in self.references]
        return names[teacher] if names.count(names[teacher]) == 1 else f"{names[teacher]} ({teacher + 1})"

    def check_teacher(self, teacher: int, facts: dict[str, Any]) -> None:
        """Raise UsageProblem where a loaded teacher is no longer what it was when its labels began."""
        known = self.state["teachers"].get(str(teacher))
        if known is not None and known != facts:
            raise UsageProblem(
                f"The weights of {facts['teacher']} have changed since labeling began.",
                "Restore them, or start anew with --overwrite or another --out.",
            )

    def remember(self, teacher: int, facts: dict[str, Any]) -> None:
        """Note what a teacher is, once; raises UsageProblem where it is not what it was."""
        self.check_teacher(teacher, facts)
        if str(teacher) not in self.state["teachers"]:
            self.state["teachers"][str(teacher)] = facts
            write_json(self.folder.state, self.state)

    def check_bad(self, bad: Mapping[str, str]) -> None:
        """Raise TrainingStopped when more than the allowed share of the photos cannot be read (reason by path)."""
        total, limit = len(self.plan.photos), self.recipe.images.max_skipped
        if len(bad) > limit * total:
            raise TrainingStopped(
                f"{len(bad)} of {total} photos cannot be read, more than images.max_skipped {limit:.3g} allows: "
                f"{min(bad.values())}, for instance.",
                "Remove them, or raise it: --set images.max_skipped=0.1",
            )


def job_from(plain: dict[str, Any]) -> LabelJob:
    """Return the job that `LabelJob.plain` describes, for a worker: its plan knows how many photos there are, not which."""
    recipe = LabelRecipe.model_validate(plain["recipe"])
    return LabelJob(
        recipe=recipe,
        folder=LabelFolder(Path(plain["folder"])),
        plan=Plan(recipe, [], plain["photos"]),
        references=[check_runnable(resolve_model(entry.model, entry.arch)) for entry in recipe.teachers],
        precisions=plain["precisions"],
        device=torch.device(plain["device"]),
        workers=plain["workers"],
        recipe_sha256=plain["recipe_sha256"],
        state=plain["state"],
    )


def fingerprint(recipe: LabelRecipe) -> str:
    """Return the sha256 of the resolved recipe without the keys that no label depends on."""
    images = recipe.images.model_copy(update={"workers": 0, "max_skipped": 0.0})
    return recipe_hash(recipe.model_copy(update={"out": None, "images": images}))


def choose_label_folder(recipe: LabelRecipe, out: str | None, overwrite: bool) -> LabelFolder:
    """Return where labels go; raises UsageProblem where the folder holds something else, or labels of another recipe."""
    folder = LabelFolder(Path(out or recipe.out or Path("labels") / recipe.name))
    if folder.path.exists() and not folder.path.is_dir():
        raise UsageProblem(f"{folder.path} is a file, not a folder.", "Choose another --out.")
    if not folder.recipe.exists():
        if folder.path.is_dir() and not all(p.name.startswith(_BEFORE) for p in folder.path.iterdir()):
            raise UsageProblem(f"{folder.path} is not empty and holds no labels.", "Choose another --out.")
        return folder
    try:
        old = read_yaml(folder.recipe)
    except RecipeError as error:
        raise CcdError(f"{folder.recipe} is damaged.", "Start anew with --overwrite.") from error
    if not isinstance(old, dict) or old.get("task") != "label":
        raise UsageProblem(f"{folder.path} holds a run, not labels.", "Choose another --out.")
    changed = [d for d in differences(old, recipe.model_dump(mode="json")) if not d[0].startswith(FREE_TO_CHANGE)]
    if changed and not overwrite:
        rows = "; ".join(f"{key}: {a} then, {b} now" for key, a, b in changed[:8])
        raise UsageProblem(
            f"{folder.path} was begun with another recipe ({rows}).",
            "Go on with the same recipe, or start anew with --overwrite or another --out.",
        )
    return folder


def is_finished(folder: LabelFolder) -> bool:
    """Return whether the index and every shard that it names are there, at their size."""
    if not folder.index.exists():
        return False
    return all(
        (path := folder.path / shard.file).is_file() and path.stat().st_size == shard.bytes
        for shard in read_index(folder.path).shards
    )


def photos_changed(recipe: LabelRecipe, folder: LabelFolder) -> bool:
    """Return whether the photos that the recipe names are others than those of the labels; not where there are none."""
    try:
        now = Source(list_photos([builtin_path(text) for text in recipe.images.paths])).digest
        then = json.loads(folder.state.read_text(encoding="utf-8"))["photos"]
    except (CcdError, OSError, ValueError, KeyError, TypeError):
        return False
    return bool(now != then)


def prepare(
    recipe: LabelRecipe, folder: LabelFolder, overwrite: bool, choose: Choose, report: Report, stack: ExitStack
) -> LabelJob:
    """Check everything and hold the folder's lock; raises CcdError with one plain line for whatever is wrong.

    `choose(precisions, threads)` returns the device and the number formats that the recipe's `precision` means on it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageProblem("ccd label works in one process.", "Start it without torchrun.")
    photos = list_photos([builtin_path(text) for text in recipe.images.paths])
    here = folder.path.resolve()
    if inside := next((path for path in photos if path.resolve().is_relative_to(here)), None):
        raise UsageProblem(f"{inside} lies in the folder that labels go to.", "Choose another --out.")
    references = [check_runnable(resolve_model(entry.model, entry.arch)) for entry in recipe.teachers]
    name, precisions = choose([entry.precision for entry in recipe.teachers], recipe.threads)
    device = torch.device(name)
    plan = Plan(recipe, photos)
    state = {
        "photos": Source(photos).digest,
        "device": device.type,
        "precision": precisions,
        "ccd": ccd_cli.__version__,
        "teachers": {},
    }
    _check_space(recipe, folder, plan)
    folder.path.mkdir(parents=True, exist_ok=True)
    stack.enter_context(exclusive_lock(folder.lock, f"Another process is writing {folder.path}."))
    choose_label_folder(recipe, str(folder.path), overwrite)  # again: another run may have been here before the lock
    folder.sweep()
    fresh = overwrite or not folder.recipe.exists()
    state = state if fresh else _known_state(folder, state, report)
    job = LabelJob(
        recipe=recipe,
        folder=folder,
        plan=plan,
        references=references,
        precisions=precisions,
        device=device,
        workers=recipe.images.workers or min(16, os.cpu_count() or 1),
        recipe_sha256=fingerprint(recipe),
        state=state,
    )
    if fresh:
        job.check_bad({str(p): reason for p, reason in bad_headers(photos, recipe.seed, job.workers, report)})
        folder.clear()
        write_json(folder.state, state)
        write_text(folder.recipe, to_yaml(recipe))  # last: from here on the folder holds labels
    return job


def bad_photos(folder: LabelFolder) -> dict[str, str]:
    """Return reason by path of the photos that are listed as unreadable."""
    return {line["photo"]: line["reason"] for line in read_json_lines(folder.skipped)}


def _known_state(folder: LabelFolder, now: dict[str, Any], report: Report) -> dict[str, Any]:
    """Return the state that labeling began with, after comparing it with the present one."""
    try:
        then = json.loads(folder.state.read_text(encoding="utf-8"))
        pairs = [(key, then[key], now[key]) for key in ("photos", "device", "precision", "ccd")]
        then["teachers"].get("0")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CcdError(f"{folder.state} is damaged.", "Start anew with --overwrite.") from error
    for key, a, b in pairs:
        if a == b:
            continue
        if key == "ccd":
            report.warn(f"These labels were begun by ccd {a}; the rest is made by ccd {b}.")
            continue
        what = "The list of photos has changed" if key == "photos" else f"The {key} is {b} and was {a}"
        raise UsageProblem(
            f"{what} since labeling began: the labels would not be the same.",
            "Restore it, or start anew with --overwrite or another --out.",
        )
    return dict(then)


def _check_space(recipe: LabelRecipe, folder: LabelFolder, plan: Plan) -> None:
    """Raise CcdError where the disk cannot take all labels, one shard of them twice, and the photos."""
    label = plan.views * len(recipe.teachers) * recipe.crops.size**2 * _BYTES_A_PIXEL
    needed = (plan.count + min(plan.count, recipe.shard)) * label
    if recipe.photos == "embed":
        needed += recipe.epochs * sum(path.stat().st_size for path in plan.photos if path.is_file())
    there = sum(p.stat().st_size for p in folder.path.rglob("*.tar")) if folder.path.is_dir() else 0
    check_free_space(folder.path, max(0, int(needed) - there), "The folder of labels")
