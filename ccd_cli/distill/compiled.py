"""torch.compile before the first step, for the shapes that all steps of a run have; everything else runs as it is.

Weights stay where they are: states, checkpoints, the EMA and validation know nothing of it.
"""

from __future__ import annotations

import torch

from ccd_cli.core.report import Report
from ccd_cli.data.batch import StudentViews
from ccd_cli.distill.optimizer import restore_buffers, snapshot_buffers
from ccd_cli.distill.state import Run, Trained, TrainState
from ccd_cli.models.compiling import plain_compile_errors


def compile_networks(run: Run, state: TrainState, report: Report) -> None:
    """Compile what the recipe's `compute.compile` names, by a pass of a step's size that leaves no trace.

    Raises CcdError where this machine cannot compile: CPUs need a C++ compiler, CUDA needs Triton.
    """
    wanted, views = run.recipe.compute.compile, run.stream.config
    images = run.recipe.optim.batch // run.compute.world
    if wanted in ("teachers", "both"):
        pixels = _pixels(run, images * views.teacher_views)
        for passes in run.ensemble.passes:
            report.note(f"Compiling {passes.teacher.name}")
            if not passes.compile(pixels):
                report.note(f"{passes.teacher.name} is left as it is: its architecture is not one of ccd's own")
    if wanted in ("student", "both"):
        report.note("Compiling the student")
        pixels = _pixels(run, images)
        _compile_student(run, state, StudentViews(pixels, pixels if views.own_region and views.shared else None))


def _pixels(run: Run, count: int) -> torch.Tensor:
    size = run.recipe.crops.size
    return torch.zeros(count, 3, size, size, dtype=torch.uint8, device=run.compute.device)


def _compile_student(run: Run, state: TrainState, views: StudentViews) -> None:
    """Compile it for training: forward and backward; running statistics stay what they were."""
    assert isinstance(state.network, Trained), "one process trains it"
    state.network.outputs = torch.compile(state.student.forward_all, dynamic=False)
    buffers = snapshot_buffers(state.student)
    with plain_compile_errors("Set compute.compile to none."):
        with run.compute.autocast():
            made = state.predict(views)
        loss = made.shared.mean() + made.local_global.mean()
        if made.sky is not None:
            loss = loss + made.sky.mean()
        if run.features and made.tokens is not None:
            loss = loss + made.tokens.float().mean()
        loss.backward()
    restore_buffers(state.student, buffers)
    state.optimizer.zero_grad(set_to_none=True)
