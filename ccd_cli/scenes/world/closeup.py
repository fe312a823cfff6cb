"""Close-ups: a person, an animal, a chair or a heap of things at 0.5 to 4 m, before a room or open land."""

from __future__ import annotations

import math

from ccd_cli.scenes.render.draft import Draft
from ccd_cli.scenes.world import air, outdoors, room, subjects, yard
from ccd_cli.scenes.world import materials as mat


def closeup(draft: Draft) -> None:
    """Fill a draft with one to three subjects, what is behind them, and a camera that aims at the first."""
    if draft.rng.random() < 0.55:
        _inside(draft)
    else:
        _outside(draft)


def _inside(draft: Draft) -> None:
    rng = draft.rng
    width, length, high = rng.uniform(2.6, 7.0), rng.uniform(3.0, 8.0), rng.uniform(2.3, 3.2)
    walls, rects = room.enclose(draft, width, length, high)
    eye = (rng.uniform(-0.5, 0.5) * (width - 0.5), rng.uniform(-0.5, 0.5) * (length - 0.5))
    yaw = math.atan2(rng.uniform(-0.25, 0.25) * width - eye[0], rng.uniform(-0.25, 0.25) * length - eye[1])
    rects.append((eye[0] - 0.4, eye[0] + 0.4, eye[1] - 0.4, eye[1] + 0.4))
    limits = (width / 2 - 0.3, length / 2 - 0.3)
    x, z = _aim(draft, eye, yaw, subjects.INSIDE, limits)
    draft.camera["y"] = min(draft.camera["y"], high - 0.2)
    rects.append((x - 0.6, x + 0.6, z - 0.6, z + 0.6))
    for side, run in sorted(walls, key=lambda _: rng.random()):
        room.line_wall(draft, side, run, rects, narrow=False)


def _outside(draft: Draft) -> None:
    rng = draft.rng
    air.ground(draft, "plane", mat.pick(draft, mat.grass, mat.grass, mat.paving, mat.soil, mat.crops))
    air.daylight(draft)
    yaw = rng.uniform(-math.pi, math.pi)
    _aim(draft, (0.0, 0.0), yaw, subjects.OUTSIDE, None)
    if rng.random() < 0.5:
        yard.backdrop(draft, yaw, rng.uniform(4, 30))
    for _ in range(rng.randint(1, 8)):
        far, turn = rng.uniform(4, 12) + 20 * rng.random() ** 2, yaw + rng.uniform(-0.9, 0.9)
        place = draft.at(far * math.sin(turn), far * math.cos(turn), rng.uniform(-3.14, 3.14))
        rng.choice((outdoors.tree, outdoors.bush, outdoors.bush, outdoors.person, outdoors.pole, outdoors.rock))(place)


def _aim(
    draft: Draft,
    eye: tuple[float, float],
    yaw: float,
    choices: tuple[subjects.Subject, ...],
    limits: tuple[float, float] | None,
) -> tuple[float, float]:
    """Set up subjects in front of the camera and turn it to the first; returns where that stands."""
    rng = draft.rng
    first, tall, fov = (0.0, 0.0), 1.0, rng.uniform(35, 80)
    for number in range(rng.choice([1, 1, 2, 3])):
        far = rng.uniform(0.9, 2.6) if number == 0 else rng.uniform(1.3, 5.0)
        turn = yaw + (rng.gauss(0, 0.12) if number == 0 else rng.uniform(-0.6, 0.6))
        x, z = eye[0] + far * math.sin(turn), eye[1] + far * math.cos(turn)
        if limits:
            x, z = max(-limits[0], min(limits[0], x)), max(-limits[1], min(limits[1], z))
        facing = math.atan2(x - eye[0], z - eye[1]) + rng.gauss(0, 0.7)
        made = len(draft.prims)
        extent = rng.choice(choices)(draft.at(x, z, facing))
        clear = math.dist((x, z), eye) - extent[1]
        if number == 0:
            first, tall = (x, z), extent[0]
            if clear < 0.35:  # step back rather than stand in it
                eye = (x - (extent[1] + 0.4) * math.sin(turn), z - (extent[1] + 0.4) * math.cos(turn))
        elif clear < 0.7:
            del draft.prims[made:]
    far = max(0.3, math.dist(first, eye))
    high = rng.choice([rng.uniform(0.3, 1.2), rng.uniform(1.1, 1.7), tall])
    middle = tall * rng.uniform(0.4, 0.9)
    draft.camera = {
        "x": eye[0], "y": high, "z": eye[1], "yaw": yaw, "pitch": max(-1.0, min(0.6, math.atan2(middle - high, far))),
        "roll": rng.gauss(0, 0.06), "fov": math.radians(fov),
    }  # fmt: skip
    return first
