"""What formats that hold a network's own tensors share: storing them in fewer bits, and comparing maps."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.core.errors import CcdError
from ccd_cli.export.check import Difference
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


def difference(name: str, ours: NDArray[np.float32], theirs: NDArray[np.float32], exact: bool = True) -> Difference:
    """Compare two maps [H, W]; any difference from a map of one value, which has no range, counts as infinite."""
    gap = np.abs(ours.astype(np.float64) - theirs)
    span = float(ours.max()) - float(ours.min())
    if span <= 0 or not np.isfinite(gap).all():
        worst = 0.0 if np.array_equal(ours, theirs) else float("inf")
        return Difference(name, worst, worst, exact)
    return Difference(name, float(gap.max()) / span, float(gap.mean()) / span, exact)


def pixels_for(network: DepthNet, photo: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """RGB uint8 [H, W, 3] -> normalized [1, 3, *size], resized as `teachers.adapters.preprocess.resize_for` does it."""
    import cv2

    values = cv2.resize(src=photo / 255.0, dsize=(size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    images = torch.from_numpy(np.asarray(values, np.float32)).permute(2, 0, 1)[None]
    return network.normalize(images.to(network.mean.device))
