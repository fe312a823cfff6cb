"""Things that stand outdoors, in real sizes; every function adds one to a place on the ground, its middle at the origin."""

from __future__ import annotations

import math

from ccd_cli.scenes.render.draft import Place
from ccd_cli.scenes.world import materials as mat


def car(place: Place) -> None:
    """A car along local z, 1.45 to 1.9 m high, or a van."""
    rng = place.draft.rng
    van = rng.random() < 0.2
    long, wide = rng.uniform(3.7, 4.8) / 2, rng.uniform(1.65, 1.85) / 2
    tone = rng.choice([mat.hue(rng, 0.9, (0.2, 0.85)), mat.hue(rng, 0.08, (0.1, 0.95))])
    body = mat.plain(place.draft, tone, 0.01, 0.02, gloss=0.6)
    dark = mat.plain(place.draft, (0.13, 0.15, 0.18), 0.02, 0.02, gloss=0.7)
    rubber = mat.plain(place.draft, (0.1, 0.1, 0.1))
    low, belt, top = 0.2, rng.uniform(0.8, 0.95), rng.uniform(1.4, 1.6)
    if van:
        long, belt, top = 2.5, 1.1, rng.uniform(1.9, 2.4)
    place.box((0, (low + belt) / 2, 0), (wide, (belt - low) / 2, long), body)
    cabin, back = (0.92 if van else 0.56) * long, (-0.05 if van else -0.08) * long
    turned = place.draft.at(*place.world(0, 0, back)[::2], place.yaw + math.pi / 2, place.y)
    turned.wedge(
        (0, (belt + top) / 2, 0),
        (cabin, (top - belt) / 2, wide * 0.9),
        rng.uniform(0.6, 0.75),
        (dark, body, body, dark),
    )
    if not van:
        place.box((0, top, back), (wide * 0.82, 0.025, cabin * 0.6), body)
    for axle in (-0.62, 0.62):
        place.rod((-wide - 0.01, 0.31, axle * long), (wide + 0.01, 0.31, axle * long), 0.31, rubber)
    lights = mat.plain(place.draft, (0.9, 0.9, 0.85) if rng.random() < 0.5 else (0.7, 0.1, 0.08))
    place.box((0, belt - 0.17, 0), (wide * 0.92, 0.06, long + 0.015), lights)


def house(place: Place, wide: float, deep: float, tall: float) -> None:
    """A house with a gabled or flat roof; its front is at local z = -deep / 2."""
    rng = place.draft.rng
    front = mat.facade(place.draft)
    side = front if rng.random() < 0.7 else mat.brick(place.draft)
    tiles = mat.roof(place.draft)
    place.box((0, tall / 2, 0), (wide / 2, tall / 2, deep / 2), (side, tiles, tiles, front))
    if tall < 12 and rng.random() < 0.7:
        high = rng.uniform(0.25, 0.5) * min(wide, deep)
        along = rng.random() < 0.6
        turned = place.draft.at(place.x, place.z, place.yaw + (math.pi / 2 if along else 0), place.y)
        half = (deep / 2 + 0.35, high / 2, wide / 2 + 0.2) if along else (wide / 2 + 0.35, high / 2, deep / 2 + 0.2)
        turned.wedge((0, tall + high / 2, 0), half, 0.02, (tiles, tiles, tiles, side))
    elif rng.random() < 0.5:
        place.box(
            (0, tall + 0.2, 0), (wide / 2 + 0.25, 0.25, deep / 2 + 0.25), mat.plain(place.draft, mat.hue(rng, 0.2))
        )
    if rng.random() < 0.6:
        door = mat.plain(place.draft, mat.hue(rng, 0.6, (0.15, 0.7)))
        place.box((rng.uniform(-0.3, 0.3) * wide, 1.05, -deep / 2), (0.5, 1.05, 0.04), door)


