"""The depth pipeline of transformers around the same architecture, for comparison."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ccd_cli.models.arch import Arch

_WIDTHS = {
    "vits": (384, 6, 12, (3, 6, 9, 12)),
    "vitb": (768, 12, 12, (3, 6, 9, 12)),
    "vitl": (1024, 16, 24, (5, 12, 18, 24)),
}


def transformers_pipeline(arch: Arch, resolution: int | None) -> Callable[[list[Path], Path], None] | None:
    """Return what predicts photos into a folder of .npy files with transformers; None where it has no such network.

    Weights are random: they do not change the time. The input has the same size as here.
    """
    sizes = {"depth-anything-v2-small": "vits", "depth-anything-v2-base": "vitb", "depth-anything-v2-large": "vitl"}
    if arch.name not in sizes or importlib.util.find_spec("transformers") is None:
        return None
    from transformers import (
        DepthAnythingConfig,
        DepthAnythingForDepthEstimation,
        Dinov2Config,
        DPTImageProcessor,
        pipeline,
    )

    width, heads, layers, taps = _WIDTHS[sizes[arch.name]]
    neck = {384: [48, 96, 192, 384], 768: [96, 192, 384, 768], 1024: [256, 512, 1024, 1024]}[width]
    described: Any = Dinov2Config  # its types do not name what it takes
    backbone = described(
        hidden_size=width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        image_size=518,
        patch_size=14,
        out_indices=list(taps),
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=width,
        neck_hidden_sizes=neck,
        fusion_hidden_size={384: 64, 768: 128, 1024: 256}[width],
    )
    side = resolution or arch.resolution
    processor = DPTImageProcessor(
        size={"height": side, "width": side},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
        do_pad=False,
    )
    network: Any = DepthAnythingForDepthEstimation(config).eval()
    pipe: Any = pipeline("depth-estimation", model=network, image_processor=processor)

    def predict(paths: list[Path], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for path in paths:
            np.save(folder / f"{path.stem}.npy", pipe(str(path))["predicted_depth"].numpy())

    return predict
