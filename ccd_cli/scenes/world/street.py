"""Streets: a road along z with sidewalks, houses on both sides, parked cars, trees, lamps and people."""

from __future__ import annotations

import math

from ccd_cli.scenes.render.draft import Draft
from ccd_cli.scenes.world import air, outdoors
from ccd_cli.scenes.world import materials as mat


def street(draft: Draft) -> None:
    """Fill a draft with a street, daylight and a camera on the road or the sidewalk."""
    rng = draft.rng
    road, walk = rng.uniform(2.8, 6.0), rng.uniform(1.5, 4.0)  # half the road, the whole sidewalk
    lane = road if rng.random() < 0.6 else road / 1.5
    surface = mat.asphalt(draft, lane) if rng.random() < 0.8 else mat.paving(draft)
    air.ground(draft, "plane", surface, lane / 2 if rng.random() < 0.8 else 0.0)
    air.daylight(draft)
    x = rng.choice([rng.uniform(-road, road) * 0.6, rng.choice([-1, 1]) * (road + walk / 2)])
    air.eye(draft, x, 0.0, rng.gauss(0, 0.22) - 0.25 * x / (road + walk))
    if abs(x) > road:
        draft.camera["y"] += 0.13
    curb, lawn, style = mat.paving(draft), mat.grass(draft), rng.random()
    for side in (-1, 1):
        draft.at(side * (road + walk / 2), 60).box((0, 0, 0), (walk / 2, 0.13, 110), curb, casts=False)
        draft.at(side * (road + walk + 200), 0).box((0, 0.02, 0), (200, 0.13, 900), lawn, casts=False)
    for side in (-1, 1):
        _parked(draft, side, road, x)
        _row(draft, side, road, walk, x)
    for side in (-1, 1):
        _houses(draft, side, road + walk, style)
    _distance(draft, road + walk)


def _houses(draft: Draft, side: int, edge: float, style: float) -> None:
    """A row of houses with gaps, behind gardens (style below 0.5) or at the sidewalk."""
    rng = draft.rng
    z = rng.uniform(-14, 2)
    garden = rng.uniform(2, 9) if style < 0.5 else rng.uniform(0, 0.4)
    floors = rng.uniform(1, 6)
    if rng.random() < 0.12:
        return
    while z < 95 and not draft.full(3):
        wide, deep = rng.uniform(6, 16), rng.uniform(7, 14)
        tall = 3.0 * max(1, round(floors + rng.uniform(-1.2, 1.2)))
        place = draft.at(side * (edge + garden + deep / 2), z + wide / 2, side * math.pi / 2)
        outdoors.house(place, wide, deep, tall)
        z += wide + (0.0 if rng.random() < 0.5 and style > 0.5 else rng.uniform(1, 9))


def _parked(draft: Draft, side: int, road: float, eye_x: float) -> None:
    rng = draft.rng
    z = rng.uniform(2, 14)
    for _ in range(rng.choice([0, 1, 2, 3])):
        x = side * (road - 1.1)
        if abs(x - eye_x) > 1.6 or z > 4.5:
            outdoors.car(draft.at(x, z, math.pi * (rng.random() < 0.5) + rng.gauss(0, 0.02)))
        z += rng.uniform(5.2, 14)
    if side > 0 and rng.random() < 0.35:
        outdoors.car(draft.at(rng.uniform(-0.4, 0.4) * road, rng.uniform(9, 35), math.pi * (rng.random() < 0.5)))


def _row(draft: Draft, side: int, road: float, walk: float, eye_x: float) -> None:
    """Trees or lamps in a row along the curb, and people and small things on the sidewalk."""
    rng = draft.rng
    step, z = rng.uniform(8, 20), rng.uniform(3, 9)
    kind = rng.choice([outdoors.tree, outdoors.lamp_post, outdoors.lamp_post, None])
    for number in range(rng.choice([1, 2, 3])):
        if kind:
            kind(draft.at(side * (road + 0.4), z + number * step, 0.0 if side < 0 else math.pi, 0.12))
    things = (outdoors.person, outdoors.person, outdoors.sign, outdoors.bin_, outdoors.bush, outdoors.bench)
    for _ in range(rng.choice([1, 1, 2])):
        at_x, at_z = side * (road + rng.uniform(0.4, 0.9) * walk), rng.uniform(2.5, 18)
        if math.hypot(at_x - eye_x, at_z) > 2.2:
            thing = rng.choice(things)
            outdoors_yaw = rng.uniform(-3.14, 3.14) if thing is outdoors.person else side * math.pi / 2
            thing(draft.at(at_x, at_z, outdoors_yaw, 0.13))


def _distance(draft: Draft, edge: float) -> None:
    """Close the view: a cross street's houses, trees or hills."""
    rng = draft.rng
    if rng.random() < 0.4:
        far = rng.uniform(90, 160)
        for x in (-18.0, 2.0, 21.0):
            outdoors.house(
                draft.at(x + rng.uniform(-3, 3), far), rng.uniform(14, 20), 10, rng.choice([6.0, 9.0, 12.0, 18.0])
            )
    hills(draft)


def hills(draft: Draft) -> None:
    """Big round hills 300 to 700 m away."""
    rng = draft.rng
    paint = mat.leaves(draft, 0.6)
    for _ in range(rng.choice([0, 1, 2, 3])):
        turn, far = rng.uniform(-1.0, 1.0) + draft.camera["yaw"], rng.uniform(300, 700)
        tall, wide = rng.uniform(15, 110), rng.uniform(100, 250)
        x, z = far * math.sin(turn), far * math.cos(turn)
        draft.at(x, z).ball((0, draft.tilt[0] * x + draft.tilt[1] * z, 0), (wide, tall, wide), paint)
