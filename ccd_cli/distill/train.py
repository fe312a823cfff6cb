"""`ccd distill`: train a student on labels that teachers make while it trains, or made earlier.

`run` checks and loads everything; `train` is the loop.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.compute import choose_compute, exact_convolutions, plain_memory_errors
from ccd_cli.core.errors import CcdError, TrainingStopped
from ccd_cli.core.processes import by_first, mean, membership, plain_process_errors
from ccd_cli.core.report import Report, Silent
from ccd_cli.core.signals import Signals
from ccd_cli.distill import checkpoint
from ccd_cli.distill.guards import check_unreadable, share_unreadable
from ccd_cli.distill.metrics_log import MetricsLog, StepMetrics
from ccd_cli.distill.optimizer import (
    Schedule,
    finish_gradients,
    optimizer_step,
    restore_buffers,
    set_learning_rate,
    snapshot_buffers,
    update_ema,
)
from ccd_cli.distill.results import Result, at_intervals, finish, finished_result
from ccd_cli.distill.run_folder import RunFolder, choose_folder
from ccd_cli.distill.samples import prepare_samples
from ccd_cli.distill.setup import prepare
from ccd_cli.distill.state import Run, TrainState
from ccd_cli.distill.teaching.feed import Mark, labeled_steps
from ccd_cli.distill.teaching.teachers import follow_labels
from ccd_cli.losses.distillation import distillation_loss, whole_batch

PARTS = ("data", "teacher", "student", "loss", "backward", "optimizer", "log")
"""The parts of a step in their order; the first five come several times where a step has several micro-steps."""


def run(recipe: DistillRecipe, settings: DistillSettings, report: Report) -> Result:
    """Distill a student as the recipe says and return what the run left.

    Raises CcdError subclasses: before any time is spent for a bad folder, photo list, teacher, student, pairs file or
    disk; later TrainingStopped from a guard and Interrupted after a signal, both with the state saved.
    """
    recipe = follow_labels(recipe)
    compute = choose_compute(settings.device, settings.precision, settings.threads, report)
    if not compute.main:
        report = Silent()  # of several processes the first one speaks
    with Signals() as signals, ExitStack() as stack, plain_memory_errors():
        stack.enter_context(membership())
        path, done = by_first(partial(_choose_folder, recipe, settings, report), compute)
        folder = RunFolder(Path(path))
        if done:
            return finished_result(folder)
        prepared, state = prepare(recipe, folder, settings, compute, report, stack)
        if signals.received is not None:
            hint = f"Start with: {folder.resume_command}"
            raise signals.interruption("Stopped before the first step.", hint)
        return train(prepared, state, signals, report)


def _choose_folder(recipe: DistillRecipe, settings: DistillSettings, report: Report) -> tuple[str, bool]:
    """Return the run's folder, and whether a whole, finished run lies there that is to be resumed."""
    asked = settings.out or recipe.out
    folder = choose_folder(recipe.name, asked, settings.resume, settings.overwrite)
    if asked is None and folder.path.name != recipe.name:
        report.note(f"{folder.path.with_name(recipe.name)} holds a finished run: this one is {folder.path}")
    if settings.resume:
        checkpoint.check_same_recipe(folder, recipe.model_dump(mode="json"))
        if folder.finished:
            damaged = folder.damaged()
            if not damaged:
                report.note(f"{folder.path} is finished: nothing to do (--overwrite starts over)")
                return str(folder.path), True
            what = f"{', '.join(damaged)} of the finished run {folder.path}: damaged, changed or gone"
            if not folder.state.exists():
                raise CcdError(f"{what}, and there is no saved state.", "Start over with --overwrite.")
            report.warn(f"{what}; made again from the saved state.")
    return str(folder.path), False


@plain_process_errors()
def train(run: Run, state: TrainState, signals: Signals, report: Report, mark: Mark = lambda part: None) -> Result:
    """The distillation loop: from the state's step to the recipe's last; `mark` may raise to leave it."""
    recipe, optim, compute = run.recipe, run.recipe.optim, run.compute
    schedule = Schedule(optim.steps, optim.warmup, optim.schedule, optim.final_lr_ratio)
    metrics = StepMetrics(compute, optim.accumulate, len(run.stream.bad))
    samples = prepare_samples(run, state)
    exact = exact_convolutions(compute.type, compute.precision)  # in backward passes, too
    with exact, MetricsLog(run, state, report) as log, closing(labeled_steps(run, state.step, mark)) as feed:
        steps = range(state.step + 1, optim.steps + 1)
        for step in steps if not state.stalled(recipe.eval.patience) else ():
            began = time.perf_counter()
            torch.manual_seed(run.seed(step))
            lr = set_learning_rate(state.optimizer, schedule(step))
            buffers = snapshot_buffers(state.student)
            parts = next(feed)
            whole = None
            if len(parts) * compute.world > 1:
                whole = whole_batch([labels for _, labels in parts], recipe.loss, partial(mean, compute=compute))
                mark("loss")
            for batch, labels in parts:
                with compute.autocast(), state.exchanging(batch is parts[-1][0]):
                    prediction = state.predict(batch.student)
                mark("student")
                losses = distillation_loss(prediction, labels, batch.boxes, recipe.loss, whole)
                mark("loss")
                state.scaler.scale(losses["loss"] / optim.accumulate).backward()
                mark("backward")
                metrics.add(losses)
            norm = finish_gradients(state, optim.clip)
            now, events = metrics.reduce(norm, signals.received is not None, len(run.stream.bad))
            grad_norm = optimizer_step(state, now["loss"], events.gradient_norm)
            after_step(state, step, buffers, grad_norm, optim.ema)
            mark("optimizer")
            log.step(step, now, labels.teacher, lr, grad_norm, time.perf_counter() - began)
            if events.unreadable:
                metrics.unreadable = share_unreadable(run.stream, compute)
            check_guards(run, state, now, grad_norm, metrics.unreadable, report)
            last = at_intervals(run, state, samples, log)
            mark("log")
            if last:
                break
            if events.stop:
                checkpoint.save(run, state)
                raise signals.interruption(
                    f"Stopped after step {step} of {optim.steps}; the state is saved.",
                    f"Continue with: {run.folder.resume_command}",
                )
        return finish(run, state, samples, log)


def after_step(state: TrainState, step: int, buffers: list[Tensor], grad_norm: float | None, decay: float) -> None:
    """Count the step: move the EMA, or undo what the forward passes of a skipped step (`grad_norm` None) left in buffers."""
    if grad_norm is None:
        restore_buffers(state.student, buffers)
    elif state.ema is not None:
        update_ema(state.ema, state.student, decay, step)
    state.step = step


def check_guards(
    run: Run, state: TrainState, metrics: dict[str, float], grad_norm: float | None, unreadable: int, report: Report
) -> None:
    """Warn of a flat student; raises TrainingStopped, with the state saved, where it makes no sense to continue.

    All that it looks at is the same on every process: all of them stop, or none.
    """
    try:
        if grad_norm is None:
            state.guard.skipped(state.step)
        elif warning := state.guard.watch(state.step, metrics["drift"], metrics["student_mad"], metrics["label_mad"]):
            report.warn(warning)
        check_unreadable(unreadable, run.stream.files, run.recipe.images.max_skipped)
    except TrainingStopped:
        checkpoint.save(run, state)
        raise
