"""From a photo to a map, the way the networks' authors do it: their resizing rule, their interpolation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.core.errors import UsageProblem
from ccd_cli.models.arch import Arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.dpt import resize
from ccd_cli.teachers.native import NativeTeacher, infer
from ccd_cli.teachers.sizes import network_size


def resize_for(arch: Arch, rgb: NDArray[np.uint8], resolution: int | None = None) -> NDArray[np.float32]:
    """RGB photo uint8 [H, W, 3] -> float32 [h, w, 3] in about 0..1 (bicubic overshoots), sized for the network."""
    import cv2

    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise UsageProblem(f"A photo must be uint8 HxWx3, not {rgb.dtype} {'x'.join(map(str, rgb.shape))}.")
    height, width = network_size(arch, rgb.shape[0], rgb.shape[1], resolution)
    values = rgb.astype(np.float64) / 255.0
    resized = cv2.resize(src=values, dsize=(width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.float32)


def predict_photo(
    model: DepthNet | NativeTeacher, rgb: NDArray[np.uint8], resolution: int | None = None
) -> NDArray[np.float32]:
    """RGB photo uint8 [H, W, 3] -> the network's raw map float32 [H, W] at the photo's own size.

    The sky rule is applied where the network has one. A bare `DepthNet` runs in float32 and evaluation mode, and is
    left as it was.
    """
    network, precision = (model.model, model.precision) if isinstance(model, NativeTeacher) else (model, "fp32")
    resized = resize_for(network.arch, rgb, resolution)
    images = network.normalize(torch.from_numpy(resized).permute(2, 0, 1)[None].to(network.mean.device))
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        depth, _ = infer(network, images, precision)
    finally:
        for module in training:
            module.training = True
    return resize(depth[:, None], rgb.shape[:2])[0, 0].cpu().numpy()
