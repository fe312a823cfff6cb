"""A network that several processes train: copies whose gradients are averaged during the backward pass, or shards of it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ccd_cli.core.compute import Compute
from ccd_cli.models.depth_net import DepthNet


def replicate(network: nn.Module, example: Tensor) -> DistributedDataParallel:
    """Return `network` as DDP: each process has a copy, and gradients are averaged over processes while others are computed.

    `example` is an input of one image, from whose outputs follows which parameters get no gradient. The names of parameters stay
    those of `network`, which shares them; buffers are each process's own.
    """
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # by torch's version
    own_buffers: dict[str, Any] = {name: False}
    unused = _has_unused(network, example)
    return DistributedDataParallel(network, gradient_as_bucket_view=True, find_unused_parameters=unused, **own_buffers)


def _has_unused(network: nn.Module, example: Tensor) -> bool:
    """Whether a trained parameter gets no gradient from any output; modes, buffers and gradients stay as they are."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()  # no running statistics, no random numbers
    outputs = network(example)
    for module, mode in modes:
        module.training = mode
    trained = [p for p in network.parameters() if p.requires_grad]
    found = torch.autograd.grad(
        sum(output.sum() for output in outputs if output is not None), trained, allow_unused=True
    )
    return any(gradient is None for gradient in found)


def shard(network: nn.Module, compute: Compute) -> None:
    """Divide the parameters of a network, in place, over all processes (FSDP2): each holds a part of every one, as a DTensor.

    The blocks of each DepthNet in it, and its head, are made whole when they are used, one after another, and all else for the
    whole pass, so the network must be called as a module. Optimizers are made after this. Buffers stay whole.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    warnings.filterwarnings(
        "ignore", message="FSDP2-wrapped module .* returned a view tensor"
    )  # nothing here is in place
    mesh = init_device_mesh(compute.type, (compute.world,))
    for part in [part for each in network.modules() if isinstance(each, DepthNet) for part in _parts(each)]:
        fully_shard(part, mesh=mesh)
    fully_shard(network, mesh=mesh)


def _parts(network: DepthNet) -> Iterator[nn.Module]:
    """Yield the modules whose parameters nothing but their own `forward` uses: a ViT's blocks, a pyramid's stages, the head."""
    encoder: Any = network.encoder
    blocks = encoder.blocks if network.arch.layout != "pyramid" else encoder.children() if _is_list(encoder) else ()
    yield from (block for block in blocks if next(block.parameters(), None) is not None)
    yield network.head


def _is_list(encoder: nn.Module) -> bool:
    """Whether an encoder is timm's list of features, which calls its children one after another."""
    from timm.models._features import FeatureListNet

    return isinstance(encoder, FeatureListNet)


def whole(values: Any) -> Any:
    """Return values (dicts and lists of them) with every shard as the whole tensor on the CPU in the first process, else None.

    All processes take part. What is no shard stays as it is.
    """
    if isinstance(values, dict):
        return {key: whole(value) for key, value in values.items()}
    if isinstance(values, list):
        return [whole(value) for value in values]
    if not is_shard(values):
        return values
    gathered = values.full_tensor()
    return gathered.cpu() if torch.distributed.get_rank() == 0 else None


def is_shard(value: Any) -> bool:
    """Whether a value is one process's part of a tensor."""
    return hasattr(value, "full_tensor")


def like(value: Tensor, pattern: Any) -> Tensor:
    """Return this process's part of a whole tensor where `pattern` is a shard, else the tensor; all processes take part."""
    if not is_shard(pattern) or value.shape != pattern.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(pattern.device), pattern.device_mesh, pattern.placements)
