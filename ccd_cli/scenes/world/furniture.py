"""Furniture in real sizes. Every piece stands with its back at local z = 0 and its front toward negative z.

Each function adds its shapes to a place and returns (width, depth) of its footprint in meters.
"""

from __future__ import annotations

from collections.abc import Callable

from ccd_cli.scenes.render.draft import Place
from ccd_cli.scenes.world import materials as mat

Size = tuple[float, float]


def _legs(place: Place, x: float, z: float, middle: float, height: float, paint: int, round_: bool = False) -> None:
    thick = place.draft.rng.uniform(0.02, 0.04)
    for sx in (-1, 1):
        for sz in (-1, 1):
            at = (sx * x, height / 2, middle + sz * z)
            if round_:
                place.cone(at, thick, height / 2, paint)
            else:
                place.box(at, (thick, height / 2, thick), paint)


def table(place: Place, round_: bool = False) -> Size:
    """A dining table or desk, 72 to 77 cm high."""
    rng = place.draft.rng
    width, deep, height = rng.uniform(0.9, 2.0), rng.uniform(0.7, 1.0), rng.uniform(0.72, 0.77)
    top = mat.pick(place.draft, mat.wood, lambda d: mat.plain(d, mat.hue(d.rng, 0.3), gloss=0.3))
    if round_:
        width = deep = rng.uniform(0.8, 1.3)
        place.cone((0, height - 0.02, -deep / 2), width / 2, 0.02, top)
        place.cone((0, height / 2 - 0.02, -deep / 2), 0.05, height / 2 - 0.02, top)
        place.cone((0, 0.02, -deep / 2), 0.28, 0.02, top)
    else:
        place.box((0, height - 0.02, -deep / 2), (width / 2, 0.02, deep / 2), top)
        _legs(place, width / 2 - 0.07, deep / 2 - 0.07, -deep / 2, height - 0.04, top, rng.random() < 0.3)
    if rng.random() < 0.6:
        clutter(place, height, -deep / 2, width * 0.35)
    return width, deep


def clutter(place: Place, height: float, z: float, reach: float) -> None:
    """Small things on a surface: vase, bowl, box, books."""
    rng = place.draft.rng
    for _ in range(rng.randint(1, 2)):
        x, dz = rng.uniform(-reach, reach), rng.uniform(-0.12, 0.12)
        paint = mat.plain(place.draft, mat.hue(rng, 0.8), gloss=0.4)
        kind = rng.random()
        if kind < 0.35:
            tall = rng.uniform(0.05, 0.16)
            place.cone((x, height + tall, z + dz), rng.uniform(0.03, 0.07), tall, paint, top=rng.uniform(0.5, 1.4))
        elif kind < 0.6:
            radius = rng.uniform(0.05, 0.12)
            place.ball((x, height + radius * 0.9, z + dz), (radius, radius * 0.9, radius), paint)
        else:
            tall = rng.uniform(0.02, 0.15)
            place.box((x, height + tall, z + dz), (rng.uniform(0.05, 0.16), tall, rng.uniform(0.05, 0.12)), paint)


def chair(place: Place, paint: int | None = None) -> Size:
    """A chair: seat at 45 cm, back to 85 cm or more."""
    rng = place.draft.rng
    if paint is None:
        paint = mat.pick(place.draft, mat.wood, mat.cloth)
    place.box((0, 0.435, -0.22), (0.21, 0.02, 0.21), paint)
    tall = rng.uniform(0.2, 0.3)
    place.box((0, 0.455 + tall, -0.02), (0.2, tall, 0.02), paint)
    _legs(place, 0.18, 0.17, -0.22, 0.415, paint)
    return 0.45, 0.48


def sofa(place: Place) -> Size:
    """A sofa or armchair: seat at 42 cm, arms at 60, back at 80."""
    rng = place.draft.rng
    width, deep = rng.choice([0.95, 1.6, 2.0, 2.3]), rng.uniform(0.8, 0.95)
    paint = mat.cloth(place.draft)
    place.box((0, 0.21, -deep / 2), (width / 2, 0.2, deep / 2 - 0.01), paint)
    place.box((0, 0.55, -0.12), (width / 2, 0.26, 0.12), paint)
    for side in (-1, 1):
        place.box((side * (width / 2 - 0.09), 0.31, -deep / 2), (0.09, 0.3, deep / 2), paint)
    if rng.random() < 0.7:
        cushion = mat.cloth(place.draft)
        place.ball((rng.uniform(-0.3, 0.3) * width, 0.57, -0.33), (0.22, 0.2, 0.11), cushion)
    return width, deep


