"""What a network is, as plain data: the table of known architectures, and small students on any timm encoder.

No torch here: cards, recipes and `--help` read this table. An `Arch` travels as JSON in the metadata of every
checkpoint that ccd writes, so whatever is read back is validated like any other untrusted input.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

from ccd_cli.core.errors import CheckpointError, UsageProblem
from ccd_cli.core.nearest import did_you_mean
from ccd_cli.geometry.kinds import KINDS, Kind

Activation = Literal["relu", "sigmoid", "exp", "softplus", "identity"]
Layout = Literal["dinov2", "vit", "pyramid"]
ResolutionRule = Literal["lower", "upper"]
SkyRule = Literal["quantile", "infinite"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# A name for timm's own registry only: "hf-hub:..." or "local-dir:..." from a stranger's file would load other things.
_TIMM_NAME = re.compile(r"[a-z0-9][a-z0-9_]{1,79}(\.[a-z0-9_]{1,79})?")
_VIT_NAME = re.compile(r"^(?:(?:test_)?vit|deit3?|eva|eva02|flexivit)(?:_|$)")
_DINOV2 = {size: f"vit_{size}_patch14_dinov2" for size in ("small", "base", "large")}


@dataclass(frozen=True, kw_only=True)
class Arch:
    """One network: encoder, taps, head, output rule and input rule.

    Raises `ValueError` naming every field that makes no sense.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    name: str
    family: str
    encoder: str  # timm model name
    layout: Layout  # dinov2: our own token path with the authors' position embeddings; vit, pyramid: timm's
    taps: tuple[int, ...]  # 0-based blocks (ViT), shallow to deep; () = four evenly spaced, or a pyramid's levels
    features: int  # channels inside the head
    out_channels: tuple[int, ...]  # channels of each reassembled level, shallow to deep; () for pyramids
    activation: Activation
    max_depth: float | None = None  # meters; only with "sigmoid"
    sky: bool = False  # a second output that marks sky
    sky_rule: SkyRule = (
        "quantile"  # what the map gets there: the rest's 99 % quantile (published), or infinitely far (students)
    )
    deepest_unit: bool = True  # files hold the deepest fusion's first residual unit (never used: it has no side input)
    canonical_focal: float | None = None  # meters = output x focal length in pixels / this; None = output as it is
    kind: Kind = "disparity"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    multiple: int = 14  # both sides of an input
    resolution: int = 518  # default side for photos
    resolution_rule: ResolutionRule = "lower"  # lower: the short side is at least `resolution`; upper: the long at most

    def __post_init__(self) -> None:
        checks = {
            "encoder is not a timm model name": bool(_TIMM_NAME.fullmatch(self.encoder)),
            "layout dinov2 is for DINOv2 encoders": self.layout != "dinov2" or self.encoder in _DINOV2.values(),
            "taps must rise from 0, four at most": len(self.taps) <= 4
            and list(self.taps) == sorted({t for t in self.taps if 0 <= t < 1000}),
            "features must lie in 8..2048 and be even": 8 <= self.features <= 2048 and self.features % 2 == 0,
            "out_channels must be at most four sizes in 1..8192": len(self.out_channels) <= 4
            and all(0 < c <= 8192 for c in self.out_channels),
            "max_depth must be positive, and goes with sigmoid only": (self.max_depth is not None)
            == (self.activation == "sigmoid")
            and (self.max_depth is None or 0 < self.max_depth < 1e6),
            "canonical_focal must be positive": self.canonical_focal is None or 0 < self.canonical_focal < 1e6,
            f"kind must be one of {', '.join(KINDS)}": self.kind in KINDS,
            "mean must be finite and std positive": all(abs(m) < 1e3 for m in self.mean)
            and all(0 < s < 1e3 for s in self.std),
            "multiple must lie in 1..256": 1 <= self.multiple <= 256,
            "resolution must lie in multiple..8192": self.multiple <= self.resolution <= 8192,
            "a ViT head takes out_channels, one for each tap (or four), a pyramid head none": len(self.out_channels)
            == (0 if self.layout == "pyramid" else len(self.taps) or 4),
        }
        wrong = [text for text, fine in checks.items() if not fine]
        if wrong:
            raise ValueError("; ".join(wrong))


def get_arch(name: str) -> Arch:
    """Return the architecture called `name`; `UsageProblem` with the nearest names where there is none."""
    if name in ARCHS:
        return ARCHS[name]
    raise UsageProblem(
        f"There is no architecture called '{name}'.", did_you_mean(name, ARCHS, f"Known: {', '.join(ARCHS)}.")
    )


def check_crop_size(arch: Arch, size: int) -> None:
    """Raise UsageProblem, with the nearest size, where a network cannot see square crops of `size` pixels."""
    if size % arch.multiple:
        raise UsageProblem(
            f"crops.size {size} is not a multiple of {arch.multiple}, which {arch.name} needs.",
            f"Use {max(1, round(size / arch.multiple)) * arch.multiple}.",
        )


