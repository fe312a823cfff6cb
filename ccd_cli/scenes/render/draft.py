"""The description of one scene: rows of plain numbers, no tensors.

World axes: x right, y up, z forward, meters. A primitive is a row of `PRIM` columns, a material a row of `MATERIAL`.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

SHAPES = ("box", "wedge", "cone", "rod", "ball")
PRIM = (
    *("x", "y", "z", "hx", "hy", "hz"),  # center and half sizes; radius at half height in hx and hz of cones and rods
    *("xx", "xy", "xz", "yx", "yy", "yz", "zx", "zy", "zz"),  # the local axes in world coordinates
    *(
        "taper",
        "casts",
        "shape",
    ),  # change of half width per meter of local height; 1 if it casts shadows; index in SHAPES
    *("m_x", "m_top", "m_bottom", "m_z", "u", "v"),  # material of the x, upper, lower and z faces; texture offset
)
MATERIAL = (
    *(
        "r0",
        "g0",
        "b0",
        "r1",
        "g1",
        "b1",
        "r2",
        "g2",
        "b2",
    ),  # gap color and the two colors of the cells, linear light
    *("su", "sv", "gu", "gv", "shift"),  # size of a cell and of the gap between two, meters; shift of each row, cells
    *("pu", "pv", "blend", "vary"),  # alternate along u, along v; random mixing of the colors; random lightness
    *(
        "kind",
        "texel",
        "stretch",
        "fine",
        "coarse",
    ),  # noise: kind, texel in meters, aspect, amplitude near and far scale
    *("glow", "gloss"),
)
LIMIT = 72
"""Maximum number of primitives in a scene; further ones are dropped."""

Materials = tuple[int, int, int, int]


@dataclass
class Draft:
    """A scene under construction: primitives by shape, materials, and the numbers of light, air and camera."""

    rng: random.Random
    base: str = "room"  # the enclosing or supporting surface: "room" (a box seen from inside), "plane", "terrain"
    prims: list[list[float]] = field(default_factory=list)
    materials: list[list[float]] = field(default_factory=list)
    waves: list[tuple[float, float, float, float]] = field(default_factory=list)  # terrain: amplitude, fx, fz, phase
    tilt: tuple[float, float] = (0.0, 0.0)  # slope of the ground along x and z
    appearance: dict[str, float] = field(default_factory=dict)  # light, air, sky, exposure
    camera: dict[str, float] = field(default_factory=dict)  # position, yaw, pitch, roll, field of view, radians

    def add(self, row: list[float]) -> int:
        """Append a material row and return its index."""
        self.materials.append(row)
        return len(self.materials) - 1

    def full(self, more: int = 1) -> bool:
        """Return whether `more` further primitives would exceed the limit."""
        return len(self.prims) + more > LIMIT

    def at(self, x: float, z: float, yaw: float = 0.0, y: float = 0.0) -> Place:
        """Return a local coordinate frame at a position, rotated by `yaw` (radians) about the vertical."""
        return Place(self, x, y, z, yaw)

    def height(self, x: float, z: float) -> float:
        """Height of the ground at (x, z); 0 at the origin."""
        return (
            self.tilt[0] * x + self.tilt[1] * z + sum(wave_height(w, x, z) - wave_height(w, 0, 0) for w in self.waves)
        )


@dataclass(frozen=True)
class Place:
    """A local coordinate frame in a draft; positions and half sizes are meters in its axes."""

    draft: Draft
    x: float
    y: float
    z: float
    yaw: float

    def world(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Return the world coordinates of a local point."""
        c, s = _turn(self.yaw)
        return self.x + c * x + s * z, self.y + y, self.z - s * x + c * z

    def box(
        self,
        at: tuple[float, float, float],
        half: tuple[float, float, float],
        paint: int | Materials,
        casts: bool = True,
    ) -> None:
        """Add a box."""
        self._put("box", at, half, paint, casts=casts)

    def wedge(
        self, at: tuple[float, float, float], half: tuple[float, float, float], top: float, paint: int | Materials
    ) -> None:
        """Add a prism along local z whose half width goes from half[0] at the bottom to top * half[0]."""
        mid = half[0] * (1 + top) / 2
        self._put("wedge", at, (mid, half[1], half[2]), paint, taper=half[0] * (top - 1) / (2 * half[1]))

    def cone(
        self,
        at: tuple[float, float, float],
        radius: float,
        half: float,
        paint: int | Materials,
        top: float = 1.0,
        casts: bool = True,
    ) -> None:
        """Add an upright cylinder, or a cone whose upper radius is top * radius."""
        mid = radius * (1 + top) / 2
        self._put("cone", at, (mid, half, mid), paint, taper=radius * (top - 1) / (2 * half), casts=casts)

    def ball(
        self, at: tuple[float, float, float], half: tuple[float, float, float], paint: int, casts: bool = True
    ) -> None:
        """Add an ellipsoid."""
        self._put("ball", at, half, paint, casts=casts)

    def rod(
        self, start: tuple[float, float, float], end: tuple[float, float, float], radius: float, paint: int | Materials
    ) -> None:
        """Add a cylinder between two points, in any direction."""
        a, b = self.world(*start), self.world(*end)
        axis = [q - p for p, q in zip(a, b, strict=True)]
        length = math.sqrt(sum(v * v for v in axis))
        up = [v / length for v in axis]
        side = (0.0, up[2], -up[1]) if abs(up[0]) < 0.7 else (-up[2], 0.0, up[0])
        norm = math.sqrt(sum(v * v for v in side))
        right = [v / norm for v in side]
        front = [
            right[1] * up[2] - right[2] * up[1],
            right[2] * up[0] - right[0] * up[2],
            right[0] * up[1] - right[1] * up[0],
        ]
        center = [(p + q) / 2 for p, q in zip(a, b, strict=True)]
        self._row("rod", center, (radius, length / 2, radius), [*right, *up, *front], paint, 0.0, True)

    def _put(
        self,
        shape: str,
        at: tuple[float, float, float],
        half: tuple[float, float, float],
        paint: int | Materials,
        taper: float = 0.0,
        casts: bool = True,
    ) -> None:
        c, s = _turn(self.yaw)
        self._row(shape, list(self.world(*at)), half, [c, 0, -s, 0, 1, 0, s, 0, c], paint, taper, casts)

    def _row(
        self,
        shape: str,
        center: list[float],
        half: tuple[float, float, float],
        frame: list[float],
        paint: int | Materials,
        taper: float,
        casts: bool,
    ) -> None:
        if self.draft.full():
            return
        faces = (paint, paint, paint, paint) if isinstance(paint, int) else paint
        offset = (self.draft.rng.random(), 0.0)
        self.draft.prims.append(
            [*center, *half, *frame, taper, float(casts), float(SHAPES.index(shape)), *map(float, faces), *offset]
        )


def _turn(yaw: float) -> tuple[float, float]:
    """Cosine and sine, exact at multiples of 90 degrees, so that axis-aligned objects have exact axes."""
    quarter = round(yaw / (math.pi / 2))
    if abs(yaw - quarter * math.pi / 2) < 1e-6:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarter % 4]
    return math.cos(yaw), math.sin(yaw)


def wave_height(wave: tuple[float, float, float, float], x: float, z: float) -> float:
    """Height of one wave of the ground, a row of parabolas (a sine without transcendental functions), at (x, z)."""
    amplitude, fx, fz, phase = wave
    u = fx * x + fz * z + phase
    u -= math.floor(u) + 0.5
    return amplitude * 16 * u * (0.5 - abs(u))
