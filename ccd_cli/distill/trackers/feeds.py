"""The trackers of a run: fed by threads of their own, so that none stops or slows the training."""

from __future__ import annotations

import importlib
import json
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ccd_cli.config.distill import DistillRecipe, Log, MlflowLog, WandbLog
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import write_json
from ccd_cli.core.report import Report
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.trackers.base import Opener, Status, Subject

QUEUED = 1000
"""Steps that wait for a tracker; one that is further behind is given up."""
PATIENCE_S = 60.0
"""Seconds that the end of a run waits for what is not sent yet."""
NO_REPORTS = {"wandb": ("WANDB_ERROR_REPORTING", "false"), "mlflow": ("MLFLOW_DISABLE_TELEMETRY", "true")}
"""Environment variables that keep the packages from reporting to their authors."""


def wandb_of(log: Log) -> WandbLog | None:
    """Return the settings of Weights & Biases; None where it is off."""
    return (WandbLog() if log.wandb else None) if isinstance(log.wandb, bool) else log.wandb


def mlflow_of(log: Log) -> MlflowLog | None:
    """Return the settings of MLflow; None where it is off."""
    return (MlflowLog() if log.mlflow else None) if isinstance(log.mlflow, bool) else log.mlflow


def openers(log: Log) -> dict[str, Opener]:
    """Return {name: what opens it} of the trackers that a recipe asks for, found and checked; nothing is sent.

    Raises CcdError where a package is missing or has no login.
    """
    found: dict[str, Opener] = {}
    if (settings := wandb_of(log)) is not None:
        _package("wandb")
        from ccd_cli.distill.trackers.weights_and_biases import opener

        found["wandb"] = opener(settings)
    if (other := mlflow_of(log)) is not None:
        _package("mlflow")
        from ccd_cli.distill.trackers.ml_flow import opener as opener_of_mlflow

        found["mlflow"] = opener_of_mlflow(other)
    return found


def _package(name: str) -> None:
    """Import a tracker's package, without what it tells its authors."""
    os.environ.setdefault(*NO_REPORTS[name])  # read when it is imported
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise CcdError(
            f"log.{name} needs the package {name} ({error}).", f'Install it: pip install "ccd-depth[{name}]"'
        ) from error


class Trackers:
    """The trackers of a run. Opening and logging happen in threads; what fails is warned about once and left alone."""

    def __init__(self, recipe: DistillRecipe, folder: RunFolder, report: Report) -> None:
        self._file, self._lock = folder.trackers, threading.Lock()
        self._known = _read(self._file)
        self._feeds = {
            name: _Feed(name, make, Subject(recipe, folder.path, self._known.get(name)), self._opened)
            for name, make in openers(recipe.log).items()
        }
        self._report = report

    def log(self, values: dict[str, Any], step: int) -> None:
        """Hand numbers and images of a step to every tracker, and warn of those that failed since the last time."""
        for feed in [*self._feeds.values()]:
            feed.add(values, step)
        self._warn()

    def close(self, status: Status) -> None:
        """Have everything sent and every run ended, for PATIENCE_S seconds at most."""
        for feed in self._feeds.values():
            feed.end(status)
        for feed in self._feeds.values():
            feed.join()
        self._warn()
        self._feeds = {}

    def _warn(self) -> None:
        for name, feed in [*self._feeds.items()]:
            if feed.problem is not None:
                del self._feeds[name]
                self._report.warn(f"Logging to {name} stops here ({feed.problem}); the run continues without it.")

    def _opened(self, name: str, identity: str) -> None:
        with self._lock:
            self._known[name] = identity
            write_json(self._file, self._known)


class _Feed:
    """One tracker in a thread of its own. `problem` tells why it failed, once it has."""

    def __init__(self, name: str, make: Opener, subject: Subject, opened: Callable[[str, str], None]) -> None:
        self.name = name
        self.problem: str | None = None
        self._make, self._subject, self._opened = make, subject, opened
        self._steps: queue.Queue[tuple[dict[str, Any], int]] = queue.Queue(QUEUED)
        self._status: Status | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ccd {name}", daemon=True)
        self._thread.start()

    def add(self, values: dict[str, Any], step: int) -> None:
        try:
            self._steps.put_nowait((values, step))
        except queue.Full:
            self._give_up(f"{QUEUED} entries wait to be sent")

    def end(self, status: Status) -> None:
        self._status = status
        self._ending.set()

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            self._give_up(f"not everything was sent within {PATIENCE_S:.0f} s after the end")

    def _give_up(self, why: str) -> None:
        self.problem = self.problem or why
        self._ending.set()

    def _run(self) -> None:
        try:
            tracker = self._make(self._subject)
            self._opened(self.name, tracker.identity)
            while self.problem is None:
                try:
                    values, step = self._steps.get(timeout=0.1)
                except queue.Empty:
                    if self._ending.is_set():
                        break
                    continue
                tracker.log(values, step)
            tracker.close(self._status or "failed")
        except BaseException as error:  # SystemExit too: whatever a foreign library does, the training goes on
            self._give_up(" ".join(f"{type(error).__name__}: {error}".split())[:300])


def _read(path: Path) -> dict[str, str]:
    """The ids of earlier parts of the run."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
