"""`ccd distill`: train a student on labels that teachers make while it trains.

`run` checks everything, then hands a `Job` to `train`, which is the loop.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

import torch
from torch import Tensor

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.errors import TrainingStopped
from ccd_cli.core.files import read_json_lines
from ccd_cli.core.report import Report, Silent
from ccd_cli.core.runtime import Runtime, Signals, memory_error
from ccd_cli.core.seeding import step_seed
from ccd_cli.data.views import batches
from ccd_cli.distill.inputs import teacher_seed
from ccd_cli.distill.metrics_log import Records, Result
from ccd_cli.distill.optimizer import learning_rate_scale, set_learning_rate, update_ema
from ccd_cli.distill.run_folder import RunFolder, check_same_recipe, choose_folder
from ccd_cli.distill.setup import Job, prepare
from ccd_cli.distill.teachers import follow_labels
from ccd_cli.losses.distillation import objective


def run(
    recipe: DistillRecipe,
    *,
    out: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    report: Report,
) -> Result:
    """Distil a student as the recipe says and return what the run left.

    Raises CcdError subclasses: before any time is spent for a bad folder, photo list, teacher, student, pairs file or
    disk; later TrainingStopped from a guard and Interrupted after a signal, both with the state saved.
    """
    recipe = follow_labels(recipe)
    folder = choose_folder(recipe.name, out or recipe.out, resume, overwrite)
    if resume:
        check_same_recipe(folder, recipe.model_dump(mode="json"))
        if folder.finished:
            report.note(f"{folder.path} is finished: nothing to do (--overwrite starts anew)")
            return _finished(folder)
    if int(os.environ.get("RANK", "0")) > 0:
        report = Silent()  # of several processes the first one speaks
    with Signals() as signals, ExitStack() as stack:
        try:
            job = prepare(recipe, folder, resume, device, precision, threads, report, signals, stack)
            return train(job, signals, report)
        except (RuntimeError, MemoryError) as error:
            plain = memory_error(error)
            if plain is None:
                raise
            raise plain from error


def _finished(folder: RunFolder) -> Result:
    """Return the result of a run that ended earlier."""
    last = read_json_lines(folder.metrics)[-1]
    best = json.loads(folder.eval.read_text(encoding="utf-8"))["best"]
    loss = float("nan") if last["loss"] is None else last["loss"]
    return Result(folder.path, last["step"], loss, best or {}, len(read_json_lines(folder.skipped)))


def train(job: Job, signals: Signals, report: Report) -> Result:
    """The distillation loop: from the job's step to the recipe's last."""
    recipe, optim, runtime = job.recipe, job.recipe.optim, job.runtime
    with Records(job, report) as records:
        feed = batches(job.stream, _positions(job), job.workers, prefetch=2)
        for step in range(job.step + 1, optim.steps + 1):
            began = time.perf_counter()
            torch.manual_seed(step_seed(recipe.seed, 3, step, runtime.rank))
            scale = learning_rate_scale(step, optim.steps, optim.warmup, optim.schedule, optim.final_lr_ratio)
            lr = set_learning_rate(job.optimizer, scale)
            teacher = job.ensemble.draw(teacher_seed(recipe, step))

            buffers = [b.clone() for b in job.student.buffers()]  # a bad step must not leave its statistics behind
            sums: dict[str, Tensor] = {}
            for turn in range(optim.accumulate):
                batch = next(feed)
                seen, boxes = _on(batch.student, runtime), _on(batch.boxes, runtime)
                clean = None if batch.clean is None else _on(batch.clean, runtime)
                given = {index: _on(maps, runtime) for index, maps in batch.given.items()}
                wanted = len(boxes) if recipe.loss.feature.weight and job.features else 0
                noise_seed = step_seed(recipe.seed, 6, step, turn, runtime.rank)
                labels = job.ensemble.label(clean, teacher, wanted, given, noise_seed)
                with runtime.autocast():
                    maps, tokens = job.student.forward_with_features(job.student.normalize(seen))
                parts = objective(
                    maps, tokens, labels.values, labels.valid, boxes, recipe.loss, labels.tokens, job.projection
                )
                job.scaler.scale(parts["loss"] / optim.accumulate).backward()
                parts |= {"label_median": labels.median, "label_mad": labels.mad}
                for name, value in parts.items():
                    sums[name] = sums.get(name, torch.zeros(())) + value.detach() / optim.accumulate

            sums["stop"] = torch.tensor(float(signals.received is not None))
            figures = _mean_over_processes(sums, runtime)
            stop = figures.pop("stop") > 0  # agreed by all processes, so that they stop at the same step
            norm = _update(job, figures["loss"])
            good = norm is not None
            if not good:
                for buffer, before in zip(job.student.buffers(), buffers, strict=True):
                    buffer.copy_(before)
            elif job.mean is not None:
                update_ema(job.mean, job.student, optim.ema, step)
            job.step = step
            speed = optim.batch * optim.accumulate / (time.perf_counter() - began)
            records.step(step, figures, labels.teacher, lr, norm, speed)

            try:
                if good:
                    records.warn_once(job.guard.watch(step, figures["drift"], figures["student_mad"]))
                else:
                    job.guard.skipped(step)
                job.check_skipped()
            except TrainingStopped:
                records.save()
                raise
            records.at_intervals(step)
            if stop and step < optim.steps:
                records.save()
                raise signals.interruption(
                    f"Stopped after step {step} of {optim.steps}; the state is saved.", job.how_to_go_on
                )
        return records.finish()


def _positions(job: Job) -> Iterator[list[int]]:
    """Yield this process's photo positions of every forward pass still to come."""
    batch, world, rank = job.recipe.optim.batch, job.runtime.world, job.runtime.rank
    first = job.step * job.recipe.optim.accumulate
    for number in range(first, job.recipe.optim.steps * job.recipe.optim.accumulate):
        yield list(range(number * batch, (number + 1) * batch))[rank::world]


