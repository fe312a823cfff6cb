"""What a distillation run is made of: what stays (`Run`) and what every step changes (`TrainState`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

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
from ccd_cli.losses.distillation import Prediction
from ccd_cli.models.depth_net import DepthNet


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


@dataclass
class TrainState:
    """Everything that training changes, and so everything that is saved. `step` is the last finished one.

    `ema` is the exponential moving average of the student's weights, `projection` the learned map of the feature term,
    `best` and `history` hold scores, `best_weights` (on the CPU) are those of the best scores, `lines` those of `metrics.jsonl`,
    `first_samples` [N,S,S] the untrained student's maps in the sample grid, `forward` (not saved) the student's
    `forward_with_features` for steps, where that is compiled.
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
    forward: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None

    @property
    def evaluated(self) -> DepthNet:
        """The network that is scored and saved: the EMA if there is one."""
        return self.student if self.ema is None else self.ema

    def predict(self, views: StudentViews) -> Prediction:
        """Return what the student predicts for its views; with gradients, under the caller's autocast."""
        maps, tokens = (self.forward or self.student.forward_with_features)(
            self.student.normalize(network_input(views.stack()))
        )
        shared, local_global = views.split(maps.float())
        tokens = tokens[: len(shared)]
        if self.projection is not None:
            with full_precision(tokens.device):
                tokens = self.projection(tokens.float())
        return Prediction(shared, local_global, tokens)

    def state_dict(self) -> dict[str, Any]:
        """Return everything in tensors, numbers, lists and dicts, as `torch.load(weights_only=True)` reads them."""
        return {
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

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take up what `state_dict` returned; other keys are ignored."""
        self.student.load_state_dict(saved["student"])
        if self.ema is not None:
            self.ema.load_state_dict(saved["ema"])
        if self.projection is not None:
            self.projection.load_state_dict(saved["projection"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.guard.load_state_dict(saved["guard"])
        self.step, self.history, self.best = saved["step"], saved["history"], saved["best"]
        self.best_weights, self.first_samples = saved["best_weights"], saved["first_samples"]
        self.lines.load_state_dict(saved["lines"])
