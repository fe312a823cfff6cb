"""A depth network as a folder of the transformers library, which `pipeline("depth-estimation", model=FOLDER)` loads.

The class is `DepthAnythingForDepthEstimation` over a `Dinov2Backbone`. Tensor names are those of the published folders
(depth-anything/Depth-Anything-V2-Small-hf), which versions 4 and 5 of the library read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.files import atomic_write, write_json, write_text
from ccd_cli.export.check import Difference, difference
from ccd_cli.export.hub_card import Origin, hub_card
from ccd_cli.export.positions import baked_positions
from ccd_cli.export.tensors import DTYPES, pixels_for, stored
from ccd_cli.export.transformers_names import transformers_state
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.dpt import HIDDEN
from ccd_cli.models.encoder import tap_indices
from ccd_cli.runtimes.facts import ExportFacts
from ccd_cli.teachers.adapters.hf_folder import CONFIG, PROCESSOR, WEIGHTS, load_folder, read_config
from ccd_cli.teachers.adapters.photos import resize_map
from ccd_cli.teachers.adapters.sizes import network_size

PATCH = 14
_BICUBIC = 3  # PIL's number for it
_ELSEWHERE = "Use --format onnx or openvino, which take every network."


def write(
    network: DepthNet,
    about: ExportFacts,
    out: Path,
    size: tuple[int, int] | None = None,
    origin: Origin | None = None,
) -> list[Path]:
    """Write `network` into the empty folder `out`; return its four files.

    `size` (height, width) in pixels is what every photo is resized to; there the folder is exact. None: photos keep their aspect
    ratio with the short side at `arch.resolution`, and a square photo is exact (see `check`). `origin` goes into the model
    card. Raises CcdError, before anything is written, for a network, size or precision that the library does not have.
    """
    refuse_unknown(network, about, size)
    height, width = size or _square(network)
    grid = (height // PATCH, width // PATCH)
    own = network.state_dict()
    own["encoder.pos_embed"] = baked_positions(own["encoder.pos_embed"].detach().cpu(), *grid)
    state = transformers_state(own, network.head)
    tensors = {name: stored(name, tensor, about.precision) for name, tensor in state.items()}
    config, processor, weights = (out / name for name in (CONFIG, PROCESSOR, WEIGHTS[0]))
    with atomic_write(weights) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", "license": about.license, "kind": about.arch.kind})
    write_json(config, model_config(network, about.precision, max(grid) * PATCH))
    write_json(processor, processor_config(network, size))
    write_text(card := out / "README.md", hub_card(about, size, origin or Origin()))
    return [config, processor, weights, card]


def refuse_unknown(network: DepthNet, about: ExportFacts, size: tuple[int, int] | None) -> None:
    """Raise CcdError where transformers has no counterpart of a network, a precision or a way to resize photos."""
    arch = network.arch
    whole = arch.max_depth is None or float(arch.max_depth).is_integer()
    reasons = {
        f"is built on {arch.encoder}, and the library has this head on DINOv2 alone": arch.layout == "dinov2",
        "has a second output for sky, which the library does not have": not arch.sky,
        "takes the camera into account, which the library does not": arch.canonical_focal is None,
        f"ends in {arch.activation}, and the library knows relu and sigmoid": arch.activation in ("relu", "sigmoid"),
        f"ends in a sigmoid, which the library takes for meters, and predicts {arch.kind}": arch.activation != "sigmoid"
        or arch.kind == "metric",
        f"has a largest depth of {arch.max_depth} m, and the library takes whole meters": whole,
    }
    for reason, fine in reasons.items():
        if not fine:
            raise CcdError(f"{arch.name} has no counterpart in transformers: it {reason}.", _ELSEWHERE)
    if about.precision not in (
        "fp32",
        "fp16",
    ):  # its depth-estimation pipeline turns maps into numpy's types: no bfloat16
        raise CcdError(f"A transformers folder is stored in fp32 or fp16, not {about.precision}.", _ELSEWHERE)
    step = arch.multiple
    if size is not None and not all(side > 0 and side % step == 0 for side in size):
        raise UsageProblem(f"{arch.name} takes sides that are multiples of {step}, not {size[0]} x {size[1]}.")
    if size is None and arch.resolution_rule == "upper":
        raise CcdError(
            f"{arch.name} resizes photos by their long side, which transformers cannot do.",
            "Export it for one fixed size.",
        )


def model_config(network: DepthNet, precision: str, side: int) -> dict[str, Any]:
    """Return config.json; `side` in pixels is that of the square that the position embeddings belong to."""
    arch = network.arch
    encoder: Any = network.encoder
    taps = tap_indices(encoder, arch)
    width, depth = int(encoder.embed_dim), len(encoder.blocks)
    first = encoder.blocks[0]
    return {
        "architectures": ["DepthAnythingForDepthEstimation"],
        "model_type": "depth_anything",
        "torch_dtype": str(DTYPES[precision]).removeprefix("torch."),
        "backbone_config": {
            "architectures": ["Dinov2Model"],
            "model_type": "dinov2",
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": first.attn.num_heads,
            "mlp_ratio": first.mlp.fc1.out_features // width,
            "hidden_act": "gelu",
            "layer_norm_eps": encoder.norm.eps,
            "image_size": side,
            "patch_size": PATCH,
            "qkv_bias": True,
            "out_features": [f"stage{tap + 1}" for tap in taps],
            "out_indices": [tap + 1 for tap in taps],
            "apply_layernorm": True,
            "reshape_hidden_states": False,
        },
        "patch_size": PATCH,
        "reassemble_hidden_size": width,
        "reassemble_factors": [4, 2, 1, 0.5][-len(taps) :],
        "neck_hidden_sizes": list(arch.out_channels),
        "fusion_hidden_size": arch.features,
        "head_in_index": -1,
        "head_hidden_size": HIDDEN,
        "depth_estimation_type": "metric" if arch.activation == "sigmoid" else "relative",
        "max_depth": int(arch.max_depth or 1),
    }


def processor_config(network: DepthNet, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return preprocessor_config.json: photos to exactly `size`, or with their aspect ratio by the network's own rule."""
    arch = network.arch
    height, width = size or _square(network)
    return {
        "image_processor_type": "DPTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "keep_aspect_ratio": size is None,
        "ensure_multiple_of": arch.multiple,
        "resample": _BICUBIC,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(arch.mean),
        "image_std": list(arch.std),
        "do_pad": False,
    }


