"""Tables and worktops seen from above, with the things that lie on them."""

from __future__ import annotations

import math

from ccd_cli.scenes.render.draft import Draft
from ccd_cli.scenes.world import materials as mat
from ccd_cli.scenes.world import room, things


def tabletop(draft: Draft) -> None:
    """Fill a draft with a table in a room, things on it, and a camera that looks down on them."""
    rng = draft.rng
    width, length, high = rng.uniform(2.6, 6.5), rng.uniform(2.6, 6.5), rng.uniform(2.3, 3.0)
    walls, rects = room.enclose(draft, width, length, high)
    x, z = rng.uniform(-0.25, 0.25) * width, rng.uniform(-0.25, 0.25) * length
    yaw, top = rng.uniform(-math.pi, math.pi), rng.choice([rng.uniform(0.7, 0.78), rng.uniform(0.7, 0.95), 0.42, 0.0])
    wide, deep = rng.uniform(0.35, 0.9), rng.uniform(0.3, 0.6)
    place = draft.at(x, z, yaw)
    if top:  # at 0 the things lie on the floor
        wood = mat.pick(
            draft, mat.wood, mat.wood, mat.planks, mat.cloth, lambda d: mat.plain(d, mat.hue(d.rng, 0.3), gloss=0.3)
        )
        place.box((0, top - 0.02, 0), (wide, 0.02, deep), wood)
        for sx in (-1, 1):
            place.box((sx * (wide - 0.05), top / 2 - 0.02, 0), (0.03, top / 2 - 0.02, deep - 0.06), wood)
    reach = max(wide, deep) + 0.3
    rects.append((x - reach, x + reach, z - reach, z + reach))
    _lay(draft, x, z, yaw, top, (wide * 0.9, deep * 0.9))
    for side, run in sorted(walls, key=lambda _: rng.random()):
        room.line_wall(draft, side, run, rects, narrow=False)
    _look_down(draft, x, z, top, (width, length, high))


def _lay(draft: Draft, x: float, z: float, yaw: float, top: float, half: tuple[float, float]) -> None:
    """Lay things side by side: a new one keeps 8 to 15 cm from existing ones, or is dropped."""
    rng = draft.rng
    laid: list[tuple[float, float]] = []
    table = draft.at(x, z, yaw)
    for _ in range(rng.choice([4, 8, 14, 20])):
        spot = (rng.uniform(-1, 1) * half[0], rng.uniform(-1, 1) * half[1])
        if draft.full(24) or any(math.dist(spot, other) < rng.uniform(0.08, 0.15) for other in laid):
            continue
        laid.append(spot)
        at = table.world(spot[0], top, spot[1])
        rng.choice(things.THINGS)(draft.at(at[0], at[2], rng.uniform(-math.pi, math.pi), at[1]))


def _look_down(draft: Draft, x: float, z: float, top: float, size: tuple[float, float, float]) -> None:
    rng = draft.rng
    far, above, turn = rng.uniform(0.1, 1.3), rng.uniform(0.2, 1.1), rng.uniform(-math.pi, math.pi)
    limit = [side / 2 - 0.15 for side in size[:2]]
    eye_x = max(-limit[0], min(limit[0], x - far * math.sin(turn)))
    eye_z = max(-limit[1], min(limit[1], z - far * math.cos(turn)))
    eye_y = min(top + above, size[2] - 0.2)
    aim = (x + rng.gauss(0, 0.12) - eye_x, z + rng.gauss(0, 0.12) - eye_z)
    pitch = -math.atan2(eye_y - top - 0.05, math.hypot(*aim))
    draft.camera = {
        "x": eye_x, "y": eye_y, "z": eye_z, "yaw": math.atan2(aim[0], aim[1]), "pitch": pitch + rng.uniform(-0.1, 0.25),
        "roll": rng.gauss(0, 0.12), "fov": math.radians(rng.uniform(40, 75)),
    }  # fmt: skip