def timm_arch(encoder: str, features: int = 64, **changes: Any) -> Arch:
    """Describe a small student: a timm encoder under the same DPT head, disparity unless `changes` say otherwise.

    Whether the encoder is a plain ViT is read off its name, and so is a ViT's patch size; any field of `Arch` may be
    given to override a guess (`kind`, `layout`, `multiple`, `resolution`, `out_channels`, `activation`, ...).
    Raises `UsageProblem` where the fields contradict each other.
    """
    patch = re.search(r"patch(\d+)", encoder)
    vit = bool(_VIT_NAME.match(encoder))
    guess: Layout = "dinov2" if encoder in _DINOV2.values() else "vit" if vit else "pyramid"
    layout: Layout = changes.pop("layout", guess)
    multiple = changes.pop("multiple", 32 if layout == "pyramid" else int(patch.group(1)) if patch else 16)
    fields: dict[str, Any] = {
        "name": f"timm-{encoder}",
        "family": "student",
        "taps": (),
        "out_channels": () if layout == "pyramid" else (features, features * 2, features * 4, features * 4),
        "activation": "relu",
        "deepest_unit": False,
        "resolution": max(multiple, round(518 / multiple) * multiple),
    }
    try:
        return Arch(encoder=encoder, features=features, layout=layout, multiple=multiple, **fields | changes)
    except (ValueError, TypeError) as error:
        raise UsageProblem(f"A student on '{encoder}' cannot be described so: {error}.") from None


def arch_to_json(arch: Arch) -> str:
    """Return `arch` as one line of JSON."""
    return json.dumps(asdict(arch), sort_keys=True)


def arch_from_json(text: str) -> Arch:
    """Read back what `arch_to_json` wrote; `CheckpointError` lists every missing, unknown or senseless field."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Arch).validate_json(text)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'arch'}: {e['msg']}" for e in error.errors()[:8]]
        raise CheckpointError(f"The architecture in this file is not valid ({'; '.join(problems)}).") from None


_FEATURES = {"small": 64, "base": 128, "large": 256}
_CHANNELS = {"small": (48, 96, 192, 384), "base": (96, 192, 384, 768), "large": (256, 512, 1024, 1024)}
_LAST_FOUR = {"small": (8, 9, 10, 11), "base": (8, 9, 10, 11), "large": (20, 21, 22, 23)}
_SPREAD = {"small": (2, 5, 8, 11), "base": (2, 5, 8, 11), "large": (4, 11, 17, 23)}


def _family(prefix: str, family: str, **fields: Any) -> dict[str, Arch]:
    """Small, base and large of one Depth Anything family."""
    taps = fields.pop("taps")
    return {
        f"{prefix}-{size}": Arch(
            name=f"{prefix}-{size}",
            family=family,
            encoder=_DINOV2[size],
            layout="dinov2",
            taps=taps[size],
            features=_FEATURES[size],
            out_channels=_CHANNELS[size],
            **fields,
        )
        for size in _DINOV2
    }


def _depth_anything_3(name: str, **fields: Any) -> Arch:
    """Depth Anything 3 mono or metric: V2's large network with an exponential output and a sky branch."""
    return replace(
        _family(name, "depth-anything-3", taps=_SPREAD, activation="exp")[f"{name}-large"],
        sky=True,
        deepest_unit=False,
        kind="depth",
        resolution=504,
        resolution_rule="upper",
        **fields,
    )


_V2: dict[str, Any] = {"taps": _SPREAD}
_METRIC: dict[str, Any] = {"taps": _SPREAD, "activation": "sigmoid", "kind": "metric"}

ARCHS: dict[str, Arch] = {
    **_family("depth-anything-v1", "depth-anything-v1", taps=_LAST_FOUR, activation="relu"),
    **_family("depth-anything-v2", "depth-anything-v2", activation="relu", **_V2),
    **_family("depth-anything-v2-metric-indoor", "depth-anything-v2-metric", max_depth=20.0, **_METRIC),
    **_family("depth-anything-v2-metric-outdoor", "depth-anything-v2-metric", max_depth=80.0, **_METRIC),
    # The authors' demo squeezes photos to 700 x 700; the transformers port keeps the aspect at 518, and so do we.
    **_family("distill-any-depth", "distill-any-depth", activation="relu", **_V2),
}
ARCHS["distill-any-depth-large-2w-iter"] = replace(
    ARCHS["distill-any-depth-large"], name="distill-any-depth-large-2w-iter"
)
ARCHS["depth-anything-3-mono-large"] = _depth_anything_3("depth-anything-3-mono")
# Without a camera the metric network's output is depth of unknown scale; with one, meters = output x focal / 300.
ARCHS["depth-anything-3-metric-large"] = _depth_anything_3("depth-anything-3-metric", canonical_focal=300.0)
