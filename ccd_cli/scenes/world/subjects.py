"""Subjects of a photo: things that fill a large part of the image, in real sizes, their middle at the local origin.

Each function adds one to a place on the ground and returns (height, radius) in meters, for the camera to aim at.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ccd_cli.scenes.render.draft import Place
from ccd_cli.scenes.world import furniture, outdoors, things
from ccd_cli.scenes.world import materials as mat

Extent = tuple[float, float]
Subject = Callable[[Place], Extent]


def person(place: Place) -> Extent:
    """Someone standing."""
    outdoors.person(place)
    return 1.7, 0.4


def seated(place: Place) -> Extent:
    """Someone on a chair or stool."""
    rng = place.draft.rng
    coat, trousers = mat.cloth(place.draft), mat.plain(place.draft, mat.hue(rng, 0.5, (0.1, 0.6)))
    skin = mat.plain(place.draft, mat.near(rng, rng.choice([(0.85, 0.65, 0.53), (0.5, 0.35, 0.27)])))
    hair = mat.plain(place.draft, mat.near(rng, (0.25, 0.18, 0.12), 0.15))
    place.box((0, 0.22, 0), (0.22, 0.22, 0.22), mat.pick(place.draft, mat.wood, mat.cloth))
    for side in (-1, 1):
        knee = (side * rng.uniform(0.1, 0.2), 0.5, -0.48)
        place.rod((side * 0.1, 0.52, 0.05), knee, 0.08, trousers)
        place.rod(knee, (knee[0], 0.03, -0.45 - rng.uniform(-0.15, 0.2)), 0.06, trousers)
        hand = (side * rng.uniform(0.05, 0.3), rng.uniform(0.6, 0.75), -0.35)
        place.rod((side * 0.21, 1.02, 0), hand, 0.05, coat)
    place.cone((0, 0.77, 0), 0.15, 0.3, coat, top=1.3)
    place.cone((0, 1.12, 0), 0.055, 0.08, skin)
    place.ball((0, 1.27, 0), (0.085, 0.125, 0.1), skin)
    place.ball((0, 1.31, 0.012), (0.092, 0.105, 0.1), hair)
    return 1.35, 0.5


def animal(place: Place) -> Extent:
    """A dog, cat, sheep or cow: body, legs, neck and head."""
    rng = place.draft.rng
    s = rng.choice([rng.uniform(0.25, 0.4), rng.uniform(0.4, 0.7), rng.uniform(0.8, 1.3)])
    tone = mat.near(rng, rng.choice([(0.5, 0.36, 0.22), (0.12, 0.11, 0.1), (0.85, 0.82, 0.75), (0.55, 0.52, 0.5)]))
    other = tone if rng.random() < 0.6 else (0.9, 0.88, 0.85)
    fur = mat.material(
        place.draft, mat.Pattern(tone, other, size=(s / 2, s / 2), blend=0.8, kind="blades", texel=0.008, fine=0.15)
    )
    leg = s * rng.uniform(0.4, 0.6)
    place.ball((0, leg + 0.28 * s, 0), (0.27 * s, 0.3 * s, 0.65 * s), fur)
    for x in (-0.16, 0.16):
        for z in (-0.42, 0.42):
            place.rod((x * s, 0, z * s), (x * s, leg + 0.2 * s, z * s), 0.07 * s, fur)
    head = (rng.uniform(-0.2, 0.2) * s, leg + rng.uniform(0.35, 0.8) * s, -0.85 * s)
    place.rod((0, leg + 0.35 * s, -0.45 * s), head, 0.13 * s, fur)
    place.ball(head, (0.15 * s, 0.16 * s, 0.2 * s), fur)
    place.rod(head, (head[0], head[1] - 0.06 * s, head[2] - 0.27 * s), 0.09 * s, fur)
    place.rod((0, leg + 0.4 * s, 0.6 * s), (0, leg + rng.uniform(0.1, 0.7) * s, 0.95 * s), 0.04 * s, fur)
    return leg + 0.7 * s, 0.8 * s


def statue(place: Place) -> Extent:
    """A bust or figure on a plinth, in one stone."""
    rng = place.draft.rng
    tone = mat.near(rng, rng.choice([(0.85, 0.83, 0.78), (0.5, 0.48, 0.45), (0.35, 0.28, 0.2)]))
    stone = mat.material(place.draft, mat.Pattern(tone, kind="veins", texel=0.01, fine=0.06, coarse=0.08))
    base, s = rng.uniform(0.1, 1.1), rng.uniform(0.6, 1.6)
    place.box((0, base / 2, 0), (0.22 * s, base / 2, 0.22 * s), mat.pick(place.draft, mat.paving, mat.wood))
    place.ball((0, base + 0.16 * s, 0), (0.24 * s, 0.18 * s, 0.13 * s), stone)
    place.cone((0, base + 0.33 * s, 0), 0.06 * s, 0.1 * s, stone)
    place.ball((0, base + 0.5 * s, 0), (0.1 * s, 0.14 * s, 0.12 * s), stone)
    place.ball((0, base + 0.48 * s, -0.12 * s), (0.02 * s, 0.04 * s, 0.03 * s), stone)
    return base + 0.65 * s, 0.25 * s


def slatted_chair(place: Place) -> Extent:
    """A garden chair of boards with gaps between them: a sloping back, broad arms."""
    rng = place.draft.rng
    paint = mat.pick(place.draft, mat.wood, lambda d: mat.plain(d, mat.hue(d.rng, 0.4)))
    seat, wide, lean = rng.uniform(0.32, 0.42), rng.uniform(0.24, 0.3), rng.uniform(0.15, 0.4)
    boards = rng.randint(4, 6)
    for number in range(boards):
        x = (2 * number / (boards - 1) - 1) * (wide - 0.04)
        tall = rng.uniform(0.62, 0.7) + 0.1 * (1 - abs(x) / wide)
        for shift in (-0.018, 0.018):
            place.rod((x + shift, seat, 0.2), (x * 1.15 + shift, seat + tall, 0.2 + lean), 0.02, paint)
        place.box((0, seat + 0.01 * number, 0.2 - 0.11 * number), (wide, 0.012, 0.045), paint)
    for side in (-1, 1):
        place.box((side * (wide + 0.05), seat + 0.22, -0.08), (0.06, 0.014, 0.36), paint)
        for z in (-0.35, 0.2):
            place.box((side * (wide + 0.03), (seat + 0.22) / 2, z), (0.02, (seat + 0.22) / 2, 0.04), paint)
    return seat + 0.75, 0.5


def tripod(place: Place) -> Extent:
    """A camera, telescope or lamp on three legs."""
    rng = place.draft.rng
    black = mat.plain(place.draft, mat.near(rng, (0.12, 0.12, 0.13)), gloss=0.4)
    tall, out = rng.uniform(0.9, 1.5), rng.uniform(0.3, 0.5)
    for turn in (0.3, 2.4, 4.5):
        place.rod((out * math.cos(turn), 0, out * math.sin(turn)), (0, tall, 0), 0.018, black)
    place.box((0, tall + 0.1, 0), (rng.uniform(0.06, 0.12), 0.09, rng.uniform(0.08, 0.2)), black)
    place.rod((0, tall + 0.1, -0.1), (0, tall + 0.1, -0.28), 0.06, black)
    return tall + 0.2, 0.3


def column(place: Place) -> Extent:
    """A pillar, post or trunk that extends beyond the image."""
    rng = place.draft.rng
    radius, half = rng.uniform(0.06, 0.35), rng.uniform(1.2, 3.0)
    paint = mat.pick(place.draft, mat.bark, mat.brick, mat.wood, lambda d: mat.plain(d, mat.hue(d.rng, 0.4)))
    if rng.random() < 0.5:
        place.cone((0, half, 0), radius, half, paint, top=rng.uniform(0.7, 1.0))
    else:
        place.box((0, half, 0), (radius, half, radius), paint)
    return min(2 * half, 1.8), radius


def heap(place: Place) -> Extent:
    """Boxes, sacks and cones piled on the ground: what lies in a cellar, a yard or a toy shop."""
    rng = place.draft.rng
    for _ in range(rng.randint(4, 9)):
        x, z, s = rng.gauss(0, 0.35), rng.gauss(0, 0.3), rng.uniform(0.08, 0.3)
        turned = place.draft.at(*place.world(x, 0, z)[::2], rng.uniform(0, 3.14), place.y)
        paint = mat.pick(place.draft, mat.picture, mat.cloth, mat.wood, lambda d: mat.plain(d, mat.hue(d.rng, 0.9)))
        kind, y = rng.random(), rng.choice([0.0, 0.0, rng.uniform(0.1, 0.35)])
        if kind < 0.4:
            turned.box((0, s + y / 2, 0), (s * rng.uniform(0.5, 1.3), s + y / 2, s * rng.uniform(0.5, 1.3)), paint)
        elif kind < 0.75:
            turned.cone((0, s * 1.6, 0), s, s * 1.6, paint, top=rng.choice([0.03, 0.03, rng.uniform(0.5, 1.0)]))
        else:
            turned.ball((0, s * 0.6, 0), (s, s * rng.uniform(0.5, 1.0), s), paint)
    return 0.6, 0.6


def table_set(place: Place) -> Extent:
    """A table with things on it, seen from the side."""
    rng = place.draft.rng
    wide, deep = furniture.table(place, rng.random() < 0.3)
    for _ in range(rng.randint(2, 6)):
        x, z = rng.uniform(-0.4, 0.4) * wide, -deep * rng.uniform(0.2, 0.8)
        at = place.world(x, 0.76, z)
        rng.choice(things.THINGS)(place.draft.at(at[0], at[2], rng.uniform(-3.14, 3.14), at[1]))
    return 0.95, wide / 2


def _piece(make: Callable[[Place], furniture.Size], tall: float) -> Subject:
    def subject(place: Place) -> Extent:
        wide, _ = make(place)
        return tall, wide / 2

    return subject


def car(place: Place) -> Extent:
    """A parked car."""
    outdoors.car(place)
    return 1.4, 1.8


def rock(place: Place) -> Extent:
    """A boulder."""
    outdoors.rock(place)
    return 0.6, 0.6


def bush(place: Place) -> Extent:
    """A bush, or flowers."""
    outdoors.bush(place)
    return 1.0, 0.7


INSIDE: tuple[Subject, ...] = (
    *(person, seated, seated, animal, statue, slatted_chair, tripod, column, heap, heap, table_set, table_set),
    *(_piece(furniture.chair, 0.85), _piece(furniture.sofa, 0.8), _piece(furniture.plant, 1.1)),
)
OUTSIDE: tuple[Subject, ...] = (
    *(person, person, seated, animal, animal, statue, slatted_chair, slatted_chair, tripod, column, column),
    *(heap, table_set, car, rock, bush),
)
"""What a photo may be of indoors and outdoors; repeated names are more frequent."""
