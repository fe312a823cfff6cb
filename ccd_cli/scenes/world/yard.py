"""Yards, parks and lanes: outdoors where things are near on all sides, and some of them overhead."""

from __future__ import annotations

import math

from ccd_cli.scenes.render.draft import Draft, Place
from ccd_cli.scenes.world import air, outdoors
from ccd_cli.scenes.world import materials as mat


def park(draft: Draft) -> None:
    """Fill a draft with a park, school yard or playground: trunks, frames, roofs on a post, a house behind."""
    rng = draft.rng
    air.ground(draft, "plane", mat.pick(draft, mat.grass, mat.soil, mat.paving, mat.paving))
    air.daylight(draft)
    yaw = rng.uniform(-math.pi, math.pi)
    air.eye(draft, 0.0, 0.0, yaw)
    draft.camera["pitch"] += rng.choice([0.0, rng.gauss(0, 0.15)])
    for _ in range(rng.randint(4, 10)):
        far = rng.uniform(1.5, 4.0) + 14 * rng.random() ** 2
        turn = yaw + rng.uniform(-0.75, 0.75)
        place = draft.at(far * math.sin(turn), far * math.cos(turn), rng.uniform(-math.pi, math.pi))
        _thing(place, far)
    for _ in range(rng.choice([0, 1, 1, 2])):
        backdrop(draft, yaw + rng.gauss(0, 0.3), rng.uniform(10, 45))


def lane(draft: Draft) -> None:
    """Fill a draft with a narrow street or a path between walls, hedges, cars and trees, seen as from a car."""
    rng = draft.rng
    half = rng.uniform(1.6, 4.5)
    surface = mat.pick(draft, lambda d: mat.asphalt(d, 2 * half), mat.asphalt, mat.paving, mat.soil)
    air.ground(draft, "plane", surface, half)
    air.daylight(draft)
    air.eye(draft, rng.uniform(-0.4, 0.4) * half, 0.0, rng.gauss(0, 0.12))
    draft.camera["y"] = rng.uniform(1.2, 1.9)
    for side in (-1, 1):
        verge = mat.pick(draft, mat.grass, mat.paving, mat.soil)
        draft.at(side * (half + 50), 50).box((0, 0, 0), (50, 0.1, 400), verge, casts=False)
        z = rng.uniform(-6, 3)
        while z < 70 and not draft.full(10):
            z += _edge(draft, side, half, z) + rng.choice([0.0, 0.0, rng.uniform(0.5, 6)])
        z = rng.uniform(3, 9)
        for _ in range(rng.choice([0, 1, 2, 3])):
            outdoors.car(draft.at(side * (half - 0.2), z, math.pi * (rng.random() < 0.5) + rng.gauss(0, 0.03)))
            z += rng.uniform(5.2, 10)
    if rng.random() < 0.5:
        ahead = rng.uniform(7, 40)
        if rng.random() < 0.6:
            outdoors.car(draft.at(rng.uniform(-0.3, 0.3) * half, ahead, math.pi * (rng.random() < 0.5)))
        else:
            outdoors.person(draft.at(rng.uniform(-0.6, 0.6) * half, ahead, rng.uniform(-3.14, 3.14)))
    if rng.random() < 0.6:
        backdrop(draft, 0.0, rng.uniform(25, 110))


def backdrop(draft: Draft, yaw: float, far: float) -> None:
    """Close the view in direction yaw by houses, a wall, a hedge or a row of trees."""
    rng = draft.rng
    x, z = far * math.sin(yaw), far * math.cos(yaw)
    place = draft.at(x, z, yaw + rng.gauss(0, 0.3))
    kind = rng.random()
    if kind < 0.5:
        outdoors.house(place, rng.uniform(8, 40), rng.uniform(6, 12), 3.0 * rng.randint(1, 5))
    elif kind < 0.7:
        outdoors.hedge(place, rng.uniform(8, 50))
    else:
        for number in range(rng.randint(3, 7)):
            at = place.world(5.0 * (number - 3) + rng.gauss(0, 1), 0, rng.gauss(0, 2))
            rng.choice((outdoors.tree, outdoors.tree, outdoors.bush))(draft.at(at[0], at[2]))


def _edge(draft: Draft, side: int, half: float, z: float) -> float:
    """Set one thing along a lane and return its length."""
    rng = draft.rng
    kind, off, turn = rng.random(), rng.choice([0.3, rng.uniform(0.3, 5)]), side * math.pi / 2
    if kind < 0.4:
        wide, deep = rng.uniform(5, 18), rng.uniform(6, 12)
        outdoors.house(
            draft.at(side * (half + off + deep / 2), z + wide / 2, turn), wide, deep, 3.0 * rng.randint(1, 4)
        )
        return wide
    if kind < 0.65:
        long = rng.uniform(4, 20)
        outdoors.hedge(draft.at(side * (half + off + 0.4), z + long / 2, turn), long)
        return long
    if kind < 0.75:
        outdoors.fence(draft.at(side * (half + off), z + 3, turn), 4, 2.0)
        return 6.0
    small = (
        outdoors.tree,
        outdoors.tree,
        outdoors.bush,
        outdoors.lamp_post,
        outdoors.sign,
        outdoors.pole,
        outdoors.bin_,
    )
    rng.choice(small)(draft.at(side * (half + 0.4 + off / 2), z, 0.0 if side < 0 else math.pi))
    return rng.uniform(1, 6)


