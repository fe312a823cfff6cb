"""The loop of `ccd distill` for a few steps: the same calls on the same images, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.compute import choose_compute, plain_memory_errors
from ccd_cli.core.errors import Interrupted
from ccd_cli.core.processes import membership
from ccd_cli.core.report import Report, Silent
from ccd_cli.core.signals import Signals
from ccd_cli.distill.guards import Guard
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.setup import prepare
from ccd_cli.distill.state import Run, TrainState
from ccd_cli.distill.teaching.feed import Mark
from ccd_cli.distill.teaching.teachers import follow_labels
from ccd_cli.distill.train import PARTS, train

NEVER = 10**9


class _Enough(Exception):
    """As many steps as were asked for are done."""


@contextmanager
def rehearsal(
    recipe: DistillRecipe, settings: DistillSettings, folder: Path, report: Report
) -> Iterator[tuple[Run, TrainState, Signals]]:
    """Check and load everything as a run into `folder` would; raises what `distill.train.run` raises before its first step."""
    compute = choose_compute(settings.device, settings.precision, settings.threads, report)
    if not compute.main:
        report = Silent()  # of several processes the first one speaks
    with Signals() as signals, ExitStack() as stack, plain_memory_errors():
        stack.enter_context(membership())
        dry = RunFolder(folder, dry=True)
        yield *prepare(follow_labels(recipe), dry, settings, compute, report, stack), signals


def walk(run: Run, state: TrainState, signals: Signals, count: int, mark: Mark) -> None:
    """Train for `count` steps from the state's; `mark` hears of every part. Raises Interrupted after the step of a signal."""
    done = 0

    def listen(part: str) -> None:
        nonlocal done
        mark(part)
        if part != PARTS[-1]:
            return
        done += 1
        if done == count:
            raise _Enough

    state.guard = Guard(float("inf"), NEVER, NEVER)
    quiet = replace(run, recipe=_without_files(run.recipe, state.step + count + 1), validation=None)
    try:
        train(quiet, state, signals, Silent(), listen)
    except Interrupted as error:  # of one process, after the same step in all of them
        raise Interrupted("Stopped.", "Nothing was written.", error.exit_code) from None
    except _Enough:
        state.optimizer.zero_grad(set_to_none=True)


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given; for clocks."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _without_files(recipe: DistillRecipe, steps: int) -> DistillRecipe:
    """Return the recipe without what would end a step in a file, a score or the end of the run."""
    optim = recipe.optim.model_copy(update={"steps": max(recipe.optim.steps, steps), "checkpoint_every": NEVER})
    log = recipe.log.model_copy(update={"samples": 0, "tensorboard": False, "wandb": False, "mlflow": False})
    images = recipe.images.model_copy(update={"max_skipped": 1.0})
    return recipe.model_copy(update={"optim": optim, "log": log, "images": images})