def tree(place: Place, bare: bool = False) -> None:
    """A leafy tree or a conifer, 4 to 12 m."""
    rng = place.draft.rng
    tall = rng.uniform(4, 12)
    trunk = mat.bark(place.draft)
    green = mat.leaves(place.draft, 0.05)
    if rng.random() < 0.3:
        place.cone((0, 0.6, 0), 0.16, 0.6, trunk)
        wide = tall * rng.uniform(0.14, 0.22)
        for low, size in ((0.08, 1.0), (0.36, 0.74), (0.62, 0.48)):
            half = tall * 0.21
            place.cone((0, tall * low + half + 0.4, 0), wide * size, half, green, top=0.04)
        return
    stem = tall * rng.uniform(0.35, 0.5)
    place.cone((0, stem / 2, 0), 0.035 * tall * 0.7, stem / 2, trunk, top=0.7)
    if bare:
        for _ in range(4):
            x, z = rng.uniform(-0.3, 0.3) * tall, rng.uniform(-0.3, 0.3) * tall
            place.rod((0, stem * 0.9, 0), (x, tall * rng.uniform(0.75, 1), z), 0.012 * tall, trunk)
        return
    size = (tall - stem) * 0.55
    place.ball((0, tall - size, 0), (size * rng.uniform(0.7, 1.0), size, size * rng.uniform(0.7, 1.0)), green)
    turn = rng.uniform(0, 6.28)
    for number in range(rng.randint(2, 4)):
        out, fraction = rng.uniform(0.45, 0.9) * size, rng.uniform(0.4, 0.7)
        x, z = out * math.cos(turn + 2.1 * number), out * math.sin(turn + 2.1 * number)
        place.ball(
            (x, tall - size * rng.uniform(0.8, 1.6), z),
            (size * fraction, size * fraction * 0.8, size * fraction),
            green,
        )


def person(place: Place) -> None:
    """Someone standing or walking, 1.1 to 1.9 m."""
    rng = place.draft.rng
    s = rng.choice([rng.uniform(1.1, 1.5), rng.uniform(1.55, 1.9), rng.uniform(1.6, 1.85)]) / 1.75
    coat = mat.cloth(place.draft)
    trousers = mat.plain(place.draft, mat.hue(rng, 0.5, (0.1, 0.6)))
    skin = mat.plain(place.draft, mat.near(rng, rng.choice([(0.85, 0.65, 0.53), (0.5, 0.35, 0.27)])))
    hair = mat.plain(place.draft, mat.near(rng, rng.choice([(0.12, 0.1, 0.08), (0.4, 0.28, 0.15)])))
    step = rng.uniform(0.0, 0.22) * s
    for side in (-1, 1):
        place.rod((side * 0.1 * s, 0, side * step), (side * 0.09 * s, 0.85 * s, 0), 0.075 * s, trousers)
        hand = (side * 0.28 * s, 0.78 * s, -side * step * 0.9)
        place.rod((side * 0.2 * s, 1.38 * s, 0), hand, 0.05 * s, coat)
    place.cone((0, 1.12 * s, 0), 0.15 * s, 0.3 * s, coat, top=1.3)
    place.cone((0, 1.46 * s, 0), 0.055 * s, 0.08 * s, skin)
    place.ball((0, 1.62 * s, 0), (0.085 * s, 0.125 * s, 0.1 * s), skin)
    place.ball((0, 1.66 * s, 0.012 * s), (0.09 * s, 0.1 * s, 0.1 * s), hair)


def lamp_post(place: Place) -> None:
    """A street lamp, 5 to 8 m; its arm reaches along local x."""
    rng = place.draft.rng
    metal = mat.plain(place.draft, mat.near(rng, (0.4, 0.42, 0.42), 0.2))
    tall = rng.uniform(5, 8)
    place.cone((0, tall / 2, 0), rng.uniform(0.06, 0.1), tall / 2, metal, top=0.6)
    place.rod((0, tall - 0.3, 0), (1.4, tall, 0), 0.04, metal)
    place.box((1.5, tall, 0), (0.3, 0.06, 0.12), metal)


