"""MoGe models of the package's own classes: a ViT-S with random weights, whose points lie before a camera."""

import warnings

import numpy as np
import torch

from ccd_cli.teachers.registry import CARDS

SIZES = [(97, 140), (150, 80)]
TOKENS = [20, 60]
LEVELS = {"dim_in": [18, 2, 2, 2, 2], "dim_res_blocks": [32] * 5, "num_res_blocks": 1}
HEADS = {"dim_in": [32] * 5, "dim_res_blocks": [32] * 5, "resamplers": ["bilinear"] * 4, "num_res_blocks": 0}
CONFIGS = {
    "v1": {
        "encoder": "dinov2_vits14",
        "intermediate_layers": 2,
        "dim_proj": 32,
        "dim_upsample": [32, 32, 32],
        "remap_output": "exp",
        "trained_area_range": [n * 196 for n in TOKENS],  # the name that the published file uses
        "split_head": True,  # as well an old setting, which means nothing any more
    },
    "v2": {
        "encoder": {"backbone": "dinov2_vits14", "intermediate_layers": [5, 11], "dim_out": 16},
        "neck": LEVELS | {"dim_out": [32] * 5, "resamplers": ["conv_transpose"] * 4},
        "points_head": HEADS | {"dim_out": [None] * 4 + [3]},
        "mask_head": HEADS | {"dim_out": [None] * 4 + [1]},
        "normal_head": HEADS | {"dim_out": [None] * 4 + [3]},
        "scale_head": {"dims": [384, 16, 1]},
        "remap_output": "exp",
        "num_tokens_range": TOKENS,
    },
}
CARD = {"v1": CARDS["moge-1-large"], "v2": CARDS["moge-2-large"]}
VERSIONS = list(CONFIGS)


def view_plane(width, height, aspect):
    from moge.utils.geometry_torch import normalized_view_plane_uv

    return normalized_view_plane_uv(width, height, aspect)


def package_class(version):
    from moge.model import import_model_class_by_version

    return import_model_class_by_version(version)


def built(version, **changes):
    """The package's own model, its last layers fitted so that a photo comes out as points before a camera.

    The encoder's weights are random. With points as random as they are, no focal length would be found.
    """
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = package_class(version)(**(CONFIGS[version] | changes)).eval()
    points, mask = (
        (model.head.output_block[0][-1], model.head.output_block[1][-1])
        if version == "v1"
        else (
            model.points_head.output_blocks[-1],
            getattr(model, "mask_head", None) and model.mask_head.output_blocks[-1],
        )
    )
    seen = {}
    hooks = [
        layer.register_forward_pre_hook(lambda m, args: seen.update({m: args[0]})) for layer in (points, mask) if layer
    ]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, weight in model.named_parameters():
            if "backbone" not in name and weight.ndim > 1:
                weight.normal_(std=1 / (weight.numel() / weight.shape[0]) ** 0.5)
        model(as_rgb(photo(SIZES[0], 9)), TOKENS[1])
        before = seen[points]
        uv = view_plane(before.shape[-1], before.shape[-2], SIZES[0][1] / SIZES[0][0]).flatten(0, 1)
        features = before[0].flatten(1).T
        fitted = torch.linalg.lstsq(torch.cat([features, torch.ones(len(features), 1)], 1), uv * 0.7).solution.T
        points.weight[:2, :, 0, 0], points.bias[:2] = fitted[:, :-1], fitted[:, -1]
        depth = features @ points.weight[2, :, 0, 0]
        points.weight[2] *= 0.3 / depth.std()
        points.bias[2] = 1 - 0.3 * depth.mean() / depth.std()
        if mask is not None:  # three tenths are masked
            mask.bias += (0.5 if version == "v1" else 0) - mask(seen[mask]).quantile(0.3)
    for hook in hooks:
        hook.remove()
    return model


def saved(path, version, model=None, **changes):
    content = {"model_config": CONFIGS[version] | changes, "model": (model or built(version, **changes)).state_dict()}
    torch.save(content, path)
    return path


def photo(size, seed=0):
    coarse = torch.from_numpy(np.random.default_rng(seed).random((1, 3, size[0] // 16 + 2, size[1] // 16 + 2)))
    fine = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)
    return (fine[0].permute(1, 2, 0) * 255).round().byte().numpy()


def as_rgb(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
