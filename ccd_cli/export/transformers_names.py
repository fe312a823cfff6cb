"""Tensor names of `DepthAnythingForDepthEstimation` in published folders, from ccd's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ccd_cli.models.dpt import DepthHead

_NAMES = [
    (r"encoder\.cls_token", r"backbone.embeddings.cls_token"),
    (r"encoder\.pos_embed", r"backbone.embeddings.position_embeddings"),
    (r"encoder\.patch_embed\.proj\.(\w+)", r"backbone.embeddings.patch_embeddings.projection.\1"),
    (r"encoder\.norm\.(\w+)", r"backbone.layernorm.\1"),
    (r"encoder\.blocks\.(\d+)\.attn\.proj\.(\w+)", r"backbone.encoder.layer.\1.attention.output.dense.\2"),
    (r"encoder\.blocks\.(\d+)\.ls([12])\.gamma", r"backbone.encoder.layer.\1.layer_scale\2.lambda1"),
    (r"encoder\.blocks\.(\d+)\.(norm[12]|mlp\.fc[12])\.(\w+)", r"backbone.encoder.layer.\1.\2.\3"),
    (r"head\.project\.(\d)\.(\w+)", r"neck.reassemble_stage.layers.\1.projection.\2"),
    (r"head\.rescale\.(\d)\.(\w+)", r"neck.reassemble_stage.layers.\1.resize.\2"),
    (r"head\.reduce\.(\d)\.(\w+)", r"neck.convs.\1.\2"),
    (r"head\.mix\.(\w+)", r"head.conv1.\1"),
    (r"head\.final\.0\.(\w+)", r"head.conv2.\1"),
    (r"head\.final\.1\.(\w+)", r"head.conv3.\1"),
]
_QKV = re.compile(r"encoder\.blocks\.(\d+)\.attn\.qkv\.(\w+)")
_FUSE = re.compile(r"head\.fuse\.(\d)\.(side|unit|out)\.(?:conv([12])\.)?(\w+)")
_UNUSED = "neck.fusion_stage.layers.0.residual_layer1.convolution{}.{}"


def transformers_state(own: Mapping[str, Tensor], head: DepthHead) -> dict[str, Tensor]:
    """Return a network's tensors by the library's names: query, key and value apart, fusions from the deepest on.

    What the library holds and no map depends on is zeros: the mask token, and the deepest fusion's first residual unit
    where the network has none. `ValueError` for a tensor that the library has no place for.
    """
    last = len(head.fuse) - 1
    made: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if found := _QKV.fullmatch(name):
            for part, values in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                made[f"backbone.encoder.layer.{found[1]}.attention.attention.{part}.{found[2]}"] = values
        elif found := _FUSE.fullmatch(name):
            inner = {"side": "residual_layer1", "unit": "residual_layer2", "out": "projection"}[found[2]]
            inner += f".convolution{found[3]}" if found[3] else ""
            made[f"neck.fusion_stage.layers.{last - int(found[1])}.{inner}.{found[4]}"] = tensor
        else:
            made[_renamed(name)] = tensor
    unit: Any = head.fuse[last].unit
    for number, conv in (("1", unit.conv1), ("2", unit.conv2)):
        for kind in ("weight", "bias"):
            made.setdefault(_UNUSED.format(number, kind), torch.zeros_like(getattr(conv, kind), device="cpu"))
    made["backbone.embeddings.mask_token"] = torch.zeros_like(own["encoder.cls_token"][0])
    return made


def _renamed(name: str) -> str:
    for pattern, target in _NAMES:
        if found := re.fullmatch(pattern, name):
            return found.expand(target)
    raise ValueError(f"transformers has no place for {name}")