def _thing(place: Place, far: float) -> None:
    rng = place.draft.rng
    if far > 3.5 and rng.random() < 0.3:
        rng.choice((outdoors.tree, outdoors.tree, outdoors.bush, outdoors.car))(place)
        return
    near = (mushroom, umbrella, swing, slide, bars, old_tree, old_tree)
    small = (outdoors.person, outdoors.bench, outdoors.pole, outdoors.bush, outdoors.bin_, outdoors.rock)
    rng.choice(near if rng.random() < 0.55 else small)(place)


def mushroom(place: Place) -> None:
    """A roof that widens out of its post, in concrete or wood, 2.5 to 4.5 m."""
    rng = place.draft.rng
    paint = mat.pick(place.draft, mat.paving, mat.wood, lambda d: mat.plain(d, mat.hue(d.rng, 0.3)))
    tall, wide, stem = rng.uniform(2.5, 4.5), rng.uniform(1.2, 3.5), rng.uniform(0.1, 0.35)
    flare = rng.uniform(0.2, 0.6) * tall
    place.cone((0, (tall - flare) / 2, 0), stem, (tall - flare) / 2, paint)
    place.cone((0, tall - flare / 2, 0), stem, flare / 2, paint, top=wide / stem)
    place.cone((0, tall + 0.06, 0), wide, 0.06, paint)


def umbrella(place: Place) -> None:
    """A sunshade over a small table."""
    rng = place.draft.rng
    tall, wide = rng.uniform(2.2, 2.8), rng.uniform(1.0, 1.8)
    place.cone((0, tall / 2, 0), 0.025, tall / 2, mat.plain(place.draft, (0.7, 0.7, 0.7)))
    place.cone((0, tall, 0), wide, 0.2, mat.cloth(place.draft), top=0.03)
    if rng.random() < 0.6:
        place.cone((0, 0.72, 0), 0.45, 0.015, mat.wood(place.draft))


def swing(place: Place) -> None:
    """A frame of rods with a seat on two ropes."""
    rng = place.draft.rng
    paint = mat.plain(place.draft, mat.hue(rng, 0.9), gloss=0.4)
    tall, half = rng.uniform(1.8, 2.6), rng.uniform(0.9, 1.8)
    for x in (-half, half):
        for z in (-0.8, 0.8):
            place.rod((x, 0, z), (x, tall, 0), 0.04, paint)
    place.rod((-half, tall, 0), (half, tall, 0), 0.04, paint)
    for x in (-0.22, 0.22):
        place.rod((x, 0.45, 0.1), (x, tall, 0), 0.012, paint)
    place.box((0, 0.44, 0.1), (0.24, 0.02, 0.1), mat.wood(place.draft))


def slide(place: Place) -> None:
    """A slide: a chute of two rods and a filled side, a ladder and a platform."""
    rng = place.draft.rng
    paint, metal = mat.plain(place.draft, mat.hue(rng, 0.9), gloss=0.4), mat.plain(place.draft, (0.6, 0.62, 0.64))
    tall, long = rng.uniform(1.2, 2.2), rng.uniform(1.8, 3.2)
    for x in (-0.25, -0.12, 0.0, 0.12, 0.25):
        place.rod((x, 0.15, -long), (x, tall, 0), 0.09, paint)
    place.box((0, tall, 0.3), (0.35, 0.03, 0.3), metal)
    for x in (-0.3, 0.3):
        place.rod((x, 0, 0.7), (x, tall + 0.7, 0.5), 0.03, metal)
    for step in range(4):
        y = tall * (step + 0.5) / 4
        place.rod((-0.3, y, 0.68), (0.3, y, 0.68), 0.02, metal)


def bars(place: Place) -> None:
    """Railings: thin upright bars between two rails."""
    rng = place.draft.rng
    paint = mat.plain(place.draft, mat.hue(rng, 0.5, (0.1, 0.7)))
    count, step, tall = rng.randint(5, 10), rng.uniform(0.12, 0.3), rng.uniform(0.8, 1.8)
    long = (count - 1) * step / 2
    for number in range(count):
        place.cone((number * step - long, tall / 2, 0), 0.02, tall / 2, paint)
    for y in (0.12, tall):
        place.box((0, y, 0), (long + 0.05, 0.025, 0.025), paint)


def old_tree(place: Place) -> None:
    """A thick trunk near by, with branches and a crown that hangs over."""
    rng = place.draft.rng
    bark, green = mat.bark(place.draft), mat.leaves(place.draft, 0.05)
    radius, stem = rng.uniform(0.12, 0.4), rng.uniform(1.8, 3.5)
    place.cone((0, stem / 2, 0), radius, stem / 2, bark, top=0.8)
    for _ in range(rng.randint(2, 4)):
        x, z = rng.uniform(-2.5, 2.5), rng.uniform(-2.5, 2.5)
        y = stem + rng.uniform(0.8, 2.5)
        place.rod((0, stem * 0.95, 0), (x, y, z), 0.3 * radius + 0.02, bark)
        if rng.random() < 0.8:
            size = rng.uniform(0.7, 1.8)
            place.ball((x, y, z), (size, size * 0.7, size), green)
