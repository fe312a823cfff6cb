"""Drafts as tensors: the form in which scenes are rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ccd_cli.scenes.render.draft import MATERIAL, PRIM, Draft, wave_height
from ccd_cli.scenes.render.intersect import Vec

APPEARANCE = (
    *("lamp_x", "lamp_y", "lamp_z", "lamp_point", "lamp_r", "lamp_g", "lamp_b", "lamp_reach"),
    *("fill_x", "fill_y", "fill_z", "fill_point", "fill_r", "fill_g", "fill_b", "fill_reach"),
    *("amb_r", "amb_g", "amb_b", "amb_x", "amb_y", "amb_z", "corner"),
    *("haze", "haze_r", "haze_g", "haze_b", "low_r", "low_g", "low_b", "high_r", "high_g", "high_b"),
    *("cloud", "cloud_size", "cloud_x", "cloud_z", "sun", "exposure", "warm", "vignette", "grain", "salt", "blur"),
)
"""Light, air and image formation: `lamp` is the light that casts shadows, `fill` one without; *_point is 1 for a lamp in meters
and 0 for a direction; `corner` darkens the edges of a room; `haze` is per meter."""


_MISSING = [0.0, -1e6, 0.0, *[1e-3] * 3, *[1.0, 0, 0, 0, 1, 0, 0, 0, 1], *[0.0] * (len(PRIM) - 15)]


@dataclass(frozen=True)
class Scenes:
    """Scenes that share one kind of base. Index 0 of the primitives is the base; padding primitives are tiny and far away."""

    base: str
    prims: Tensor  # [B,N,len(PRIM)]
    materials: Tensor  # [B,M,len(MATERIAL)]
    appearance: Tensor  # [B,len(APPEARANCE)]
    origin: Tensor  # [B,3] camera position
    frame: Tensor  # [B,3,3] rows: right, up and forward in world coordinates
    fov: Tensor  # [B] field of view of the longer side, radians
    tilt: Tensor  # [B,3]
    waves: Tensor  # [B,W,4]
    steepest: Tensor  # [B]

    def value(self, name: str) -> Tensor:
        """Return one column of `appearance` as [B,1,1]."""
        return self.appearance[:, APPEARANCE.index(name), None, None]

    def triple(self, stem: str, ends: str = "xyz") -> Vec:
        """Return three columns of `appearance`, such as lamp_x, lamp_y and lamp_z, as [B,1,1] each."""
        a, b, c = (self.value(f"{stem}_{end}") for end in ends)
        return a, b, c

    def ground(self) -> tuple[Vec, tuple[Tensor, ...]]:
        """Return tilt and waves of the ground in the form that `terrain` expects."""
        a, b, c = (self.tilt[:, i, None, None] for i in range(3))
        return (a, b, c), tuple(self.waves[:, i].t()[:, :, None, None] for i in range(self.waves.shape[1]))


def pack(drafts: Sequence[Draft], device: torch.device) -> Scenes:
    """Turn drafts with the same base into tensors; raises ValueError when their bases differ."""
    base = drafts[0].base
    if any(draft.base != base for draft in drafts):
        raise ValueError("Scenes of one batch need the same base.")
    long = max(len(d.prims) for d in drafts)
    rows = [d.prims + [_MISSING] * (long - len(d.prims)) for d in drafts]
    most = max(len(d.materials) for d in drafts)
    materials = [d.materials + [[0.0] * len(MATERIAL)] * (most - len(d.materials)) for d in drafts]
    waves = max(len(d.waves) for d in drafts)

    def tensor(values: object) -> Tensor:
        return torch.from_numpy(np.array(values, dtype=np.float32)).to(device)

    views = [view(d.camera) for d in drafts]
    return Scenes(
        base=base,
        prims=tensor(rows),
        materials=tensor(materials),
        appearance=tensor([[d.appearance.get(name, 0.0) for name in APPEARANCE] for d in drafts]),
        origin=tensor([[d.camera[name] for name in ("x", "y", "z")] for d in drafts]),
        frame=tensor(views),
        fov=tensor([d.camera["fov"] for d in drafts]),
        tilt=tensor([[*d.tilt, _offset(d)] for d in drafts]),
        waves=tensor(
            [[(16 * a, b, c, p) for a, b, c, p in d.waves] + [(0, 0, 0, 0)] * (waves - len(d.waves)) for d in drafts]
        ).reshape(len(drafts), waves, 4),
        steepest=tensor([_steepest(d) for d in drafts]),
    )


def view(camera: dict[str, float]) -> list[list[float]]:
    """Right, up and forward of a camera turned by yaw (to the right), pitch (up) and roll (clockwise), in radians."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(camera[n]), np.sin(camera[n])) for n in ("yaw", "pitch", "roll"))
    right, up, forward = (np.array(v) for v in ((cy, 0, -sy), (-sy * sp, cp, -cy * sp), (sy * cp, sp, cy * cp)))
    return [list(cr * right - sr * up), list(sr * right + cr * up), list(forward)]


def _offset(draft: Draft) -> float:
    """The offset that puts the ground at height 0 below the origin."""
    return -sum(wave_height(wave, 0.0, 0.0) for wave in draft.waves)


def _steepest(draft: Draft) -> float:
    return float(np.hypot(*draft.tilt) + sum(8 * abs(a) * np.hypot(fx, fz) for a, fx, fz, _ in draft.waves))