def _on(pixels: Tensor, runtime: Runtime) -> Tensor:
    """Move to the device; uint8 pixels become float in 0..1, channels last where that is faster."""
    moved = pixels.to(runtime.device, non_blocking=True)
    if moved.dtype != torch.uint8:
        return moved
    return moved.float().div_(255.0).contiguous(memory_format=torch.channels_last)


def _mean_over_processes(sums: dict[str, Tensor], runtime: Runtime) -> dict[str, float]:
    """Return the figures as floats, averaged over processes; one transfer for all of them."""
    dtype = torch.float32 if runtime.device.type == "mps" else torch.float64
    values = torch.stack([torch.as_tensor(value, dtype=dtype, device=runtime.device) for value in sums.values()])
    if runtime.world > 1:
        torch.distributed.all_reduce(values)
        values /= runtime.world
    return dict(zip(sums, values.tolist(), strict=True))


def _update(job: Job, loss: float) -> float | None:
    """Take one optimizer step; returns the gradient norm, or None (and no step) where loss or gradient is not finite."""
    parameters = [p for group in job.optimizer.param_groups for p in group["params"] if p.grad is not None]
    if job.runtime.world > 1:
        flat = torch.cat([p.grad.flatten() for p in parameters])
        torch.distributed.all_reduce(flat)
        flat /= job.runtime.world
        for p, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad.copy_(piece.view_as(p.grad))
    job.scaler.unscale_(job.optimizer)
    clip = job.recipe.optim.clip or float("inf")
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip))
    finite = norm == norm and abs(norm) != float("inf") and loss == loss and abs(loss) != float("inf")
    if finite:
        job.scaler.step(job.optimizer)
    job.scaler.update()
    job.optimizer.zero_grad(set_to_none=True)
    return norm if finite else None