def bed(place: Place) -> Size:
    """A bed, 2 m long, head at the wall."""
    rng = place.draft.rng
    width = rng.choice([0.9, 1.2, 1.6])
    frame, cover = mat.wood(place.draft), mat.cloth(place.draft)
    pillow = mat.plain(place.draft, mat.near(rng, (0.9, 0.9, 0.88)))
    place.box((0, 0.45, -0.03), (width / 2 + 0.03, 0.45, 0.03), frame)
    place.box((0, 0.14, -1.05), (width / 2 + 0.02, 0.14, 1.0), frame)
    place.box((0, 0.38, -1.05), (width / 2, 0.1, 0.98), cover)
    place.ball((-width / 4 if width > 1 else 0, 0.5, -0.33), (0.3, 0.09, 0.2), pillow)
    if width > 1:
        place.ball((width / 4, 0.5, -0.33), (0.3, 0.09, 0.2), pillow)
    return width + 0.06, 2.1


def cupboard(place: Place) -> Size:
    """A wardrobe, fridge or low cabinet with doors drawn on its front."""
    rng = place.draft.rng
    tall = rng.choice([0.75, 0.9, 1.4, 1.9, 2.1])
    width, deep = rng.uniform(0.5, 1.8), rng.uniform(0.38, 0.62)
    body = mat.pick(place.draft, mat.wood, lambda d: mat.plain(d, mat.hue(d.rng, 0.2, (0.5, 0.95)), gloss=0.2))
    row = place.draft.materials[body]
    tone = mat.near(rng, (row[3] ** 0.5, row[4] ** 0.5, row[5] ** 0.5), 0.05)
    doors = max(1, round(width / 0.5))
    high = rng.choice([tall, tall, tall / 3])
    front = mat.material(
        place.draft,
        mat.Pattern(
            tone, tone, (0.12, 0.1, 0.09), (width / doors, high), (0.012, 0.012), kind="grain", texel=0.008, fine=0.05
        ),
    )
    place.box((0, tall / 2, -deep / 2), (width / 2, tall / 2, deep / 2), (body, body, body, front))
    place.draft.prims[-1][-2] = width / 2  # so that the doors begin at an edge
    if tall < 1.5 and rng.random() < 0.7:
        clutter(place, tall, -deep / 2, width * 0.35)
    return width, deep


def teachers_folder(place: Place) -> Size:
    """An open bookcase with books on its boards."""
    rng = place.draft.rng
    width, tall, deep = rng.uniform(0.6, 1.4), rng.choice([1.1, 1.8, 2.0]), rng.uniform(0.26, 0.36)
    paint = mat.wood(place.draft)
    place.box((0, tall / 2, -0.01), (width / 2, tall / 2, 0.01), paint)
    for side in (-1, 1):
        place.box((side * (width / 2 - 0.01), tall / 2, -deep / 2), (0.012, tall / 2, deep / 2), paint)
    boards = round(tall / 0.37)
    spines = mat.books(place.draft)
    for number in range(boards + 1):
        y = 0.02 + number * (tall - 0.03) / boards
        place.box((0, y, -deep / 2), (width / 2 - 0.02, 0.012, deep / 2 - 0.005), paint)
        if number < boards and rng.random() < 0.75:
            fraction = rng.uniform(0.4, 0.97)
            x = (fraction - 1) * (width / 2 - 0.03) * rng.choice([-1, 1])
            high = rng.uniform(0.1, 0.135)
            place.box((x, y + 0.012 + high, -deep * 0.42), (fraction * (width / 2 - 0.03), high, deep * 0.34), spines)
    return width, deep


def floor_lamp(place: Place) -> Size:
    """A standing lamp, about 1.6 m, with a glowing shade."""
    rng = place.draft.rng
    metal = mat.plain(place.draft, mat.near(rng, (0.25, 0.25, 0.25), 0.2), gloss=0.5)
    shade = mat.material(
        place.draft, mat.Pattern(mat.near(rng, (0.95, 0.88, 0.7), 0.05), fine=0.03, glow=rng.choice([0.1, 0.9]))
    )
    tall = rng.uniform(1.35, 1.75)
    place.cone((0, 0.015, -0.2), 0.14, 0.015, metal)
    place.cone((0, tall / 2, -0.2), 0.013, tall / 2, metal)
    place.cone((0, tall, -0.2), rng.uniform(0.16, 0.23), 0.13, shade, top=rng.uniform(0.5, 0.95))
    return 0.4, 0.4


