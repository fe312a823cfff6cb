"""Tensor names: from the layouts in which weights are published to ccd's own (`encoder.*`, `head.*`) and back.

Layouts: `ccd` (ours), `depth-anything` (V1, V2, metric, Distill Any Depth small and base), `distill-any-depth`
(its large files: chunked blocks), `depth-anything-3`, and `encoder` (a bare DINOv2 or timm state). No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ccd_cli.core.errors import CheckpointError

PREFIXES = ("module.", "_orig_mod.", "model.", "student.")  # wrappers around a whole network
DROPPED = "encoder.mask_token"  # DINOv2's pre-training token: the one tensor that a depth network has no use for

_ENCODER = {
    "depth-anything": "pretrained.",
    "distill-any-depth": "backbone.",
    "depth-anything-3": "backbone.pretrained.",
}
_HEAD = {"depth-anything": "depth_head.", "distill-any-depth": "depth_head.", "depth-anything-3": "head."}
_CHUNKED_BLOCK = re.compile(r"^backbone\.blocks\.\d+\.(\d+)\.")  # the second number counts through all chunks
_CLASSIFIER = ("head.", "fc.", "classifier.", "head_dist.")

# (published, ours), tried in this order; longer names first where one begins another.
_HEAD_NAMES: list[tuple[str, str]] = [
    ("projects.", "project."),
    ("resize_layers.", "rescale."),
    *((f"scratch.layer{i + 1}_rn.", f"reduce.{i}.") for i in range(4)),
    *((f"scratch.refinenet{i + 1}.resConfUnit1.", f"fuse.{i}.side.") for i in range(4)),
    *((f"scratch.refinenet{i + 1}.resConfUnit2.", f"fuse.{i}.unit.") for i in range(4)),
    *((f"scratch.refinenet{i + 1}.out_conv.", f"fuse.{i}.out.") for i in range(4)),
    ("scratch.output_conv1.", "mix."),
    ("scratch.output_conv2.0.", "final.0."),
    ("scratch.output_conv2.2.", "final.1."),
    ("scratch.sky_output_conv2.0.", "sky.0."),
    ("scratch.sky_output_conv2.2.", "sky.1."),
]


def strip_prefixes(names: Iterable[str]) -> dict[str, str]:
    """Return {name: name without wrapper prefixes}; a prefix goes only where every name carries it."""
    names = list(names)
    cut = 0
    while names:
        prefix = next((p for p in PREFIXES if all(n.startswith(p, cut) for n in names)), None)
        if prefix is None:
            break
        cut += len(prefix)
    return {n: n[cut:] for n in names}


def layout_of(names: Iterable[str]) -> str:
    """Return the layout that `names` (without wrapper prefixes) are in.

    Raises `CheckpointError` for names of no known layout, with a hint where they are of a known foreign one.
    """
    names = set(names)

    def has(prefix: str) -> bool:
        return any(n.startswith(prefix) for n in names)

    if has("backbone.pretrained."):
        return "depth-anything-3"
    if has("backbone.blocks.") and has("depth_head."):
        return "distill-any-depth"
    if has("pretrained.") and has("depth_head."):
        return "depth-anything"
    if has("encoder.") and any(n.startswith(("head.reduce.", "head.final.")) for n in names):
        return "ccd"
    if has("backbone.encoder.layer."):
        raise CheckpointError(
            "This file has the layout of the transformers library.", "Take the authors' original file instead."
        )
    if has("blocks.") and has("patch_embed."):
        return "encoder"
    shown = ", ".join(sorted(names)[:3])
    raise CheckpointError(f"These are not the weights of a known depth network (tensors such as {shown}).")


def own_name(name: str, layout: str) -> str:
    """Return ccd's name for the tensor that `layout` calls `name`; a name it does not know comes back unchanged."""
    if layout == "ccd":
        return name
    if layout == "encoder":
        return f"encoder.{name}"
    encoder, head = _ENCODER[layout], _HEAD[layout]
    if layout == "distill-any-depth":
        name = _CHUNKED_BLOCK.sub(r"backbone.blocks.\1.", name)
    if name.startswith(encoder):
        return "encoder." + name[len(encoder) :]
    if name.startswith(head):
        rest = name[len(head) :]
        for published, own in _HEAD_NAMES:
            if rest.startswith(published):
                return f"head.{own}{rest[len(published) :]}"
    return name


def published_name(name: str, layout: str) -> str:
    """Return what `layout` calls the tensor that ccd calls `name`: the inverse of `own_name`."""
    if layout == "ccd":
        return name
    if name.startswith("encoder."):
        rest = name[len("encoder.") :]
        if layout == "distill-any-depth" and rest.startswith("blocks."):
            rest = "blocks.0." + rest[len("blocks.") :]
        return _ENCODER.get(layout, "") + rest
    rest = name[len("head.") :]
    for published, own in _HEAD_NAMES:
        if rest.startswith(own):
            return f"{_HEAD.get(layout, 'head.')}{published}{rest[len(own) :]}"
    return name


def custom_names(names: Iterable[str], layout: str) -> dict[str, str]:
    """Return {name: ccd's name}; `CheckpointError` where two tensors claim one name."""
    table = {n: own_name(n, layout) for n in names}
    seen: dict[str, str] = {}
    for name, own in table.items():
        if own in seen:
            raise CheckpointError(f"Two tensors, {seen[own]} and {name}, claim the same place in the network.")
        seen[own] = name
    return table


def encoder_names(names: Iterable[str]) -> dict[str, str]:
    """Return {name: timm's name} for the encoder's tensors alone, whatever the layout; a classifier is left out.

    Names of no known layout pass unchanged, as a convolutional encoder's own.
    """
    names = list(names)
    try:
        layout = layout_of(names)
    except CheckpointError as error:
        if error.hint:
            raise
        layout = "encoder"
    if layout == "encoder":
        return {n: n for n in names if n != "mask_token" and not n.startswith(_CLASSIFIER)}
    own = custom_names(names, layout)
    return {n: o[len("encoder.") :] for n, o in own.items() if o.startswith("encoder.") and o != DROPPED}
