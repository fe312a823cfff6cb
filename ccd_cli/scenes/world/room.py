"""Interiors: an enclosing box with openings on its walls, furniture along them and in the middle, and lamps."""

from __future__ import annotations

import math

from ccd_cli.scenes.render.draft import PRIM, Draft, Place
from ccd_cli.scenes.world import furniture
from ccd_cli.scenes.world import materials as mat

Rect = tuple[float, float, float, float]  # x from, x to, z from, z to


def room(draft: Draft) -> None:
    """Fill a draft with a furnished room, its light and a camera inside it."""
    rng = draft.rng
    draft.base = "room"
    narrow = rng.random() < 0.12
    width = rng.uniform(1.5, 2.3) if narrow else rng.uniform(2.8, 7.5)
    length = rng.uniform(5, 14) if narrow else rng.uniform(3.0, 9.0)
    high = rng.uniform(2.3, 3.1)
    _shell(draft, width, length, high)
    walls = _sides(draft, width, length)
    rects: list[Rect] = []
    windows = _openings(draft, walls, rects, high)
    if rng.random() < 0.3:
        _block(draft, width, length, high, rects)
    if not narrow:
        _middle(draft, width, length, rects)
    for place, run in sorted(walls, key=lambda _: rng.random()):
        line_wall(draft, place, run, rects, narrow)
    _camera(draft, width, length, high, rects)
    _light(draft, width, length, high, windows)


def _shell(draft: Draft, width: float, length: float, high: float) -> None:
    """Make the draft's base a room of this size, x from -width / 2, z from -length / 2, with floor, ceiling and skirting."""
    rng = draft.rng
    floor = mat.pick(draft, mat.planks, mat.planks, mat.tiles, mat.carpet)
    ceiling = mat.plain(draft, mat.near(rng, (0.93, 0.93, 0.91), 0.05), 0.02, 0.04)
    if rng.random() < 0.15:
        ceiling = mat.pick(draft, mat.planks, lambda d: mat.tiles(d, 0.6))
    first = mat.wall(draft)
    second = first if rng.random() < 0.7 else mat.wall(draft)
    half = (width / 2, high / 2, length / 2)
    # seen from inside: the lower face is the floor
    draft.at(0, 0).box((0, high / 2, 0), half, (first, floor, ceiling, second))
    board = mat.plain(draft, mat.near(rng, rng.choice([(0.92, 0.92, 0.9), (0.4, 0.28, 0.2)])))
    for sign in (-1, 1):
        draft.at(0, 0).box((sign * width / 2, 0.045, 0), (0.014, 0.045, length / 2), board, casts=False)
        draft.at(0, 0).box((0, 0.045, sign * length / 2), (width / 2, 0.045, 0.014), board, casts=False)


def enclose(draft: Draft, width: float, length: float, high: float) -> tuple[list[tuple[Place, float]], list[Rect]]:
    """Make an empty, lit room with doors and windows; returns its walls (see `_sides`) and the footprints that must stay free."""
    _shell(draft, width, length, high)
    walls, rects = _sides(draft, width, length), list[Rect]()
    windows = _openings(draft, walls, rects, high)
    _light(draft, width, length, high, windows)
    return walls, rects


def _sides(draft: Draft, width: float, length: float) -> list[tuple[Place, float]]:
    """The four walls as (place with its back to the wall, length of the wall)."""
    quarter = math.pi / 2
    return [
        (draft.at(0, length / 2, 0.0), width),
        (draft.at(0, -length / 2, 2 * quarter), width),
        (draft.at(width / 2, 0, quarter), length),
        (draft.at(-width / 2, 0, -quarter), length),
    ]


def _openings(draft: Draft, sides: list[tuple[Place, float]], rects: list[Rect], high: float) -> list[Place]:
    """Put a door, windows and pictures on the walls; returns the places of the windows."""
    rng = draft.rng
    order = sorted(sides, key=lambda _: rng.random())
    windows = []
    door, run = order[0]
    x = rng.uniform(-run / 2 + 0.55, run / 2 - 0.55)
    _door(_shifted(door, x))
    rects.append(_rect(_shifted(door, x), 1.0, 0.9))
    for place, run in order[1 : 1 + rng.choice([1, 1, 2])]:
        wide = min(rng.uniform(0.8, 2.2), run - 0.5)
        spot = _shifted(place, rng.uniform(-1, 1) * (run - wide - 0.3) / 2)
        _window(spot, wide, high)
        windows.append(spot)
    for place, run in order[2:]:
        for _ in range(rng.choice([0, 1, 1, 2])):
            _picture(_shifted(place, rng.uniform(-0.4, 0.4) * run))
    return windows


