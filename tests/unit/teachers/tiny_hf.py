"""Tiny models of the classes of `transformers`, with random weights: what a hub folder holds, in a few hundred kilobytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image

from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.teachers.registry import CARDS, Card

STAGES = ["stage1", "stage2", "stage3", "stage4"]
NECK: dict[str, Any] = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}
VIT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
HALF: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def beit(image_size: int, patch_size: int = 16) -> hf.BeitConfig:
    """A BEiT as in MiDaS 3.1 and ZoeDepth: relative position bias, no absolute positions."""
    return hf.BeitConfig(
        image_size=image_size,
        patch_size=patch_size,
        use_relative_position_bias=True,
        use_absolute_position_embeddings=False,
        reshape_hidden_states=False,
        out_features=STAGES,
        **VIT,
    )


def _square(size: int, **options: Any) -> hf.DPTImageProcessor:
    return hf.DPTImageProcessor(size={"height": size, "width": size}, **(HALF | options))


def midas_beit() -> tuple[Any, Any]:
    config = hf.DPTConfig(backbone_config=beit(64), reassemble_factors=[4, 2, 1, 0.5], **NECK)
    return hf.DPTForDepthEstimation(config), _square(64, ensure_multiple_of=32)


def midas_swin2() -> tuple[Any, Any]:
    backbone = hf.Swinv2Config(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, out_features=STAGES
    )
    config = hf.DPTConfig(backbone_config=backbone, **(NECK | {"neck_hidden_sizes": [8, 16, 32, 64]}))
    return hf.DPTForDepthEstimation(config), _square(64)


def midas_vit() -> tuple[Any, Any]:
    config = hf.DPTConfig(image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3], **VIT, **NECK)
    return hf.DPTForDepthEstimation(config), _square(64)


def midas_hybrid() -> tuple[Any, Any]:
    backbone = hf.BitConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 32],
        depths=[1, 1, 1],
        num_groups=2,
        global_padding="same",
        layer_type="bottleneck",
        out_features=STAGES[:3],
        embedding_dynamic_padding=True,
    )
    config = hf.DPTConfig(
        is_hybrid=True,
        backbone_config=backbone,
        backbone_featmap_shape=[1, 32, 4, 4],
        backbone_out_indices=[0, 1, 2, 3],
        image_size=64,
        patch_size=16,
        **VIT,
        **(NECK | {"neck_hidden_sizes": [8, 16, 8, 8]}),
    )
    return hf.DPTForDepthEstimation(config), _square(64)


def zoedepth(heads: int = 1) -> tuple[Any, Any]:
    names = ("nyu", "kitti")[:heads]
    extra = (
        {
            "num_patch_transformer_layers": 4,  # the class counts on 4 layers and a width of 128
            "patch_transformer_hidden_size": 128,
            "patch_transformer_intermediate_size": 16,
            "patch_transformer_num_attention_heads": 2,
        }
        if heads > 1
        else {}
    )
    config = hf.ZoeDepthConfig(
        backbone_config=beit(64),
        bottleneck_features=8,
        num_relative_features=8,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"name": n, "n_bins": 8, "min_depth": 0.001, "max_depth": 10.0} for n in names],
        **NECK,
        **extra,
    )
    size = {"height": 64, "width": 96}
    return hf.ZoeDepthForDepthEstimation(config), hf.ZoeDepthImageProcessor(size=size, ensure_multiple_of=32)


def depth_pro() -> tuple[Any, Any]:
    encoder = {"model_type": "dinov2", "image_size": 32, "patch_size": 8, "mlp_ratio": 2} | VIT
    config = hf.DepthProConfig(
        patch_size=32,
        fusion_hidden_size=8,
        intermediate_hook_ids=[2, 1],
        intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.25, 0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.5, 0.25],
        scaled_images_feature_dims=[8, 8, 8],
        merge_padding_value=1,
        use_fov_model=True,
        num_fov_head_layers=2,
        image_model_config=dict(encoder),
        patch_model_config=dict(encoder),
        fov_model_config=dict(encoder),
    )
    return hf.DepthProForDepthEstimation(config), hf.DepthProImageProcessor(size={"height": 128, "width": 128})


def depth_anything(metric: bool = False) -> tuple[Any, Any]:
    backbone = hf.Dinov2Config(
        image_size=56, patch_size=14, out_features=STAGES, reshape_hidden_states=False, mlp_ratio=2, **VIT
    )
    config = hf.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        head_hidden_size=8,
        depth_estimation_type="metric" if metric else "relative",
        max_depth=20 if metric else 1,
        **NECK,
    )
    return hf.DepthAnythingForDepthEstimation(config), hf.DPTImageProcessor(
        size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14
    )


def glpn() -> tuple[Any, Any]:
    config = hf.GLPNConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8,
        mlp_ratios=[2, 2, 2, 2],
    )
    return hf.GLPNForDepthEstimation(config), hf.GLPNImageProcessor()


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "midas-beit": midas_beit,
    "midas-swin2": midas_swin2,
    "midas-vit": midas_vit,
    "midas-hybrid": midas_hybrid,
    "zoedepth": zoedepth,
    "zoedepth-nk": lambda: zoedepth(2),
    "depth-pro": depth_pro,
    "depth-anything": depth_anything,
    "depth-anything-metric": lambda: depth_anything(True),
    "glpn": glpn,
}


def save(folder: Path, family: str, seed: int = 0) -> Path:
    """Write a tiny model of `family` with its image processor to `folder`, as the hub has them, and return it.

    Weights are drawn anew with an even gain from layer to layer, and the last bias makes maps positive: those of a fresh
    model are flat, and a flat map would prove nothing.
    """
    torch.manual_seed(seed)
    model, processor = FAMILIES[family]()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=1.5 / (weight.numel() / weight.shape[0]) ** 0.5)
            elif name.endswith("bias"):
                weight.normal_(std=0.1)
            if name == "fov_model.head.layers.4.bias":
                weight.fill_(50)  # degrees
            if model.config.model_type == "depth_anything" and model.config.depth_estimation_type == "metric":
                continue  # it ends in a sigmoid, which a larger bias saturates
            if name in ("head.head.4.bias", "head.conv3.bias", "head.layers.4.bias"):
                weight.fill_(3)
            elif name in ("head.head.4.weight", "head.conv3.weight", "head.layers.4.weight"):
                weight.abs_()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


KINDS = {
    "midas": "disparity",
    "zoedepth": "metric",
    "depth-pro": "metric",
    "depth-anything": "disparity",
    "glpn": "metric",
}
KINDS |= {"depth-anything-metric": "metric"}


def kind_of(family: str) -> str:
    """What the maps of a family mean."""
    return KINDS.get(family) or KINDS[family.split("-")[0]]


def card_for(family: str) -> Card:
    """A card for a family's tiny model."""
    return replace(CARDS["midas-3.1-beit-large-512"], name=f"tiny-{family}", kind=kind_of(family), disputed="")


def photo(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Smooth random colors, so that resizing is well behaved and the tests' tolerances can be tight."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 16 + 2, size[1] // 16 + 2, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def crop(image: np.ndarray) -> torch.Tensor:
    """The same pixels as a training crop."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def known(depth_map: DepthMap) -> np.ndarray:
    """Its values, 0 where it has none."""
    return np.where(depth_map.valid, depth_map.values, 0) if depth_map.valid is not None else depth_map.values
