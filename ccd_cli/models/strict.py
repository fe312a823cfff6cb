"""Weights go into a network whole or not at all: one check and one message for every kind of file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from ccd_cli.core.errors import CheckpointError

SHOWN = 5
"""Tensors named in one message."""
NONE = re.compile(r"(?!)")


def check_fit(where: object, missing: Iterable[str], unexpected: Iterable[str], misshaped: Iterable[str]) -> None:
    """Raise `CheckpointError` that lists the tensors of `where` (a file) that keep it from fitting its network, if any."""
    problems = [
        f"{what} {_listed(list(names))}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped))
        if names
    ]
    if problems:
        raise CheckpointError(f"{where} does not fit the network: {'; '.join(problems)}.")


def load_strict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    where: object,
    *,
    dtype: torch.dtype | None = None,
    may_lack: re.Pattern[str] = NONE,
    may_hold: re.Pattern[str] = NONE,
    shown: Callable[[str], str] = str,
) -> None:
    """Load `tensors` ({name: tensor}) into `module`: every tensor of it must be there, fit, and every one be used.

    Names that `may_lack` finds keep what the module has, names that `may_hold` finds are skipped. Tensors become `dtype`
    (None: each the type that the module has). A module on the meta device takes the tensors themselves. `where` is the
    file and `shown` the file's own name of a tensor, for messages. Raises `CheckpointError`, with nothing loaded.
    """
    want = module.state_dict()
    wrong = [n for n in want if n in tensors and tensors[n].shape != want[n].shape]
    shapes = [f"{shown(n)} ({list(tensors[n].shape)} instead of {list(want[n].shape)})" for n in wrong]
    check_fit(
        where,
        [shown(n) for n in want if n not in tensors and not may_lack.search(n)],
        [shown(n) for n in tensors if n not in want and not may_hold.search(n)],
        shapes,
    )
    fitting = {n: tensors[n].to(dtype or own.dtype) if n in tensors else own for n, own in want.items()}
    module.load_state_dict(fitting, assign=any(own.is_meta for own in want.values()))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
