"""A run whose networks have shapes and no values: what they would compute is dispatched, and so counted, and takes no time.

Losses, which look at values, get maps of random numbers in place of what the networks would have said.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _foreach_supported_types as supported

from ccd_cli.core.errors import TeacherError
from ccd_cli.distill.state import Run, Trained, TrainState
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.precomputed import PrecomputedLabels
from ccd_cli.teachers.adapters.native import NativeTeacher
from ccd_cli.teachers.base import Teacher


@contextmanager
def valueless(run: Run, state: TrainState) -> Iterator[tuple[Run, TrainState]]:
    """Within `with`: copies of both whose networks have no values; the rest of them is shared.

    Raises TeacherError for a teacher that is no torch network, such as an exported graph; others may raise anything when they
    are asked, where they look at values.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)  # images come in as they are
    old = run.ensemble
    members = [
        replace(
            member,
            teacher=_without_values(member.teacher, mode),
            errors=None if member.errors is None else _without_values(member.errors, mode),
        )
        for member in old.members
    ]
    ensemble = TeacherEnsemble(
        members, old.mixing, old.saturated_fraction, old.drop_flat, old.seed, old.region_unit, old.depth
    )
    with FakeCopyMode(mode):
        bare = copy.deepcopy(state)
    assert isinstance(bare.network, Trained), "one process trains it"
    bare.network.outputs = lambda images: _filled_all(bare.student.forward_all(images))
    if (learned := bare.projection) is not None:
        usual = learned.forward
        learned.forward = lambda tokens: _filled(usual(tokens))
    with _NoNumbers(), _many_at_once():
        yield replace(run, ensemble=ensemble), bare


def _without_values(teacher: Teacher, mode: FakeTensorMode) -> Teacher:
    """A teacher that asks a copy of its network without values and answers with random maps."""
    if isinstance(teacher, PrecomputedLabels):
        return teacher
    model = getattr(teacher, "model", None)
    if not isinstance(model, nn.Module):
        raise TeacherError(f"{teacher.name} is no network of torch's.")
    bare: Any = copy.copy(teacher)
    with FakeCopyMode(mode):
        bare.model = copy.deepcopy(model)
    other: Any = copy.copy(bare)
    other.predict = lambda views: _filled(bare.predict(views))
    other.predict_with_features = lambda views: _filled_all(bare.predict_with_features(views))
    if isinstance(teacher, NativeTeacher):
        other.predict_all = lambda views: _filled_all(bare.predict_all(views))
    other.features = lambda views: _filled(bare.features(views))
    made: Teacher = other
    return made


class _Filled(torch.autograd.Function):
    """Numbers in 1..2 for a tensor that has none; their gradient loses its numbers on the way back."""

    @staticmethod
    def forward(ctx: Any, bare: FakeTensor) -> Tensor:
        ctx.mode = bare.fake_mode
        numbers = np.random.default_rng(0).random(tuple(bare.shape), np.float32)
        return torch.from_numpy(1 + numbers).to(bare.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient if isinstance(gradient, FakeTensor) else ctx.mode.from_tensor(gradient)


def _filled(made: Tensor | None) -> Tensor | None:
    filled: Tensor | None = _Filled.apply(made) if isinstance(made, FakeTensor) else made
    return filled


def _filled_all(made: tuple[Any, ...]) -> Any:
    return tuple(_filled(each) for each in made)


@contextmanager
def _many_at_once() -> Iterator[None]:
    """Let torch take many tensors without values in one operation, as it takes those that have values."""
    supported.append(FakeTensor)
    try:
        yield
    finally:
        supported.remove(FakeTensor)


class _NoNumbers(TorchFunctionMode):
    """Answers zero where a step asks for a number of a tensor that has none."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") == "item" and isinstance(
            args[0], FakeTensor
        ):  # `tolist` asks for each of them
            return 0.0
        return func(*args, **(kwargs or {}))
