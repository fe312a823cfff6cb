"""The folder of a run: which files it holds, and whether a run may start in it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import threading
from pathlib import Path
from typing import Any

from ccd_cli.core.checksums import checksum, checksum_of, is_intact, is_sealed, seal
from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.files import json_line, read_json_lines, write_json, write_text


class RunFolder:
    """Paths of a run. `recipe.yaml` marks a run; `card.md`, written last, marks a finished one.

    `run.json` holds the checksums of a finished run's files. `dry`: nothing is written into it, nor is it made.
    """

    def __init__(self, path: Path, dry: bool = False) -> None:
        self.path, self.dry = path, dry
        self.recipe = path / "recipe.yaml"
        self.student = path / "student.safetensors"
        self.state = path / "checkpoints" / "last.pt"
        self.metrics = Path(os.devnull) if dry else path / "metrics.jsonl"
        self.skipped = path / "skipped.jsonl"
        self.card = path / "card.md"
        self.eval = path / "eval.json"
        self.record = path / "run.json"
        self.plots = path / "plots"
        self.events = path / "tensorboard"
        self.trackers = path / "trackers.json"
        self.wandb = path / "wandb"
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

    @property
    def resume_command(self) -> str:
        """The command that continues this run: by the recipe in its folder, which holds every `--set` too."""
        return f"ccd distill {shlex.quote(str(self.recipe))} --resume --out {shlex.quote(str(self.path))}"

    def clear(self) -> None:
        """Remove a run's files and its folders `checkpoints`, `plots`, `tensorboard` and `wandb`, and nothing else."""
        self.reopen()
        for file in (self.recipe, self.student, self.state, self.metrics, self.eval, self.trackers):
            file.unlink(missing_ok=True)
        for folder in (self.plots, self.events, self.wandb, self.state.parent):
            shutil.rmtree(folder, ignore_errors=True)

    def reopen(self) -> None:
        """Take away the signs of a finished run, and the list of skipped images, which a resumed run writes again."""
        self._listed = None
        self.skipped.unlink(missing_ok=True)
        self.card.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)

    def finish(self, card: str) -> None:
        """Write `run.json` and then `card.md`, the file that marks a finished run."""
        files = {name: checksum(path) for name, path in self._results().items() if path.is_file()}
        files[self.card.name] = checksum_of(card.encode())
        write_json(self.record, seal({"format": 1, "files": files}))
        write_text(self.card, card)

    def damaged(self) -> list[str]:
        """Return which files of a finished run are gone or not what they were when it finished (all bytes are read)."""
        if not self.record.exists():  # a run of an earlier version
            return [p.name for p in (self.student, self.metrics, self.eval) if not p.is_file() or not p.stat().st_size]
        try:
            recorded: Any = json.loads(self.record.read_bytes())
        except (ValueError, RecursionError):
            return [self.record.name]
        if not is_sealed(recorded) or not isinstance(recorded.get("files"), dict):
            return [self.record.name]
        return [name for name, each in recorded["files"].items() if not is_intact(self.path / name, each, full=True)]

    def _results(self) -> dict[str, Path]:
        plots = sorted(self.plots.glob("*.png"))
        files = (self.recipe, self.student, self.metrics, self.eval, self.skipped, *plots)
        return {path.relative_to(self.path).as_posix(): path for path in files}

    def note_skipped(self, photo: Path, reason: str) -> None:
        """Add one line to `skipped.jsonl`; a photo that is listed is not listed again."""
        if self.dry:
            return
        with self._skip_lock:
            if self._listed is None:
                lines = read_json_lines(self.skipped)
                self._listed = {str(line.get("photo")) for line in lines if isinstance(line, dict)}
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
            f"Continue with: {folder.resume_command} (--overwrite starts over; or choose another --out)."
            if not folder.finished
            else "Start over with --overwrite, or choose another --out.",
        )
    if resume and not folder.holds_run:
        raise UsageProblem(f"{folder.path} holds no run to resume.", "Leave --resume out to start one.")
    strangers = folder.path.is_dir() and any(p.name != folder.lock.name for p in folder.path.iterdir())
    if not folder.holds_run and strangers:
        raise UsageProblem(f"{folder.path} is not empty and holds no run.", "Choose another --out.")
    return folder
