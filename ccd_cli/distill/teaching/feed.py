"""The labeled batches of every step, in order: made when a step asks for them, or one step ahead in a thread beside it.

What a step gets follows from the recipe's seed and the step's number alone, so that both ways give the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from ccd_cli.core.compute import Compute
from ccd_cli.data.batch import Batch
from ccd_cli.data.views import batches
from ccd_cli.distill.images import worker_count
from ccd_cli.distill.state import Run
from ccd_cli.losses.distillation import Labels

Labeled = list[tuple[Batch, Labels]]
"""The micro-steps of a step: what the student sees, and what it is to learn of it."""
Mark = Callable[[str], None]
"""Hears of every part of a step when it has ended."""


def labeled_steps(run: Run, done: int, mark: Mark) -> Generator[Labeled]:
    """Yield the micro-steps of every step after `done`; raises what reading images and asking teachers raise, in this thread."""
    workers, images = worker_count(run.recipe), math.ceil(run.recipe.optim.batch / run.compute.world)
    groups = batches(run.stream, run.positions(done), workers, prefetch=max(2, math.ceil(workers / images)))
    steps = range(done + 1, run.recipe.optim.steps + 1)
    with closing(groups):
        if steps and labels_ahead(run):
            yield from _one_ahead(run, steps, groups, mark)
        else:
            for step in steps:
                yield label_step(run, step, groups, mark)


def labels_ahead(run: Run) -> bool:
    """Return whether labels of the next step are made beside the present one; see the recipe's `compute.ahead`."""
    wanted, here = run.recipe.compute.ahead, run.compute.device
    elsewhere = any(m.device is not None and torch.device(m.device) != here for m in run.ensemble.members)
    return wanted == "always" or (wanted == "auto" and elsewhere)


def label_step(run: Run, step: int, groups: Iterator[Batch], mark: Mark) -> Labeled:
    """Label the next batches for a step by one teacher (paper, 3.2), or by the average of all."""
    teacher, parts = run.ensemble.draw(step), []
    for micro_step in range(run.recipe.optim.accumulate):
        batch = next(groups).to(run.compute.device)
        mark("data")
        parts.append((batch, run.ensemble.label(batch, teacher, run.features, run.noise_seed(step, micro_step))))
        mark("teacher")
    return parts


def _one_ahead(run: Run, steps: range, groups: Iterator[Batch], mark: Mark) -> Iterator[Labeled]:
    """What this thread waits for counts as the teacher's time. An end waits for the labels at hand, of one step at most."""
    compute = run.compute
    beside = torch.cuda.Stream(compute.device) if compute.type == "cuda" else None

    def make(step: int) -> tuple[Labeled, Any]:
        with torch.cuda.stream(beside):
            made = label_step(run, step, groups, lambda part: None)
            return made, None if beside is None else beside.record_event()

    pool = ThreadPoolExecutor(1, "teachers", _as_here, (compute, torch.get_num_threads()))
    try:
        waiting = pool.submit(make, steps[0])
        for step in steps:
            mark("data")
            made, ready = waiting.result()
            if ready is not None:
                stream = torch.cuda.current_stream(compute.device)
                stream.wait_event(ready)
                for tensor in _tensors(made):
                    tensor.record_stream(stream)
            mark("teacher")
            if step != steps[-1]:
                waiting = pool.submit(make, step + 1)
            yield made
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _as_here(compute: Compute, threads: int) -> None:
    """Begin a thread that computes as this one does: both settings are a thread's own."""
    torch.get_num_threads()  # a thread takes what others chose last when it is first asked, and would do so after this
    torch.set_num_threads(threads)
    if compute.type == "cuda":
        torch.cuda.set_device(compute.device)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in lists, tuples, dicts and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif is_dataclass(value):
        yield from _tensors([getattr(value, field.name) for field in fields(value)])
