"""The folder of a run: which files it holds, whether a run may start in it, and its saved state."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path
from typing import Any

import torch

from ccd_cli.config.load import differences
from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import CcdError, RecipeError, UsageProblem, first_line
from ccd_cli.core.files import atomic_write, json_line, read_json_lines

STATE_FORMAT = 1
FREE_TO_CHANGE = (
    "out",
    "images.workers",
    "images.scenes.cache_mb",
    "log.samples",
    "log.samples_every",
    "log.tensorboard",
    "optim.checkpoint_every",
    "guards.",
    "images.max_skipped",
)
"""Recipe keys that may differ on resume: they do not touch the weights."""


class RunFolder:
    """Paths of a run. `recipe.yaml` marks a run; `card.md`, written last, marks a finished one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.student = path / "student.safetensors"
        self.state = path / "checkpoints" / "last.pt"
        self.metrics = path / "metrics.jsonl"
        self.skipped = path / "skipped.jsonl"
        self.card = path / "card.md"
        self.eval = path / "eval.json"
        self.plots = path / "plots"
        self.events = path / "tensorboard"
        self.lock = path / ".lock"
        self._skip_lock = threading.Lock()
        self._listed: set[str] | None = None

    @property
    def holds_run(self) -> bool:
        """True if a run was begun here (a folder of labels has a recipe too, and `label.json`)."""
        return self.recipe.exists() and not (self.path / "label.json").exists()

    @property
    def finished(self) -> bool:
        """True if the run came to its end."""
        return self.holds_run and self.card.exists()

    def clear(self) -> None:
        """Remove a run's files and its folders `checkpoints`, `plots` and `tensorboard`, and nothing else."""
        self._listed = None
        for file in (self.recipe, self.student, self.state, self.metrics, self.skipped, self.card, self.eval):
            file.unlink(missing_ok=True)
        for folder in (self.plots, self.events, self.state.parent):
            shutil.rmtree(folder, ignore_errors=True)

    def note_skipped(self, photo: Path, reason: str) -> None:
        """Add one line to `skipped.jsonl`; a photo that is listed is not listed again."""
        with self._skip_lock:
            if self._listed is None:
                self._listed = {line["photo"] for line in read_json_lines(self.skipped)}
            if str(photo) not in self._listed:
                self._listed.add(str(photo))
                with self.skipped.open("a", encoding="utf-8") as file:
                    file.write(json_line({"photo": str(photo), "reason": reason}))


def choose_folder(name: str, out: str | None, resume: bool, overwrite: bool) -> RunFolder:
    """Return where a run writes, or raise UsageProblem where the contract says to stop.

    A folder with a run needs `--resume` or `--overwrite`; without `out`, beside a finished run the next free of
    `runs/NAME-2`, `-3`, ... is taken. A folder that holds something else is never written into.
    """
    folder = RunFolder(Path(out) if out else Path("runs") / name)
    if resume and overwrite:
        raise UsageProblem("--resume and --overwrite contradict each other.", "Give one of them.")
    if out is None and not resume and not overwrite:
        number = 1
        while folder.finished:
            number += 1
            folder = RunFolder(Path("runs") / f"{name}-{number}")
    if out is None and resume:
        number = 2
        while (later := RunFolder(Path("runs") / f"{name}-{number}")).holds_run:
            folder, number = later, number + 1
    if folder.path.exists() and not folder.path.is_dir():
        raise UsageProblem(f"{folder.path} is a file, not a folder.", "Choose another --out.")
    if folder.holds_run and not resume and not overwrite:
        state = "a finished run" if folder.finished else "an unfinished run"
        raise UsageProblem(
            f"{folder.path} holds {state}.",
            "Go on with --resume, start anew with --overwrite, or choose another --out.",
        )
    if resume and not folder.holds_run:
        raise UsageProblem(f"{folder.path} holds no run to resume.", "Leave --resume out to start one.")
    strangers = folder.path.is_dir() and any(p.name != folder.lock.name for p in folder.path.iterdir())
    if not folder.holds_run and strangers:
        raise UsageProblem(f"{folder.path} is not empty and holds no run.", "Choose another --out.")
    return folder


def check_same_recipe(folder: RunFolder, recipe: dict[str, Any]) -> None:
    """Raise UsageProblem listing every key in which a resumed run's recipe differs from the one it began with."""
    try:
        old = read_yaml(folder.recipe)
    except RecipeError as error:
        raise CcdError(f"{folder.recipe} is damaged.", "Start anew with --overwrite.") from error
    changed = [d for d in differences(old, recipe) if not d[0].startswith(FREE_TO_CHANGE)]
    if changed:
        rows = "; ".join(f"{key}: {a} then, {b} now" for key, a, b in changed[:8])
        raise UsageProblem(
            f"{folder.path} was begun with another recipe ({rows}).",
            "Resume with the same recipe, or start anew with --overwrite or another --out.",
        )


def save_state(folder: RunFolder, state: dict[str, Any]) -> None:
    """Write `checkpoints/last.pt` whole or not at all."""
    with atomic_write(folder.state) as temporary:
        try:
            torch.save({"format": STATE_FORMAT, **state}, temporary)
        except RuntimeError as error:  # torch's file writer reports a full disk as RuntimeError
            if "writ" not in str(error) and "space" not in str(error):
                raise
            raise OSError(errno.ENOSPC, first_line(error)) from error


def load_state(folder: RunFolder) -> dict[str, Any] | None:
    """Return the saved state (tensors on the CPU, weights-only loading), or None before the first save."""
    if not folder.state.exists():
        return None
    try:
        state = torch.load(folder.state, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may fail anywhere in the unpickler
        raise CcdError(
            f"{folder.state} is damaged ({type(error).__name__}).", "Start anew with --overwrite."
        ) from error
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        raise CcdError(f"{folder.state} was not written by this version of ccd.", "Start anew with --overwrite.")
    return state
