"""Render seeded scenes: images with exact depth and intrinsics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ccd_cli.config.common import Family
from ccd_cli.core.errors import UsageProblem
from ccd_cli.scenes.render import camera, light, tiles, trace
from ccd_cli.scenes.render.packing import Scenes, pack
from ccd_cli.scenes.world.compose import FAMILIES, compose

_CPU_PIXELS = 32_768  # rendered at once: fits a core's cache
_GPU_PIXELS = 2_000_000


@dataclass(frozen=True)
class Rendered:
    """Images and their geometry, all on one device."""

    rgb: Tensor  # uint8 [B,3,H,W]
    depth: Tensor  # float32 [B,H,W], z-depth in meters at the pixel's center; sky is inf
    intrinsics: Tensor  # float32 [B,4] fx, fy, cx, cy in pixels; pixel (0, 0) has its center at (0.5, 0.5)


def render(
    seeds: Sequence[int],
    height: int,
    width: int,
    *,
    family: Family = "mixed",
    device: str | torch.device = "cpu",
) -> Rendered:
    """Render one generated scene per seed: rgb uint8 [B,3,H,W], depth float32 [B,H,W] in meters, intrinsics [B,4].

    `room` draws interiors, `ground` streets and open land, `table` tables from above, `close` people and things at arm's
    length, `yard` parks and lanes; `mixed` is one of the first two and `varied` any, by the seed. A scene depends only
    on its seed, the family and the size; on a CPU it is identical to the byte in any batch and with any number of
    threads. Raises UsageProblem for an unknown family, no seeds or a size below 2.
    """
    if family not in FAMILIES:
        raise UsageProblem(f"Unknown family of scenes: {family}.", f"Use one of {', '.join(FAMILIES)}.")
    if not seeds or height < 2 or width < 2:
        raise UsageProblem(
            f"Cannot render {len(seeds)} scenes of {height}x{width}.", "It takes at least one seed and 2 pixels a side."
        )
    target = torch.device(device)
    drafts = [compose(int(seed), family) for seed in seeds]
    batch = max(1, (_CPU_PIXELS if target.type == "cpu" else _GPU_PIXELS) // (height * width))
    groups: dict[str, list[int]] = {}
    for number, draft in enumerate(drafts):
        groups.setdefault(draft.base, []).append(number)
    rgb = torch.empty(len(drafts), 3, height, width, dtype=torch.uint8, device=target)
    depth = torch.empty(len(drafts), height, width, device=target)
    intrinsics = torch.empty(len(drafts), 4, device=target)
    with torch.no_grad():
        for members in groups.values():
            for start in range(0, len(members), batch):
                part = members[start : start + batch]
                made = render_scenes(pack([drafts[n] for n in part], target), height, width)
                rgb[part], depth[part], intrinsics[part] = made.rgb, made.depth, made.intrinsics
    return Rendered(rgb, depth, intrinsics)


def render_scenes(scenes: Scenes, height: int, width: int) -> Rendered:
    """Render packed scenes, all at once."""
    intrinsics = camera.intrinsics(scenes.fov, height, width)
    grid = tiles.grid(height, width, intrinsics.device)
    origin, direction = camera.rays(scenes, intrinsics, grid)
    depth, index = trace.nearest(scenes, origin, direction, intrinsics, grid)
    pixel = (1 / intrinsics[:, 0])[:, None, None]
    colors = light.radiance(scenes, origin, direction, depth, index, pixel)
    red, green, blue = (grid.image(color, height, width) for color in colors)
    rgb = light.develop(scenes, (red, green, blue))
    return Rendered(rgb, grid.image(depth, height, width), intrinsics)