def _door(place: Place) -> None:
    rng = place.draft.rng
    tone = mat.near(rng, rng.choice([(0.92, 0.92, 0.9), (0.55, 0.38, 0.25), mat.hue(rng, 0.5)]))
    leaf = mat.material(
        place.draft,
        mat.Pattern(tone, None, mat.near(rng, tone, 0.1), (0.42, 0.95), (0.1, 0.12), kind="grain", fine=0.05),
    )
    frame = mat.plain(place.draft, mat.near(rng, (0.9, 0.9, 0.88), 0.1))
    place.box((0, 1.04, 0), (0.52, 1.04, 0.025), frame)
    place.box((0, 1.0, 0), (0.44, 1.0, 0.045), leaf)
    place.ball((0.36, 1.02, -0.08), (0.05, 0.02, 0.02), mat.plain(place.draft, (0.75, 0.72, 0.65), gloss=0.8))


def _window(place: Place, wide: float, high: float) -> None:
    rng = place.draft.rng
    low, top = rng.choice([0.1, 0.85, 0.95]), min(high - 0.2, rng.uniform(2.0, 2.3))
    tall, middle = (top - low) / 2, (top + low) / 2
    white = mat.near(rng, (0.92, 0.92, 0.9), 0.08)
    sky = mat.near(rng, rng.choice([(0.75, 0.86, 0.98), (0.9, 0.92, 0.95), (0.55, 0.65, 0.5), (0.08, 0.09, 0.14)]))
    panes = rng.choice([1, 2, 2, 3])
    size = (wide / panes, 2 * tall / rng.choice([1, 1, 2]))
    glass = mat.material(
        place.draft,
        mat.Pattern(sky, None, white, size, (0.06, 0.06), fine=0.02, coarse=0.12, texel=0.02, glow=1.1, gloss=0.3),
    )
    place.box((0, middle, 0), (wide / 2 + 0.07, tall + 0.07, 0.03), mat.plain(place.draft, white))
    place.box((0, middle, 0), (wide / 2, tall, 0.036), glass)
    place.draft.prims[-1][PRIM.index("u")] = wide / 2
    if rng.random() < 0.5:
        curtain = mat.cloth(place.draft)
        for side in (-1, 1):
            place.box((side * (wide / 2 + 0.12), (top + 0.15) / 2, -0.08), (0.2, (top + 0.1) / 2, 0.04), curtain)
    elif low > 0.5 and rng.random() < 0.6:
        metal = mat.material(place.draft, mat.Pattern(white, None, (0.45, 0.45, 0.44), (0.06, 2.0), (0.015, 0.0)))
        place.box((0, 0.4, -0.06), (min(wide / 2, 0.6), 0.28, 0.05), metal)


def _picture(place: Place) -> None:
    rng = place.draft.rng
    wide, tall, y = rng.uniform(0.15, 0.55), rng.uniform(0.15, 0.45), rng.uniform(1.4, 1.75)
    frame = mat.pick(place.draft, mat.wood, lambda d: mat.plain(d, mat.hue(d.rng, 0.1, (0.05, 0.95))))
    place.box((0, y, 0), (wide + 0.03, tall + 0.03, 0.02), frame)
    place.box((0, y, 0), (wide, tall, 0.024), mat.picture(place.draft))


def _block(draft: Draft, width: float, length: float, high: float, rects: list[Rect]) -> None:
    """A chimney, shaft or built-in closet in a corner, which makes the room L-shaped."""
    rng = draft.rng
    wide, deep = rng.uniform(0.3, min(1.5, width / 3)), rng.uniform(0.3, min(1.8, length / 3))
    x, z = rng.choice([-1, 1]) * (width - wide) / 2, rng.choice([-1, 1]) * (length - deep) / 2
    rect = (x - wide / 2, x + wide / 2, z - deep / 2, z + deep / 2)
    if not any(_overlap(rect, other) for other in rects):
        draft.at(x, z).box((0, high / 2, 0), (wide / 2, high / 2, deep / 2), mat.wall(draft))
        rects.append(rect)


