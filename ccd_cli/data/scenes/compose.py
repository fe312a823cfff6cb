"""From a seed to the description of a scene."""

from __future__ import annotations

import random

from ccd_cli.data.scenes.draft import Draft
from ccd_cli.data.scenes.land import field
from ccd_cli.data.scenes.room import room
from ccd_cli.data.scenes.street import street

FAMILIES = ("mixed", "room", "ground")


def compose(seed: int, family: str = "mixed") -> Draft:
    """Describe the scene of one seed; the same for the same seed and family everywhere."""
    rng = random.Random(f"{family} {seed}")
    draft = Draft(rng)
    kind = rng.choice(("room", "ground")) if family == "mixed" else family
    if kind == "room":
        room(draft)
    elif rng.random() < 0.6:
        street(draft)
    else:
        field(draft)
    look = draft.look
    look["salt"] = float(rng.randrange(1 << 20))
    look["vignette"] = rng.choice([0.0, rng.uniform(0, 0.8)])
    look["grain"] = rng.choice([0.0, rng.uniform(0, 0.04)])
    look["blur"] = rng.uniform(0.05, 0.22)
    look["warm"] = rng.gauss(0, 0.05)
    return draft
