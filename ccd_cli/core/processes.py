"""What the processes of one run agree on: means over all of them, and values that each of them adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError, ProcessLost

T = TypeVar("T")


def average(tensors: Sequence[Tensor], compute: Compute) -> None:
    """Replace tensors of one type and device by their means over all processes, in one exchange.

    Raises CcdError where one of the processes is gone.
    """
    if compute.world == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    _together(lambda: torch.distributed.all_reduce(flat))
    flat /= compute.world
    for tensor, piece in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(piece.view_as(tensor))


def mean(value: Tensor, compute: Compute) -> Tensor:
    """Return the mean of a float tensor over all processes."""
    made = value.clone()
    average([made], compute)
    return made


def gather(value: Any, compute: Compute) -> list[Any]:
    """Return the plain values of all processes, by rank; raises CcdError where one is gone."""
    if compute.world == 1:
        return [value]
    found: list[Any] = [None] * compute.world
    _together(lambda: torch.distributed.all_gather_object(found, value))
    return found


def by_first(decide: Callable[[], T], compute: Compute) -> T:
    """Return what `decide` returns in the first process, which alone runs it.

    Its CcdError is raised in all of them, with one exit code: which of them ends first must not decide what is returned.
    """
    if compute.world == 1:
        return decide()
    made: Any = None
    problem: CcdError | None = None
    if compute.main:
        try:
            made = decide()
        except CcdError as error:
            problem = error
    said = None if problem is None else (problem.message, problem.hint, problem.exit_code)
    made, said = gather((made, said), compute)[0]
    if said is None:
        return cast("T", made)
    message, hint, code = said
    problem = problem or CcdError(message, hint)
    problem.exit_code = code
    raise problem


@contextmanager
def membership() -> Iterator[None]:
    """Leave the process group, if this process is in one, at the block's end.

    After an error NCCL's exchanges are given up: to leave in order would wait for what the others are in, and they for this one.
    """
    done = False
    try:
        yield
        done = True
    finally:
        if _in_group() and not done and torch.distributed.get_backend() == "nccl":
            with suppress(Exception):  # what ends this process is the error of the block
                torch.distributed.distributed_c10d._abort_process_group()
        elif _in_group():
            torch.distributed.destroy_process_group()


def _in_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _together(exchange: Callable[[], object]) -> None:
    try:
        exchange()
    except RuntimeError as error:  # torch's own classes for the backends are among them
        raise _gone() from error


@contextmanager
def plain_process_errors() -> Iterator[None]:
    """Turn a failed exchange with other processes inside the block, as torch makes them by itself, into a plain error."""
    try:
        yield
    except RuntimeError as error:
        if not _of_an_exchange(error):
            raise
        raise _gone() from error


def _of_an_exchange(error: RuntimeError) -> bool:
    """Whether an error is one of the backends; gloo's have no class of their own."""
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(
        words in text for words in ("gloo", "nccl", "connection closed by peer", "connection reset by peer")
    )


def _gone() -> ProcessLost:
    return ProcessLost(
        "Another process of this run has ended or does not answer.",
        "Its own message says why. Continue from the last saved state with --resume.",
    )