def plant(place: Place) -> Size:
    """A potted plant."""
    rng = place.draft.rng
    pot = mat.plain(place.draft, mat.near(rng, (0.65, 0.4, 0.3), 0.15), fine=0.08)
    green = mat.leaves(place.draft, 0.012)
    size, stem = rng.uniform(0.2, 0.35), rng.uniform(0.1, 0.6)
    place.cone((0, 0.17, -0.25), 0.12, 0.17, pot, top=1.35)
    place.cone((0, 0.34 + stem / 2, -0.25), 0.025, stem / 2 + 0.05, mat.bark(place.draft))
    place.ball((0, 0.34 + stem + size * 0.8, -0.25), (size, size * rng.uniform(0.9, 1.4), size), green)
    return 0.5, 0.5


def screen(place: Place) -> Size:
    """A low board with a television on it."""
    rng = place.draft.rng
    width = rng.uniform(1.0, 1.7)
    board = mat.wood(place.draft)
    black = mat.plain(place.draft, (0.07, 0.07, 0.08), gloss=0.6)
    place.box((0, 0.24, -0.2), (width / 2, 0.24, 0.2), board)
    wide = rng.uniform(0.45, 0.62)
    place.box((0, 0.52 + wide * 0.56, -0.15), (wide, wide * 0.56, 0.02), black)
    place.box((0, 0.5, -0.15), (0.15, 0.02, 0.08), black)
    return width, 0.4


def counter(place: Place) -> Size:
    """A kitchen counter, 90 cm, with wall cupboards above it."""
    rng = place.draft.rng
    width = rng.choice([1.2, 1.8, 2.4])
    tone = mat.near(rng, rng.choice([(0.9, 0.9, 0.88), (0.35, 0.4, 0.45), (0.65, 0.5, 0.35)]))
    front = mat.material(place.draft, mat.Pattern(tone, None, (0.15, 0.14, 0.13), (0.6, 0.85), (0.01, 0.01), gloss=0.2))
    top = mat.material(
        place.draft,
        mat.Pattern(mat.near(rng, (0.4, 0.38, 0.36), 0.2), kind="speckle", texel=0.003, fine=0.15, gloss=0.4),
    )
    place.box((0, 0.43, -0.3), (width / 2, 0.43, 0.3), front)
    place.box((0, 0.88, -0.31), (width / 2, 0.02, 0.31), top)
    if rng.random() < 0.7:
        place.box((0, 1.8, -0.175), (width / 2, 0.35, 0.175), front)
    clutter(place, 0.9, -0.3, width * 0.4)
    return width, 0.62


def stool(place: Place) -> Size:
    """A stool, pouf or waste bin."""
    rng = place.draft.rng
    high, radius = rng.uniform(0.15, 0.24), rng.uniform(0.14, 0.26)
    paint = mat.pick(place.draft, mat.cloth, mat.wood)
    place.cone((0, high, -radius), radius, high, paint, top=rng.uniform(0.85, 1.1))
    return 2 * radius, 2 * radius


def boxes(place: Place) -> Size:
    """A stack of cardboard boxes."""
    rng = place.draft.rng
    board = mat.plain(place.draft, mat.near(rng, (0.7, 0.55, 0.38)), fine=0.06)
    half, y = 0.28, 0.0
    for _ in range(rng.randint(1, 3)):
        high = rng.uniform(0.1, 0.2)
        turned = place.draft.at(*_flat(place, 0, -0.33), place.yaw + rng.uniform(-0.3, 0.3), place.y)
        turned.box((0, y + high, 0), (half, high, half * 0.8), board)
        y, half = y + 2 * high, half * rng.uniform(0.7, 0.95)
    return 0.65, 0.65


def _flat(place: Place, x: float, z: float) -> tuple[float, float]:
    at = place.world(x, 0, z)
    return at[0], at[2]


WALL_PIECES: tuple[Callable[[Place], Size], ...] = (
    *(cupboard, cupboard, cupboard, teachers_folder, teachers_folder, sofa, sofa, bed, screen, counter),
    *(floor_lamp, plant, plant, table, stool, boxes, chair),
)
"""What may stand with its back to a wall; repeated names are more frequent."""
