"""From a seed to the description of a scene."""

from __future__ import annotations

import math
import random
from typing import get_args

from ccd_cli.config.common import Family
from ccd_cli.scenes.render.draft import Draft
from ccd_cli.scenes.world.closeup import closeup
from ccd_cli.scenes.world.land import field
from ccd_cli.scenes.world.room import room
from ccd_cli.scenes.world.street import street
from ccd_cli.scenes.world.tabletop import tabletop
from ccd_cli.scenes.world.yard import lane, park

FAMILIES: tuple[str, ...] = get_args(Family)
"""`mixed` has rooms as often as streets and open land; `varied` has all families, with more camera tilt and roll."""

_VARIED = {"room": 0.22, "ground": 0.2, "table": 0.16, "close": 0.24, "yard": 0.18}


def compose(seed: int, family: str = "mixed") -> Draft:
    """Describe the scene of one seed; the same for the same seed and family everywhere."""
    rng = random.Random(f"{family} {seed}")
    draft = Draft(rng)
    kind = family
    if family == "mixed":
        kind = rng.choice(("room", "ground"))
    elif family == "varied":
        kind = rng.choices(list(_VARIED), list(_VARIED.values()))[0]
    _fill(draft, kind)
    appearance = draft.appearance
    appearance["salt"] = float(rng.randrange(1 << 20))
    appearance["vignette"] = rng.choice([0.0, rng.uniform(0, 0.8)])
    appearance["grain"] = rng.choice([0.0, rng.uniform(0, 0.04)])
    appearance["blur"] = rng.uniform(0.05, 0.22)
    appearance["warm"] = rng.gauss(0, 0.05)
    if family == "varied":
        _vary(draft)
    return draft


def _fill(draft: Draft, kind: str) -> None:
    if kind == "room":
        room(draft)
    elif kind == "table":
        tabletop(draft)
    elif kind == "close":
        closeup(draft)
    elif kind == "yard":
        (park if draft.rng.random() < 0.5 else lane)(draft)
    elif draft.rng.random() < 0.6:
        street(draft)
    else:
        field(draft)


def _vary(draft: Draft) -> None:
    """Vary the camera as in hand-held photos: sometimes tilted or rolled, sometimes under- or overexposed."""
    rng, camera, appearance = draft.rng, draft.camera, draft.appearance
    if rng.random() < 0.3:
        camera["pitch"] = max(-1.4, min(0.6, camera["pitch"] + rng.gauss(0, 0.12)))
    if rng.random() < 0.3:
        camera["roll"] += rng.gauss(0, 0.15)
    if rng.random() < 0.2:
        camera["fov"] = math.radians(rng.uniform(28, 100))
    if rng.random() < 0.25:
        appearance["exposure"] *= rng.choice([rng.uniform(0.25, 0.7), rng.uniform(1.2, 1.7)])
