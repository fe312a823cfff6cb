"""What formats that hold a network's own tensors share: storing them in fewer bits, and what a network sees."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.core.errors import CcdError
from ccd_cli.export.check import network_input
from ccd_cli.models.depth_net import DepthNet

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Precisions in which these formats store weights, and torch's type of each."""


def stored(name: str, tensor: Tensor, precision: str) -> Tensor:
    """Return a tensor on the CPU as it is stored in `precision`; whole numbers stay as they are.

    Raises CcdError for a value that is too large for it (beyond 65504 in fp16).
    """
    tensor = tensor.detach().to("cpu")
    if not tensor.is_floating_point():
        return tensor.contiguous().clone()
    made = tensor.to(DTYPES[precision], copy=True).contiguous()
    if not torch.equal(made.isfinite(), tensor.isfinite()):
        raise CcdError(f"{name} holds values that {precision} cannot store.", "Use --precision bf16 or fp32.")
    return made


def pixels_for(network: DepthNet, photo: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """RGB uint8 [H, W, 3] -> normalized [1, 3, *size] on the network's device, resized as a network's input is."""
    images = torch.from_numpy(network_input(network.arch, photo, size))
    return network.normalize(images.to(network.mean.device))
