"""What a piece of work is made of: floating-point operations, dispatched operations, bytes kept for a backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Count:
    """Floating-point operations (two a multiply-add; matrix products, convolutions and attention) and dispatched operations."""

    flops: float = 0.0
    operations: float = 0.0

    def __add__(self, other: Count) -> Count:
        return Count(self.flops + other.flops, self.operations + other.operations)

    def __sub__(self, other: Count) -> Count:
        return Count(self.flops - other.flops, self.operations - other.operations)

    def times(self, factor: float) -> Count:
        """Return `factor` times as many."""
        return Count(self.flops * factor, self.operations * factor)


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.count += func.namespace != "prim"  # what asks a tensor without values for its device
        return func(*args, **(kwargs or {}))


def _cpu_attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _cpu_attention_backward(upstream: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(upstream, query, key, value))


def _convolution_backward(upstream: Shape, images: Shape, weights: Shape, *rest: Any, **_: Any) -> int:
    """As many for the gradient of the images, and of the weights, as the forward pass took."""
    transposed, wanted = bool(rest[4]), rest[7]
    return int(conv_flop_count([*images], [*weights], [*upstream], transposed)) * (int(wanted[0]) + int(wanted[1]))


_FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
    torch.ops.aten.convolution_backward: _convolution_backward,
}
"""What torch's counter lacks: it counts no attention on CPUs, and grouped convolutions backward as if they had one group."""


@contextmanager
def counting() -> Iterator[Callable[[], Count]]:
    """Count all that is computed in a block, backward passes too; yields a function that tells the count so far."""
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as flops, _Operations() as operations:
        yield lambda: Count(float(flops.get_total_flops()), float(operations.count))


class Kept:
    """Within `with`: the bytes of what forward passes keep for backward passes, each storage once, `own` tensors not.

    `most` is the largest sum between two calls of `passed`.
    """

    def __init__(self, own: Iterator[Tensor]) -> None:
        self._own = {tensor.untyped_storage()._cdata for tensor in own}  # of tensors without values, too
        self._now: dict[int, int] = {}
        self.most = 0
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def __enter__(self) -> Kept:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._own:
            self._now[storage._cdata] = storage.nbytes()
        return tensor.detach()  # an output that kept itself would never be freed

    def passed(self) -> None:
        """A backward pass has ended: what was kept for it is free."""
        self.most = max(self.most, sum(self._now.values()))
        self._now = {}