def _square(network: DepthNet) -> tuple[int, int]:
    return network_size(network.arch, 1000, 1000)


@torch.no_grad()
def check(out: Path, network: DepthNet, about: ExportFacts, photos: Sequence[NDArray[np.uint8]]) -> list[Difference]:
    """Run the folder `out` in transformers on RGB photos uint8 [H, W, 3] and compare it with `network` (on the CPU).

    For each photo: the same pixels at the size that the embeddings belong to (exact, the bar applies); without a fixed size
    (`about.size`) the same pixels at the photo's own aspect ratio; and the pipeline from the photo to a map of its size,
    where the library resizes with other filters before and after, and a photo that is smaller than the network's side to
    another size. Raises CcdError where the library does not take the folder as it is: missing, extra or misshaped tensors.
    """
    library, processor = load_folder(out, read_config(out))
    library = library.to(DTYPES[about.precision])
    was_training = network.training
    network.eval()
    try:
        return [row for photo in photos for row in _compare(photo, network, about.size, (library, processor))]
    finally:
        network.train(was_training)


def _compare(
    photo: NDArray[np.uint8], network: DepthNet, fixed: tuple[int, int] | None, theirs: tuple[Any, Any]
) -> Iterator[Difference]:
    from PIL import Image
    from transformers import pipeline

    model, processor = theirs
    height, width = photo.shape[:2]
    name = f"photo of {height}x{width}"
    exact = fixed or _square(network)
    own = fixed or network_size(network.arch, height, width)
    ours = np.empty((0, 0), np.float32)
    for size in dict.fromkeys((exact, own)):
        pixels = pixels_for(network, photo, size)
        ours = network(pixels)[0].numpy()
        got = model(pixel_values=pixels.to(model.dtype)).predicted_depth[0].float().numpy()
        yield difference(f"{name} at {size[0]}x{size[1]}", got, ours, size == exact)
    image = Image.fromarray(photo)
    rows, columns = processor(images=image, return_tensors="pt")["pixel_values"].shape[-2:]
    run = pipeline("depth-estimation", model=model, image_processor=processor, device="cpu")
    got = run(image)["predicted_depth"].float().numpy().reshape(height, width)
    yield difference(f"{name}, pipeline (at {rows}x{columns})", got, resize_map(ours, (height, width)), exact=False)
