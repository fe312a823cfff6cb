"""What a distillation run is made of: what stays (`Run`) and what every step changes (`TrainState`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.compute import Compute, full_precision
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.data.batch import StudentViews, network_input
from ccd_cli.data.views import Stream
from ccd_cli.distill.guards import Guard
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.step_lines import StepLines
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.validation import Validation
from ccd_cli.losses.disparity import disparity_of
from ccd_cli.losses.distillation import Prediction
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.parallel import is_shard, like, whole

Forward = Callable[[Tensor], tuple[Tensor, Tensor | None, Tensor]]
"""Normalized images -> (maps, sky scores or None, tokens), as `DepthNet.forward_all`."""


@dataclass(frozen=True)
class Run:
    """What a run begins with and keeps from step to step (the stream only learns which images are unreadable).

    `features`: the feature term is on. `untrained` is the student before its first step; `licenses` and `hashes` (sha256 by
    name) are those of the teachers and of the weights that the student begins from.
    """

    recipe: DistillRecipe
    folder: RunFolder
    compute: Compute
    stream: Stream
    ensemble: TeacherEnsemble
    validation: Validation | None
    features: bool
    untrained: DepthNet
    licenses: list[str]
    hashes: dict[str, str]

    def positions(self, step: int) -> Iterator[list[int]]:
        """Yield this process's image positions of every micro-step after `step`."""
        batch, accumulate = self.recipe.optim.batch, self.recipe.optim.accumulate
        for number in range(step * accumulate, self.recipe.optim.steps * accumulate):
            yield list(range(number * batch, (number + 1) * batch))[self.compute.rank :: self.compute.world]

    def seed(self, step: int) -> int:
        """Return the seed of torch's generators in a step of this process."""
        return step_seed(self.recipe.seed, Draw.STEP, step, self.compute.rank)

    def noise_seed(self, step: int, micro_step: int) -> int:
        """Return the seed of the noise that the recipe puts on labels."""
        return step_seed(self.recipe.seed, Draw.LABEL_NOISE, step, micro_step, self.compute.rank)


class Trained(nn.Module):
    """The student and the learned map of the feature term: all that has parameters to train, in one call."""

    def __init__(self, student: DepthNet, projection: nn.Module | None) -> None:
        super().__init__()
        self.student, self.projection = student, projection
        self.outputs: Forward = student.forward_all  # or the same compiled

    def forward(self, images: Tensor, count: int | None = None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Normalized images [B,3,S,S] -> (maps and sky scores [B,S,S], tokens [count,N,C] of the first `count` images).

        Scores are None where the student marks no sky; `count` None: tokens of all images.
        """
        maps, sky, tokens = self.outputs(images)
        tokens = tokens[:count]
        if self.projection is not None:
            with full_precision(tokens.device):
                tokens = self.projection(tokens.float())
        return maps, sky, tokens


@dataclass
class TrainState:
    """Everything that training changes, and so everything that is saved. `step` is the last finished one.

    `ema` is the exponential moving average of the student's weights, `projection` the learned map of the feature term,
    `best` and `history` hold scores, `best_weights` (on the CPU) are those of the best scores, `lines` those of `metrics.jsonl`,
    `first_samples` [N,S,S] the untrained student's maps in the sample grid. `network` is what is called to train: `Trained`, or
    what makes several processes train it. `whole` is the student to score and save of a sharded one, see `whole_student`.
    """

    student: DepthNet
    ema: DepthNet | None
    projection: nn.Module | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    guard: Guard
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] | None = None
    best_weights: dict[str, Tensor] | None = None
    lines: StepLines = field(default_factory=StepLines)
    first_samples: Tensor | None = None
    network: nn.Module | None = None
    whole: DepthNet | None = None

    @property
    def averaged(self) -> DepthNet:
        """The EMA if there is one, else the student."""
        return self.student if self.ema is None else self.ema

    @property
    def evaluated(self) -> DepthNet:
        """The network that is scored and saved, whole: the EMA if there is one."""
        network = self.averaged if self.whole is None else self.whole
        assert not any(map(is_shard, network.parameters())), "whole_student makes it whole"
        return network

    def stalled(self, patience: int) -> bool:
        """Return whether the last step was scored, and no better score came in `patience` evaluations (0: never)."""
        if not patience or not self.history or self.history[-1]["step"] != self.step or self.best is None:
            return False
        return sum(row["step"] > self.best["step"] for row in self.history) >= patience

    def exchanging(self, last: bool) -> AbstractContextManager[Any]:
        """Return the context for the forward pass of a micro-step; gradients of copies are averaged after the `last` one alone.

        Those of shards are averaged after each, for what is not yet averaged is not divided.
        """
        averages_later = isinstance(self.network, DistributedDataParallel) and not last
        return self.network.no_sync() if averages_later else nullcontext()  # type: ignore[operator, union-attr]

    def predict(self, views: StudentViews) -> Prediction:
        """Return what the student predicts for its views; with gradients, under the caller's autocast."""
        network = self.network or Trained(self.student, self.projection)
        maps, sky, tokens = network(self.student.normalize(network_input(views.stack())), len(views.shared))
        disparity = disparity_of(maps.float(), self.student.arch.kind)
        depth = None if self.student.arch.kind == "disparity" else views.split(maps.float())[0]
        return Prediction(*views.split(disparity), tokens, depth, None if sky is None else views.split(sky)[0])

    def state_dict(self) -> dict[str, Any]:
        """Return everything in tensors, numbers, lists and dicts, as `torch.load(weights_only=True)` reads them.

        What is sharded is whole in the first process and None in the others; all of them take part.
        """
        values = {
            "step": self.step,
            "student": self.student.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "projection": None if self.projection is None else self.projection.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "guard": self.guard.state_dict(),
            "history": self.history,
            "best": self.best,
            "best_weights": self.best_weights,
            "lines": self.lines.state_dict(),
            "first_samples": self.first_samples,
        }
        made: dict[str, Any] = whole(values)
        return made

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take up what `state_dict` returned in the first process; other keys are ignored. All processes take part."""
        for name in ("student", "ema", "projection"):
            network = getattr(self, name)
            if network is not None:
                now = network.state_dict()
                network.load_state_dict({key: like(value, now.get(key)) for key, value in saved[name].items()})
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments = {
            number: {key: like(value, trained[number]) for key, value in each.items()}
            for number, each in saved["optimizer"]["state"].items()
        }
        self.optimizer.load_state_dict({**saved["optimizer"], "state": moments})
        if saved["scaler"]:  # empty: the run was in a precision that needs no scale
            self.scaler.load_state_dict(saved["scaler"])
        self.guard.load_state_dict(saved["guard"])
        self.step, self.history, self.best = saved["step"], saved["history"], saved["best"]
        self.best_weights, self.first_samples = saved["best_weights"], saved["first_samples"]
        self.lines.load_state_dict(saved["lines"])


@contextmanager
def whole_student(run: Run, state: TrainState) -> Iterator[None]:
    """Hold what is scored and saved of a sharded student whole, in the first process; all processes enter the block together.

    Of a student that is not sharded nothing is copied.
    """
    if not any(map(is_shard, state.averaged.parameters())):
        yield
        return
    weights = whole(state.averaged.state_dict())
    if run.compute.main:
        made = copy.deepcopy(run.untrained)
        made.load_state_dict(weights)
        state.whole = made.to(run.compute.device)
    try:
        yield
    finally:
        state.whole = None
