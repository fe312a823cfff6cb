"""A stand-in for a GPU on any machine: PyTorch's `meta` device, which computes shapes and types and holds no values.

A tensor left on the CPU, a wait for a value and a wide type fail where they happen; copies to and from the device are counted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = "meta"
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select", "aten::is_nonzero")
"""Operations whose result the host needs before it can go on: `item`, `bool`, indexing by a mask."""
SMALL = 64
"""Elements up to which a tensor float64 costs a GPU nothing: positions of quantiles, constants."""


class Waited(AssertionError):
    """The host asked the device for a value."""


class LeftBehind(AssertionError):
    """A tensor of the host was handed to the device's operation."""


class WrongType(AssertionError):
    """A large tensor float64 was made: a GPU computes it at a small part of its speed."""


class Unfinished(AssertionError):
    """A copy to the host that nobody waits for: what reads it there may read what was in that memory before."""


class NoValues(TorchDispatchMode):
    """Within `with`: what happens on the device, and its failures as the exceptions above.

    `transfers`: shape and type of everything copied to the host, where it comes out as `fill`. `uploads`: shapes of what was
    copied to the device, and `blocking` those among them that the host waits for. Scalars of the host may go into operations, as on
    CUDA. `wide` allows float64.
    """

    def __init__(self, fill: float = 1.0, wide: bool = False) -> None:
        super().__init__()
        self.fill, self.wide = fill, wide
        self.operations = 0
        self.transfers: list[tuple[tuple[int, ...], torch.dtype]] = []
        self.uploads: list[tuple[int, ...]] = []
        self.blocking: list[tuple[int, ...]] = []

    def __enter__(self) -> NoValues:
        self._made = _FromPython(self)
        self._made.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._made.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.name()
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        there = [each for each in tensors if each.device.type == DEVICE]
        if name == "aten::_to_copy":
            return self._copied(func, args, kwargs)
        if name == "aten::copy_" and tensors[0].device != tensors[1].device:
            if tensors[0].device.type == DEVICE:
                return self.note_upload(tensors[1], kwargs.get("non_blocking", args[2] if len(args) > 2 else False))
            self._wait(not kwargs.get("non_blocking", args[2] if len(args) > 2 else False))
            self.transfers.append((tuple(tensors[1].shape), tensors[1].dtype))
            return tensors[0].fill_(self.fill)
        if not there:
            return func(*args, **kwargs)
        if name in WAITS:
            raise Waited(name)
        left = [each for each in tensors if each.device.type != DEVICE and each.ndim]
        if left:
            raise LeftBehind(f"{name}: a tensor {tuple(left[0].shape)} of the {left[0].device}")
        self.operations += 1
        return self._checked(name, func(*args, **kwargs))

    def _copied(self, func: Any, args: Any, kwargs: Any) -> Any:
        source, wanted = args[0], torch.device(kwargs.get("device") or args[0].device)
        if source.device.type == wanted.type:
            return self._checked(func.name(), func(*args, **kwargs))
        if source.device.type == DEVICE:
            self._wait(not kwargs.get("non_blocking", False))
            dtype = kwargs.get("dtype") or source.dtype
            self.transfers.append((tuple(source.shape), dtype))
            return torch.full(source.shape, self.fill, dtype=dtype)
        self.note_upload(source, kwargs.get("non_blocking", False))
        return func(*args, **kwargs)

    @staticmethod
    def _wait(waited: bool) -> None:
        if not waited:
            raise Unfinished

    def note_upload(self, source: Tensor, unwaited: bool) -> None:
        """Count a copy to the device."""
        self.uploads.append(tuple(source.shape))
        if not unwaited:
            self.blocking.append(tuple(source.shape))

    def _checked(self, name: str, made: Any) -> Any:
        for each in tree_leaves(made):
            large = isinstance(each, Tensor) and each.device.type == DEVICE and each.numel() > SMALL
            if large and each.dtype == torch.float64 and not self.wide:
                raise WrongType(f"{name} made {tuple(each.shape)} float64")
        return made


class _FromPython(TorchFunctionMode):
    """Sees what never comes to an operation: tensors that are made on the device of Python's numbers, a copy that is waited for."""

    def __init__(self, device: NoValues) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        wanted = (kwargs or {}).get("device")
        if func in (torch.tensor, torch.as_tensor) and wanted is not None and torch.device(wanted).type == DEVICE:
            self.device.note_upload(made, False)
        return made
