"""Open land: meadows, crops and bare ground, level, sloping or hilly, with trees, houses, fences and people."""

from __future__ import annotations

import math

from ccd_cli.scenes.render.draft import Draft, Place
from ccd_cli.scenes.world import air, outdoors
from ccd_cli.scenes.world import materials as mat
from ccd_cli.scenes.world.street import hills


def field(draft: Draft) -> None:
    """Fill a draft with open land, daylight and a camera."""
    rng = draft.rng
    base = "terrain" if rng.random() < 0.55 else "plane"
    steep = rng.choice([0.0, 0.03, 0.1])
    draft.tilt = (rng.uniform(-steep, steep), rng.uniform(-steep, steep))
    if base == "terrain":
        for _ in range(4):
            long, turn = rng.uniform(25, 220), rng.uniform(0, math.pi)
            amplitude = long * rng.uniform(0.002, 0.022)
            draft.waves.append((amplitude, math.cos(turn) / long, math.sin(turn) / long, rng.random()))
    paint = mat.pick(draft, mat.grass, mat.grass, mat.crops, mat.soil, mat.paving)
    air.ground(draft, base, paint)
    air.daylight(draft)
    yaw = rng.uniform(-math.pi, math.pi)
    air.eye(draft, 0.0, 0.0, yaw)
    level = base == "plane" and steep == 0.0
    if level and rng.random() < 0.5:
        turn = yaw + rng.gauss(0, 0.5)
        x = rng.uniform(-4, 4)
        road = mat.pick(draft, mat.asphalt, mat.soil, mat.paving)
        draft.at(x * math.cos(turn), -x * math.sin(turn), turn).box(
            (0, 0, 0), (rng.uniform(1.2, 3.5), 0.02, 800), road, casts=False
        )
    for _ in range(rng.randint(8, 16)):
        _thing(draft, yaw)
    if level or rng.random() < 0.5:
        hills(draft)


def _thing(draft: Draft, yaw: float) -> None:
    """Set one thing in front of the camera, the farther the bigger the choice."""
    rng = draft.rng
    far = 2.5 + 70 * rng.random() ** 2
    place = _spot(draft, yaw + rng.uniform(-0.8, 0.8), far)
    kind = rng.random()
    if far > 14 and kind < 0.3:
        outdoors.house(place, rng.uniform(6, 14), rng.uniform(6, 10), rng.choice([3.0, 4.0, 6.0]))
    elif far > 6 and kind < 0.6:
        outdoors.tree(place, rng.random() < 0.15)
    elif far > 5 and kind < 0.66:
        outdoors.hedge(place, rng.uniform(3, 12))
    elif far > 5 and kind < 0.74:
        outdoors.car(place)
    else:
        small = (
            outdoors.person,
            outdoors.bush,
            outdoors.rock,
            outdoors.pole,
            outdoors.pole,
            outdoors.bale,
            outdoors.bench,
        )
        if rng.random() < 0.15:
            outdoors.fence(place, rng.randint(3, 5), rng.uniform(1.5, 2.5))
        else:
            rng.choice(small)(place)


def _spot(draft: Draft, turn: float, far: float) -> Place:
    x, z = far * math.sin(turn), far * math.cos(turn)
    return draft.at(x, z, draft.rng.uniform(-math.pi, math.pi), draft.height(x, z) - 0.05)