def sign(place: Place) -> None:
    """A traffic sign on a 2.3 m pole."""
    rng = place.draft.rng
    place.cone((0, 1.15, 0), 0.03, 1.15, mat.plain(place.draft, (0.6, 0.6, 0.6)))
    face = mat.plain(place.draft, rng.choice([(0.8, 0.1, 0.1), (0.1, 0.25, 0.7), (0.95, 0.8, 0.1), (0.9, 0.9, 0.9)]))
    if rng.random() < 0.5:
        place.rod((0, 2.2, -0.05), (0, 2.2, -0.03), 0.3, face)
    else:
        place.box((0, 2.2, -0.04), (0.3, 0.3, 0.012), face)


def pole(place: Place) -> None:
    """A power or fence pole, upright or a little tilted."""
    rng = place.draft.rng
    tall = rng.choice([1.2, 1.2, 7.0, 8.0])
    lean = rng.gauss(0, 0.05) * tall
    paint = mat.bark(place.draft)
    place.rod((0, -0.1, 0), (lean, tall, 0), 0.05 if tall < 2 else 0.12, paint)
    if tall > 2:
        place.box((lean, tall - 0.4, 0), (0.9, 0.06, 0.06), paint)


def bench(place: Place) -> None:
    """A park bench, seat at 45 cm."""
    board = mat.wood(place.draft)
    place.box((0, 0.43, 0), (0.8, 0.025, 0.2), board)
    place.box((0, 0.7, 0.2), (0.8, 0.12, 0.02), board)
    iron = mat.plain(place.draft, (0.15, 0.16, 0.16))
    for side in (-1, 1):
        place.box((side * 0.65, 0.4, 0.05), (0.025, 0.4, 0.18), iron)


def bin_(place: Place) -> None:
    """A litter bin or bollard."""
    rng = place.draft.rng
    radius, half = rng.choice([(0.22, 0.42), (0.28, 0.5), (0.07, 0.5), (0.1, 0.38)])
    place.cone(
        (0, half, 0), radius, half, mat.plain(place.draft, mat.hue(rng, 0.6, (0.15, 0.7))), top=rng.uniform(0.85, 1.15)
    )


def bush(place: Place) -> None:
    """A bush, 0.5 to 2 m."""
    rng = place.draft.rng
    size = rng.uniform(0.3, 1.1)
    half = (size * rng.uniform(0.8, 1.5), size * 0.9, size * rng.uniform(0.8, 1.5))
    place.ball((0, size * 0.6, 0), half, mat.leaves(place.draft, 0.025))


def hedge(place: Place, long: float) -> None:
    """A clipped hedge or a wall along local x."""
    rng = place.draft.rng
    tall, thick = rng.uniform(0.7, 1.9), rng.uniform(0.15, 0.4)
    paint = mat.leaves(place.draft, 0.025) if rng.random() < 0.6 else mat.brick(place.draft)
    place.box((0, tall / 2 - 0.2, 0), (long / 2, tall / 2 + 0.2, thick), paint)


def rock(place: Place) -> None:
    """A boulder."""
    rng = place.draft.rng
    size = rng.uniform(0.2, 1.0)
    tone = mat.material(
        place.draft,
        mat.Pattern(mat.near(rng, (0.52, 0.5, 0.47), 0.12), kind="clumps", texel=0.02, fine=0.15, coarse=0.15),
    )
    half = (size, size * rng.uniform(0.5, 0.9), size * rng.uniform(0.6, 1.1))
    place.ball((0, size * 0.3, 0), half, tone)


def bale(place: Place) -> None:
    """A round bale of straw, 1.4 m."""
    straw = mat.material(
        place.draft,
        mat.Pattern(mat.near(place.draft.rng, (0.78, 0.66, 0.4)), kind="blades", texel=0.01, fine=0.2, coarse=0.1),
    )
    place.rod((-0.6, 0.68, 0), (0.6, 0.68, 0), 0.7, straw)


def fence(place: Place, posts: int, step: float) -> None:
    """Posts with two rails, along local x."""
    board = mat.wood(place.draft)
    long = (posts - 1) * step
    for number in range(posts):
        place.box((number * step - long / 2, 0.55, 0), (0.05, 0.55, 0.05), board)
    for y in (0.5, 0.95):
        place.box((0, y, 0), (long / 2, 0.06, 0.02), board)
