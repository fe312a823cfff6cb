"""Daylight: sun, sky, clouds, haze and exposure outdoors."""

from __future__ import annotations

import math

from ccd_cli.scenes.render.draft import Draft


def daylight(draft: Draft) -> None:
    """Choose sun, sky and haze for an outdoor draft, from clear noon to low sun and overcast."""
    rng, appearance = draft.rng, draft.appearance
    gray = rng.random() < 0.25
    rise = math.radians(rng.uniform(12, 65))
    turn = rng.uniform(0, 2 * math.pi)
    sun = (math.cos(rise) * math.sin(turn), math.sin(rise), math.cos(rise) * math.cos(turn))
    appearance.update({f"lamp_{axis}": v for axis, v in zip("xyz", sun, strict=True)})
    low = max(0.0, 1 - math.degrees(rise) / 35)  # how orange a low sun is
    strength = rng.uniform(0.1, 0.35) if gray else rng.uniform(0.9, 1.5)
    for name, part in zip("rgb", (1.0, 0.95 - 0.2 * low, 0.85 - 0.4 * low), strict=True):
        appearance[f"lamp_{name}"] = strength * part
    appearance.update({"lamp_reach": 1.0, "fill_y": 1.0, "fill_reach": 1.0})
    pale = rng.uniform(0.0, 0.6)
    if gray:
        white = rng.uniform(0.55, 0.9)
        horizon, zenith = (white, white, white * 1.02), (white * 0.8, white * 0.82, white * 0.86)
    else:
        deep = rng.uniform(0.6, 1.1)
        horizon = (0.7 + 0.15 * low, 0.78, 0.88 - 0.2 * low)
        zenith = tuple(deep * (c + (0.7 - c) * pale) for c in (0.12, 0.28, 0.62))  # type: ignore[assignment]
    appearance.update({f"low_{c}": v for c, v in zip("rgb", horizon, strict=True)})
    appearance.update({f"high_{c}": v for c, v in zip("rgb", zenith, strict=True)})
    appearance.update({f"haze_{c}": v * 0.97 for c, v in zip("rgb", horizon, strict=True)})
    see = rng.choice([rng.uniform(60, 200), rng.uniform(150, 600), rng.uniform(150, 600), 1500.0])
    appearance["haze"] = 1 / see
    appearance.update({"cloud": 0.0 if rng.random() < 0.2 else rng.uniform(0.1, 0.9), "cloud_size": rng.uniform(8, 25)})
    appearance.update({"cloud_x": rng.uniform(0, 256), "cloud_z": rng.uniform(0, 256), "sun": 0.0 if gray else 1.0})
    shade = rng.uniform(0.5, 0.75) if gray else rng.uniform(0.25, 0.42)
    appearance.update({f"amb_{c}": shade * v for c, v in zip("rgb", (0.92, 0.98, 1.1), strict=True)})
    appearance.update({"amb_x": rng.uniform(-0.15, 0.15), "amb_y": 0.3, "amb_z": rng.uniform(-0.15, 0.15)})
    appearance["exposure"] = rng.uniform(0.7, 1.15) * (1.15 if gray else 1.0)


def eye(draft: Draft, x: float, z: float, yaw: float) -> None:
    """Put the camera 0.5 to 2.5 m above the ground at (x, z), looking roughly along yaw."""
    rng = draft.rng
    high = rng.choice([rng.uniform(0.5, 2.5), rng.uniform(1.2, 1.8), rng.uniform(1.2, 1.8)])
    draft.camera = {
        "x": x, "y": draft.height(x, z) + high, "z": z, "yaw": yaw,
        "pitch": max(-0.5, min(0.25, rng.gauss(-0.04, 0.08))), "roll": rng.gauss(0, 0.03),
        "fov": math.radians(rng.uniform(40, 90)),
    }  # fmt: skip


def ground(draft: Draft, base: str, paint: int, u: float = 0.0, v: float = 0.0) -> None:
    """Make an open ground of one material the draft's base; u and v shift its texture, in meters."""
    draft.base = base
    draft.at(0, 0).box((0, 0, 0), (1e6, 1e-3, 1e6), paint)
    draft.prims[-1][-2:] = [u, v]
