"""Small things that lie and stand on a table, in real sizes; each function adds one to a place, its foot at local y = 0."""

from __future__ import annotations

from collections.abc import Callable

from ccd_cli.scenes.render.draft import Place
from ccd_cli.scenes.world import materials as mat


def _paint(place: Place, strength: float = 0.9) -> int:
    """Glazed, printed or plain: what household things are covered with."""
    rng = place.draft.rng
    if rng.random() < 0.3:
        return mat.picture(place.draft)
    tone = mat.hue(rng, strength, (0.1, 0.95)) if rng.random() < 0.7 else mat.near(rng, (0.9, 0.9, 0.88))
    return mat.plain(place.draft, tone, gloss=rng.choice([0.0, 0.3, 0.6]))


def carton(place: Place) -> None:
    """A printed box: cereals, tea, tissues; upright or lying."""
    rng = place.draft.rng
    sides = [rng.uniform(0.02, 0.05), rng.uniform(0.04, 0.1), rng.uniform(0.06, 0.16)]
    rng.shuffle(sides)
    front = mat.picture(place.draft)
    side = mat.picture(place.draft) if rng.random() < 0.3 else _paint(place)
    place.box((0, sides[1], 0), (sides[0], sides[1], sides[2]), (front, side, side, front))


def cup(place: Place) -> None:
    """A cup, can, jar or pot, some with a dark inside or a handle."""
    rng = place.draft.rng
    radius, half = rng.uniform(0.025, 0.06), rng.uniform(0.03, 0.09)
    top, paint = rng.choice([1.0, 1.0, rng.uniform(0.75, 1.5)]), _paint(place)
    place.cone((0, half, 0), radius, half, paint, top=top)
    if rng.random() < 0.6:
        inside = mat.plain(place.draft, mat.hue(rng, 0.5, (0.05, 0.4)))
        place.cone((0, 2 * half, 0), radius * top * 0.88, 0.0015, inside, casts=False)
    if rng.random() < 0.35:
        place.rod((radius, 0.4 * half, 0), (radius + 0.02, 1.6 * half, 0), 0.008, paint)


def bowl(place: Place) -> None:
    """A bowl or a plate, wider above than below, its inside shaded."""
    rng = place.draft.rng
    radius, half = rng.uniform(0.03, 0.08), rng.choice([0.012, rng.uniform(0.02, 0.05)])
    top, tone = rng.uniform(1.5, 2.2), mat.hue(rng, 0.6, (0.3, 0.95))
    place.cone((0, half, 0), radius, half, mat.plain(place.draft, tone, gloss=0.4), top=top)
    inside = mat.plain(place.draft, mat.near(rng, tone, 0.15), coarse=0.15)
    place.cone((0, 2 * half, 0), radius * top * 0.93, 0.0015, inside, casts=False)
    if rng.random() < 0.3:
        fruit(place)


def bottle(place: Place) -> None:
    """A bottle with a neck and a cap."""
    rng = place.draft.rng
    radius, half, paint = rng.uniform(0.025, 0.05), rng.uniform(0.05, 0.12), _paint(place)
    place.cone((0, half, 0), radius, half, paint)
    place.cone((0, 2 * half + 0.02, 0), radius, 0.02, paint, top=0.4)
    neck = rng.uniform(0.01, 0.03)
    place.cone((0, 2 * half + 0.04 + neck, 0), 0.4 * radius, neck, _paint(place))


def fruit(place: Place) -> None:
    """A ball, an apple, a loaf: one to three rounded bodies."""
    rng = place.draft.rng
    for number in range(rng.choice([1, 1, 2, 3])):
        size = rng.uniform(0.025, 0.06)
        half = (size, size * rng.uniform(0.7, 1), size * rng.uniform(1, 1.5))
        place.ball((rng.uniform(-0.06, 0.06) * bool(number), half[1], 0.08 * number), half, _paint(place))


def book(place: Place) -> None:
    """Books, papers or a folder, one on the other."""
    rng = place.draft.rng
    y, half = 0.0, (rng.uniform(0.07, 0.12), rng.uniform(0.1, 0.15))
    for _ in range(rng.choice([1, 1, 2, 3])):
        thick = rng.uniform(0.002, 0.02)
        turned = place.draft.at(place.x, place.z, place.yaw + rng.gauss(0, 0.25), place.y)
        cover = _paint(place)
        turned.box((0, y + thick, 0), (half[0], thick, half[1]), (_pages(place), cover, cover, _pages(place)))
        y += 2 * thick