def _middle(draft: Draft, width: float, length: float, rects: list[Rect]) -> None:
    """A rug, and perhaps a table with chairs or a low table, away from the walls."""
    rng = draft.rng
    if min(width, length) < 3.3 or rng.random() < 0.2:
        return
    x, z = rng.uniform(-0.2, 0.2) * width, rng.uniform(-0.22, 0.22) * length
    yaw = rng.choice([0, 0, 0, math.pi / 2, rng.uniform(-0.5, 0.5)])
    place = draft.at(x, z, yaw)
    if rng.random() < 0.6:
        rug = mat.pick(draft, mat.carpet, mat.carpet, mat.picture)
        if rng.random() < 0.25:
            place.cone((0, 0.006, 0), rng.uniform(0.7, 1.2), 0.006, rug, casts=False)
        else:
            place.box((0, 0.006, 0), (rng.uniform(0.7, 1.3), 0.006, rng.uniform(0.9, 1.4)), rug, casts=False)
    if rng.random() < 0.7:
        wide, deep = furniture.table(draft.at(*_flat(place, 0, 0.42), yaw), rng.random() < 0.3)
        paint = mat.pick(draft, mat.wood, mat.cloth)
        for number, (cx, cz) in enumerate(((0, 1), (0, -1), (1, 0), (-1, 0))):
            out = (deep if cz else wide) / 2 + rng.uniform(-0.02, 0.35)
            turn = math.atan2(cx, cz) + rng.uniform(-0.4, 0.4)
            if number < rng.choice([2, 2, 3, 4]):
                at = draft.at(*_flat(place, cx * (out + 0.25), cz * (out + 0.25)), yaw + turn)
                furniture.chair(at, paint)
        reach = max(wide, deep) / 2 + 0.45
    else:
        low = mat.wood(draft)
        place.box((0, 0.4, 0), (0.55, 0.02, 0.3), low)
        for sx in (-1, 1):
            place.box((sx * 0.48, 0.19, 0), (0.03, 0.19, 0.25), low)
        furniture.clutter(place, 0.42, 0, 0.3)
        reach = 0.6
    rects.append((x - reach, x + reach, z - reach, z + reach))


def line_wall(draft: Draft, place: Place, run: float, rects: list[Rect], narrow: bool) -> None:
    """Set pieces along one wall where there is room."""
    rng = draft.rng
    x = -run / 2 + rng.uniform(0.02, 0.5)
    while x < run / 2 - 0.3 and not draft.full(8):
        start = len(draft.prims)
        spot = _shifted(place, x)
        least = _rect(_shifted(spot, 0.2), 0.4, 0.4)
        if any(_overlap(least, other) for other in rects):
            x += 0.15
            continue
        choices = (furniture.teachers_folder, furniture.plant, furniture.cupboard) if narrow else furniture.WALL_PIECES
        wide, deep = rng.choice(choices)(_shifted(spot, 0, -0.03))
        rect = _rect(_shifted(spot, wide / 2), wide, deep + 0.06)
        fits = x + wide < run / 2 - 0.02 and not (narrow and deep > 0.5)
        if fits and not any(_overlap(rect, other) for other in rects):
            rects.append(rect)
            move = spot.world(wide / 2, 0, 0)
            for row in draft.prims[start:]:
                row[0] += move[0] - spot.x
                row[2] += move[2] - spot.z
            x += wide + rng.choice([0.02, rng.uniform(0.1, 1.2)])
        else:
            del draft.prims[start:]
            x += 0.15


def _camera(draft: Draft, width: float, length: float, high: float, rects: list[Rect]) -> None:
    rng = draft.rng
    best = (-1.0, 0.0, 0.0, 0.0)
    for _ in range(14):
        x, z = (rng.uniform(-0.5, 0.5) * (side - 0.7) for side in (width, length))
        aim = (rng.uniform(-0.5, 0.5) * width, rng.uniform(-0.5, 0.5) * length)
        clear = min((_distance(r, x, z) for r in rects), default=1.0)
        yaw = math.atan2(aim[0] - x, aim[1] - z)
        score = min(clear, 0.6) + 0.5 * math.hypot(aim[0] - x, aim[1] - z) / math.hypot(width, length)
        score += 0.12 * min(4, sum(_in_view(r, x, z, yaw) for r in rects))
        best = max(best, (score, x, z, yaw))
    eye = min(rng.choice([rng.uniform(0.5, 2.2), rng.uniform(1.2, 1.7), rng.uniform(1.2, 1.7)]), high - 0.3)
    pitch = rng.gauss(-0.12 - 0.1 * (eye - 1.3), 0.12)
    draft.camera = {
        "x": best[1], "y": eye, "z": best[2], "yaw": best[3], "pitch": max(-0.7, min(0.35, pitch)),
        "roll": rng.gauss(0, 0.03), "fov": math.radians(rng.uniform(45, 90)),
    }  # fmt: skip


