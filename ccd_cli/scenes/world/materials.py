"""Materials with metric textures. Colors are given as display values 0..1 and stored as linear light."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Callable
from dataclasses import dataclass

from ccd_cli.scenes.render.draft import Draft
from ccd_cli.scenes.render.noise import KINDS

Color = tuple[float, float, float]


def hue(rng: random.Random, strength: float = 0.4, bright: tuple[float, float] = (0.3, 0.9)) -> Color:
    """Return a random color of at most this saturation."""
    return colorsys.hsv_to_rgb(rng.random(), strength * rng.random(), rng.uniform(*bright))


def near(rng: random.Random, color: Color, spread: float = 0.08) -> Color:
    """Return a color close to another: a shared change of lightness and a small change of hue."""
    shift = rng.uniform(-spread, spread)
    r, g, b = (min(1.0, max(0.02, c + shift + rng.uniform(-spread, spread) / 3)) for c in color)
    return r, g, b


@dataclass(frozen=True)
class Pattern:
    """Cells of `size` meters with `gaps` between them, and noise: see the columns of `render.draft.MATERIAL`.

    `cell`, `other` and `gap` are display colors (None: as `cell`). `shift`: offset of each row in cells. `turns`: 1 where the
    two colors alternate along u, v. `blend`: random mixing of the colors, `vary`: random lightness of the cells. Noise:
    `kind`, `texel` in meters, aspect ratio `stretch`, amplitudes `fine` and `coarse`. `glow`: emitted light, `gloss`:
    strength of the highlight.
    """

    cell: Color
    other: Color | None = None
    gap: Color | None = None
    size: tuple[float, float] = (1.0, 1.0)
    gaps: tuple[float, float] = (0.0, 0.0)
    shift: float = 0.0
    turns: tuple[float, float] = (0.0, 0.0)
    blend: float = 0.0
    vary: float = 0.0
    kind: str = "cloudy"
    texel: float = 0.01
    stretch: float = 1.0
    fine: float = 0.05
    coarse: float = 0.06
    glow: float = 0.0
    gloss: float = 0.0


def material(draft: Draft, pattern: Pattern) -> int:
    """Add a material to a draft; returns its index."""
    p = pattern
    linear = [c * c for c in (*(p.gap or p.cell), *p.cell, *(p.other or p.cell))]
    noise = [float(KINDS.index(p.kind)), p.texel, p.stretch, p.fine, p.coarse]
    return draft.add([*linear, *p.size, *p.gaps, p.shift, *p.turns, p.blend, p.vary, *noise, p.glow, p.gloss])


def plain(draft: Draft, color: Color, fine: float = 0.03, coarse: float = 0.05, gloss: float = 0.0) -> int:
    """Paint, plastic or metal: one color, slightly uneven."""
    return material(draft, Pattern(color, texel=0.008, fine=fine, coarse=coarse, gloss=gloss))


def wood(draft: Draft, color: Color | None = None) -> int:
    """Wood with grain along u."""
    rng = draft.rng
    tone = color or near(rng, rng.choice([(0.62, 0.45, 0.3), (0.45, 0.3, 0.2), (0.78, 0.65, 0.48), (0.3, 0.2, 0.15)]))
    return material(
        draft, Pattern(tone, kind="grain", texel=0.006, stretch=0.5, fine=0.1, coarse=0.08, gloss=0.1 * rng.random())
    )


def cloth(draft: Draft, color: Color | None = None) -> int:
    """Cloth: speckled, sometimes striped or checked."""
    rng = draft.rng
    tone = color or hue(rng, 0.7, (0.2, 0.9))
    step = rng.uniform(0.03, 0.12)
    turns = rng.choice([(0, 0), (0, 0), (0, 0), (1, 0), (0, 1), (1, 1)])
    return material(
        draft,
        Pattern(
            tone,
            near(rng, tone, 0.25),
            size=(step, step),
            turns=turns,
            kind="speckle",
            texel=0.004,
            fine=0.07,
            coarse=0.1,
        ),
    )


def planks(draft: Draft) -> int:
    """Floor boards."""
    rng = draft.rng
    tone = near(rng, rng.choice([(0.6, 0.44, 0.3), (0.72, 0.58, 0.42), (0.42, 0.29, 0.2), (0.6, 0.56, 0.5)]))
    size = (rng.uniform(0.8, 1.8), rng.uniform(0.08, 0.2))
    return material(draft, Pattern(
        tone, near(rng, tone, 0.1), (0.15, 0.1, 0.08), size, (0.004, 0.004), rng.choice([0.5, 0.37, 0.618]),
        blend=0.6, vary=0.35, kind="grain", texel=0.008, stretch=0.4, fine=0.09, coarse=0.07,
        gloss=rng.choice([0, 0.1, 0.3]),
    ))  # fmt: skip


def tiles(draft: Draft, side: float = 0.0) -> int:
    """Square tiles, plain or as a chess board."""
    rng = draft.rng
    side = side or rng.choice([0.2, 0.3, 0.33, 0.45, 0.6])
    tone = rng.choice([near(rng, (0.8, 0.77, 0.72)), near(rng, (0.6, 0.6, 0.6), 0.15), hue(rng, 0.35)])
    chess = rng.random() < 0.35
    return material(draft, Pattern(
        tone, near(rng, tone, 0.35 if chess else 0.08), near(rng, (0.5, 0.5, 0.48), 0.2), (side, side),
        (0.006, 0.006), rng.choice([0, 0, 0.5]), (float(chess), float(chess)), 0.0 if chess else 0.5, 0.15,
        rng.choice(["cloudy", "veins"]), 0.006, 1.0, 0.05, 0.06, gloss=rng.choice([0, 0.15, 0.4]),
    ))  # fmt: skip


def carpet(draft: Draft) -> int:
    """Carpet, with or without a pattern."""
    rng = draft.rng
    tone = hue(rng, 0.5, (0.3, 0.75))
    side = rng.choice([0.1, 0.25, 0.5])
    turns = rng.choice([(0, 0), (0, 0), (1, 1), (1, 0)])
    return material(
        draft,
        Pattern(
            tone,
            near(rng, tone, 0.2),
            size=(side, side),
            turns=turns,
            kind="speckle",
            texel=0.005,
            fine=0.12,
            coarse=0.1,
        ),
    )


def wall(draft: Draft) -> int:
    """Wall paint, paper with stripes or a print, or brick."""
    rng = draft.rng
    style = rng.random()
    tone = near(rng, rng.choice([(0.9, 0.88, 0.83), (0.93, 0.93, 0.93), hue(rng, 0.35, (0.6, 0.95))]), 0.05)
    if style < 0.1:
        return brick(draft)
    if style < 0.35:
        side = rng.uniform(0.06, 0.4)
        turns = rng.choice([(1, 0), (1, 0), (1, 1)])
        return material(
            draft, Pattern(tone, near(rng, tone, 0.12), size=(side, side), turns=turns, fine=0.03, coarse=0.05)
        )
    return material(draft, Pattern(tone, texel=rng.choice([0.004, 0.012]), fine=rng.choice([0.02, 0.06]), coarse=0.05))


def brick(draft: Draft) -> int:
    """Brickwork, 25 by 7.5 cm."""
    rng = draft.rng
    tone = near(rng, rng.choice([(0.6, 0.3, 0.22), (0.68, 0.45, 0.33), (0.75, 0.7, 0.62), (0.5, 0.47, 0.45)]))
    return material(draft, Pattern(
        tone, near(rng, tone, 0.15), near(rng, (0.7, 0.68, 0.64), 0.1), (0.25, 0.075), (0.012, 0.012), 0.5,
        blend=0.8, vary=0.4, kind="speckle", texel=0.006, fine=0.1, coarse=0.1,
    ))  # fmt: skip


def facade(draft: Draft) -> int:
    """A house front: windows about 1.2 by 1.5 m on stories of about 3 m."""
    rng = draft.rng
    tone = rng.choice([near(rng, (0.75, 0.7, 0.6), 0.15), near(rng, (0.6, 0.38, 0.3)), hue(rng, 0.4, (0.5, 0.95))])
    glass = near(rng, (0.2, 0.23, 0.28), 0.1)
    size = (rng.uniform(2.0, 3.6), rng.uniform(2.8, 3.3))
    gaps = (size[0] - rng.uniform(0.9, 1.7), size[1] - rng.uniform(1.3, 1.9))
    return material(draft, Pattern(
        glass, near(rng, (0.45, 0.5, 0.58), 0.15), tone, size, gaps, blend=0.7, vary=0.5,
        kind=rng.choice(["cloudy", "speckle"]), texel=0.04, fine=0.06, coarse=0.07,
    ))  # fmt: skip


def roof(draft: Draft) -> int:
    """Roof tiles."""
    rng = draft.rng
    tone = near(rng, rng.choice([(0.6, 0.3, 0.22), (0.35, 0.33, 0.33), (0.45, 0.3, 0.22)]))
    return material(draft, Pattern(
        tone, near(rng, tone, 0.1), near(rng, (0.2, 0.17, 0.15), 0.05), (0.25, 0.3), (0.02, 0.04), 0.5, blend=0.7,
        vary=0.3, kind="speckle", texel=0.02, fine=0.07, coarse=0.1,
    ))  # fmt: skip


def grass(draft: Draft) -> int:
    """Grass, green to dry."""
    rng = draft.rng
    tone = near(rng, rng.choice([(0.36, 0.46, 0.2), (0.42, 0.5, 0.25), (0.6, 0.55, 0.32), (0.3, 0.4, 0.17)]))
    return material(draft, Pattern(
        tone, near(rng, tone, 0.1), size=(rng.uniform(1, 4), rng.uniform(1, 4)), blend=0.4,
        kind=rng.choice(["blades", "clumps", "speckle"]), texel=rng.uniform(0.012, 0.025), fine=0.22, coarse=0.16,
    ))  # fmt: skip


def crops(draft: Draft) -> int:
    """A plowed or planted field in rows."""
    rng = draft.rng
    soil = near(rng, (0.42, 0.32, 0.23))
    plant = rng.choice([near(rng, (0.4, 0.5, 0.22)), near(rng, (0.7, 0.6, 0.35)), near(rng, soil, 0.08)])
    width = rng.uniform(0.5, 1.2)
    return material(draft, Pattern(
        plant, near(rng, plant), soil, (width, rng.uniform(0.3, 0.9)), (width * 0.45, 0.08), blend=0.6, vary=0.3,
        kind="clumps", texel=0.02, fine=0.2, coarse=0.14,
    ))  # fmt: skip


def soil(draft: Draft) -> int:
    """Earth, sand or gravel."""
    tone = near(draft.rng, draft.rng.choice([(0.5, 0.4, 0.3), (0.72, 0.64, 0.5), (0.55, 0.53, 0.5)]))
    return material(
        draft, Pattern(tone, kind=draft.rng.choice(["speckle", "clumps"]), texel=0.015, fine=0.2, coarse=0.12)
    )


def asphalt(draft: Draft, lane: float = 3.5) -> int:
    """A road along v: dashed white lines every `lane` meters, 3 m long with 6 m between."""
    tone = near(draft.rng, (0.36, 0.36, 0.37), 0.1)
    return material(draft, Pattern(
        near(draft.rng, (0.9, 0.9, 0.85), 0.06), None, tone, (lane, 9.0), (lane - 0.14, 6.0), kind="speckle",
        texel=0.012, fine=0.13, coarse=0.1,
    ))  # fmt: skip


def paving(draft: Draft) -> int:
    """Paving stones."""
    rng = draft.rng
    tone = near(rng, rng.choice([(0.62, 0.6, 0.57), (0.68, 0.6, 0.52)]))
    size = rng.choice([(0.4, 0.4), (0.6, 0.3), (0.2, 0.1), (1.0, 1.0)])
    return material(draft, Pattern(
        tone, near(rng, tone, 0.08), near(rng, (0.35, 0.34, 0.32)), size, (0.012, 0.012), rng.choice([0, 0.5]),
        blend=0.6, vary=0.25, kind="speckle", texel=0.01, fine=0.09, coarse=0.1,
    ))  # fmt: skip


def leaves(draft: Draft, size: float = 0.03) -> int:
    """Foliage in clumps."""
    tone = near(
        draft.rng, draft.rng.choice([(0.25, 0.38, 0.14), (0.33, 0.42, 0.17), (0.2, 0.3, 0.15), (0.55, 0.4, 0.15)])
    )
    return material(draft, Pattern(tone, kind="clumps", texel=size, fine=0.4, coarse=0.12))


def bark(draft: Draft) -> int:
    """Bark, with streaks along v."""
    tone = near(draft.rng, (0.35, 0.28, 0.22))
    return material(draft, Pattern(tone, kind="blades", texel=0.01, stretch=4.0, fine=0.25, coarse=0.1))


def books(draft: Draft) -> int:
    """Spines of books in a row."""
    rng = draft.rng
    return material(draft, Pattern(
        hue(rng, 0.8, (0.2, 0.8)), hue(rng, 0.8, (0.3, 0.95)), (0.08, 0.06, 0.05), (rng.uniform(0.025, 0.05), 3.0),
        (0.004, 0.0), blend=1.0, vary=1.0, fine=0.05,
    ))  # fmt: skip


def picture(draft: Draft) -> int:
    """Something colorful to hang on a wall."""
    rng = draft.rng
    side = (rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.4))
    kind = rng.choice(["cloudy", "clumps", "veins"])
    return material(draft, Pattern(
        hue(rng, 0.9), hue(rng, 0.9), size=side, turns=rng.choice([(0, 0), (1, 0), (0, 1), (1, 1)]),
        blend=rng.random(), kind=kind, texel=rng.uniform(0.004, 0.012), fine=0.25, coarse=0.1,
    ))  # fmt: skip


def pick(draft: Draft, *choices: Callable[[Draft], int]) -> int:
    """Add one of several materials."""
    return draft.rng.choice(choices)(draft)