def _pages(place: Place) -> int:
    return mat.material(
        place.draft, mat.Pattern((0.9, 0.88, 0.82), gap=(0.5, 0.48, 0.44), size=(5.0, 0.004), gaps=(0.0, 0.001))
    )


def device(place: Place) -> None:
    """A telephone, keyboard or remote control, or a screen on a foot."""
    rng = place.draft.rng
    dark = mat.near(rng, rng.choice([(0.08, 0.08, 0.09), (0.75, 0.75, 0.75)]))
    case = mat.plain(place.draft, dark, gloss=0.4)
    keys = mat.material(place.draft, mat.Pattern(mat.near(rng, dark, 0.2), None, dark, (0.019, 0.019), (0.004, 0.004)))
    kind = rng.random()
    if kind < 0.35:
        place.box((0, 0.005, 0), (0.037, 0.005, 0.075), case)
    elif kind < 0.7:
        place.box((0, 0.01, 0), (rng.uniform(0.14, 0.22), 0.01, 0.07), (case, keys, case, case))
    else:
        wide = rng.uniform(0.15, 0.3)
        shown = (
            mat.picture(place.draft) if rng.random() < 0.5 else mat.plain(place.draft, (0.05, 0.05, 0.06), gloss=0.5)
        )
        place.box((0, 0.05 + 0.6 * wide, 0), (wide, 0.6 * wide, 0.012), (case, case, case, shown))
        place.box((0, 0.03, 0.02), (0.03, 0.05, 0.02), case)
        place.box((0, 0.006, 0.01), (0.1, 0.006, 0.08), case)


def desk_lamp(place: Place) -> None:
    """A lamp with an arm of two rods and a shade."""
    rng = place.draft.rng
    paint = _paint(place)
    place.cone((0, 0.012, 0), 0.08, 0.012, paint)
    knee = (rng.uniform(-0.15, 0.15), rng.uniform(0.2, 0.35), 0.0)
    end = (knee[0] + rng.uniform(-0.25, 0.25), knee[1] + rng.uniform(0.0, 0.2), rng.uniform(-0.1, 0.1))
    place.rod((0, 0, 0), knee, 0.008, paint)
    place.rod(knee, end, 0.008, paint)
    place.cone((end[0], end[1], end[2]), rng.uniform(0.06, 0.1), 0.06, paint, top=rng.uniform(0.3, 0.6))


def tool(place: Place) -> None:
    """Something with a handle: a hair dryer, drill, pan or hammer, lying or standing."""
    rng = place.draft.rng
    first, second = _paint(place), _paint(place)
    if rng.random() < 0.5:
        place.rod((-0.07, 0.16, 0), (0.08, 0.16, 0), 0.03, first)
        place.rod((-0.03, 0.03, 0), (-0.02, 0.15, 0), 0.02, second)
        place.box((-0.03, 0.02, 0), (0.04, 0.02, 0.03), first)
    else:
        place.rod((0, 0.015, 0), (0, 0.015, 0.2), 0.012, first)
        place.cone((0, 0.02, -0.08), rng.uniform(0.05, 0.12), 0.02, second, top=rng.uniform(0.9, 1.15))


def pot(place: Place) -> None:
    """A plant in a pot, 15 to 50 cm."""
    rng = place.draft.rng
    size = rng.uniform(0.05, 0.15)
    place.cone((0, size * 0.7, 0), size * 0.5, size * 0.7, mat.plain(place.draft, mat.hue(rng, 0.6)), top=1.3)
    green = mat.leaves(place.draft, 0.006)
    for _ in range(rng.choice([1, 2, 3])):
        x, z = rng.uniform(-0.5, 0.5) * size, rng.uniform(-0.5, 0.5) * size
        fraction = rng.uniform(0.5, 1.0) * size
        place.ball((x, size * rng.uniform(1.7, 2.4), z), (fraction, fraction * rng.uniform(0.8, 1.6), fraction), green)


THINGS: tuple[Callable[[Place], None], ...] = (
    *(carton, carton, carton, cup, cup, cup, bowl, bowl, bottle, bottle),
    *(fruit, book, book, device, device, tool, pot, desk_lamp),
)
"""What may lie on a table; repeated names are more frequent."""