def _light(draft: Draft, width: float, length: float, high: float, windows: list[Place]) -> None:
    """Light a room by a lamp below its ceiling and by the first of its windows."""
    rng = draft.rng
    appearance = draft.appearance
    white = [rng.uniform(0.95, 1.05), rng.uniform(0.93, 1.0), rng.uniform(0.7, 1.05)]
    ceiling = (rng.uniform(-0.2, 0.2) * width, high - rng.uniform(0.15, 0.5), rng.uniform(-0.2, 0.2) * length)
    window = windows[0].world(0, 1.6, -0.35)
    key, other = (ceiling, window) if rng.random() < 0.6 else (window, ceiling)
    reach = rng.uniform(0.6, 1.0) * math.sqrt(width * length)
    for name, at, strength in (("lamp", key, rng.uniform(1.0, 1.8)), ("fill", other, rng.uniform(0.0, 0.8))):
        appearance.update({f"{name}_{axis}": v for axis, v in zip("xyz", at, strict=True)})
        appearance.update({f"{name}_{c}": v * strength for c, v in zip("rgb", white, strict=True)})
        appearance.update({f"{name}_point": 1.0, f"{name}_reach": reach})
    shade = mat.material(draft, mat.Pattern((0.98, 0.95, 0.85), fine=0.02, glow=rng.choice([0.3, 1.2])))
    y = ceiling[1]
    lamp = draft.at(ceiling[0], ceiling[2])
    if rng.random() < 0.5:
        lamp.cone((0, y, 0), rng.uniform(0.15, 0.3), 0.1, shade, top=rng.uniform(0.3, 1), casts=False)
        lamp.cone((0, (y + high) / 2, 0), 0.006, (high - y) / 2, mat.plain(draft, (0.1, 0.1, 0.1)), casts=False)
    else:
        lamp.cone((0, high - 0.04, 0), rng.uniform(0.15, 0.3), 0.04, shade, casts=False)
    dim = rng.uniform(0.22, 0.45)
    appearance.update({f"amb_{c}": dim * v for c, v in zip("rgb", white[::-1], strict=True)})
    appearance.update({f"amb_{axis}": rng.uniform(-0.25, 0.25) for axis in "xyz"})
    appearance.update({"corner": rng.uniform(0.2, 0.5), "exposure": rng.uniform(0.75, 1.25)})
    gray = rng.uniform(0.4, 0.7)
    appearance.update({"haze": rng.choice([0.0, 0.0, rng.uniform(0, 0.02)]), **{f"haze_{c}": gray for c in "rgb"}})


def _shifted(place: Place, x: float, z: float = 0.0) -> Place:
    at = place.world(x, 0, z)
    return place.draft.at(at[0], at[2], place.yaw)


def _flat(place: Place, x: float, z: float) -> tuple[float, float]:
    at = place.world(x, 0, z)
    return at[0], at[2]


def _rect(place: Place, wide: float, deep: float) -> Rect:
    """Footprint of something `wide` that stands with the middle of its back at the place."""
    (ax, az), (bx, bz) = _flat(place, -wide / 2, 0), _flat(place, wide / 2, -deep)
    return min(ax, bx), max(ax, bx), min(az, bz), max(az, bz)


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def _in_view(r: Rect, x: float, z: float, yaw: float) -> bool:
    """Tell whether the middle of a footprint is within 30 degrees of the viewing direction and not too near."""
    dx, dz = (r[0] + r[1]) / 2 - x, (r[2] + r[3]) / 2 - z
    ahead, aside = dx * math.sin(yaw) + dz * math.cos(yaw), dx * math.cos(yaw) - dz * math.sin(yaw)
    return ahead > 1.0 and abs(aside) < 0.577 * ahead


def _distance(r: Rect, x: float, z: float) -> float:
    return math.hypot(max(r[0] - x, 0, x - r[1]), max(r[2] - z, 0, z - r[3]))
