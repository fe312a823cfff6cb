"""What is odd about a user's own pairs: implausible units, depth that is shifted relative to its image, maps in another order.

Nothing here is certain: each doubt says what was measured, and what to look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ccd_cli.benchmarks.base import Sample, spread
from ccd_cli.benchmarks.own.sets import CustomBenchmark
from ccd_cli.core.errors import CcdError, ImageError, UsageProblem
from ccd_cli.media.exif import is_turned
from ccd_cli.metrics.registration import REACH, SIDE, Shift, Surface, edge_agreement, shift_of

LOOKED_AT = 64
"""Images of a set that are compared, spread evenly."""
BEFORE_A_RUN = 16
"""Images of a set that are read before a run, whose edges are not compared."""
FEWEST = 3
"""Images below which nothing is said about all of them."""
NEAR, FAR = 0.05, 300.0
"""Meters: a median depth outside of these is no photo of a room, a street or a landscape that depth cameras measure."""
SENSELESS = 0.01, 1000.0
"""Meters beyond which such a median is a wrong unit, and not only odd."""
VIEWS = 5.0, 150.0
"""Degrees of horizontal field of view that lenses have."""
UNITS = {1000.0: "millimeters", 100.0: "centimeters", 256.0: "meters times 256", 5000.0: "meters times 5000"}
"""Units of whole numbers in files, by how many of them are a meter."""
STEPS = (-2, -1, 1, 2)
"""Places by which the order of maps may be wrong."""
BETTER = 1.15
"""How much better edges fit the map of another image before its order is doubted."""


@dataclass
class Seen:
    """What was measured of a set's images: median depth, share of pixels with ground truth, agreement of edges."""

    medians: list[float] = field(default_factory=list)
    densities: list[float] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """(height, width) of the images."""
    turned: list[str] = field(default_factory=list)
    """Images that are stored turned or mirrored."""
    unreadable: list[str] = field(default_factory=list)
    flat: int = 0
    """Maps that hold one value."""
    far: list[float] = field(default_factory=list)
    """The depth of each map that 5 % of its pixels exceed."""
    surfaces: list[Surface] = field(default_factory=list)
    orders: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    """(agreement with its own map, with that of the image so many places on) by that number."""


def doubts_before_a_run(
    sets: Sequence[CustomBenchmark], max_depth: float | None = None, key: str = "images.pairs"
) -> list[str]:
    """Read a few pairs of every set, and return what is odd about them, as sentences; `max_depth`: the farthest that is learned;
    `key`: that of the recipe which names the sets.

    Raises UsageProblem, with all problems at once, where a set's unit makes no sense or none of its pairs can be read.
    """
    warnings, problems = [], []
    for benchmark in sets:
        name, seen = benchmark.rule.name, look(benchmark, most=BEFORE_A_RUN, edges=False)
        odd = list(doubts(benchmark, seen))
        if not seen.medians:
            problems.append(
                f"{name}: no pair of the {len(seen.unreadable)} looked at can be read: {seen.unreadable[0]}"
            )
        elif benchmark.spec.metric and senseless(seen):
            problems.append(f"{name}: {odd[0]}")
        else:
            warnings += [f"{name}: {text}" for text in odd]
            if max_depth is not None and (far := float(np.median(seen.far))) > max_depth:
                warnings.append(
                    f"{name}: student.max_depth is {max_depth:g} m, and half of the images have over 5 % of it beyond {far:.3g} m"
                )
            if seen.unreadable:
                count = len(seen.unreadable) + len(seen.medians)
                warnings.append(
                    f"{name}: {len(seen.unreadable)} of {count} pairs looked at cannot be read: {seen.unreadable[0]}"
                )
    if problems:
        raise UsageProblem(f"{key}: " + "; ".join(problems), "ccd data check FILE --read says more.")
    return warnings


def look(
    benchmark: CustomBenchmark,
    advance: Callable[[int], None] = lambda done: None,
    most: int = LOOKED_AT,
    edges: bool = True,
) -> Seen:
    """Measure the images of a set, at most `most`; those that cannot be read are left out. `edges`: compare images with depth."""
    seen = Seen()
    wanted = spread(len(benchmark), most)
    for done, index in enumerate(wanted, 1):
        try:
            sample = benchmark.read(index)
        except CcdError as error:
            seen.unreadable.append(error.message)
            sample = None
        if sample is not None:
            depth = np.where(sample.mask, sample.depth, np.nan)
            seen.medians.append(float(np.nanmedian(depth)))
            seen.densities.append(float(sample.mask.mean()))
            seen.sizes.append(sample.rgb.shape[:2])
            if is_turned(benchmark.root / sample.name):
                seen.turned.append(sample.name)
            seen.flat += bool(np.nanmax(depth) <= (1 + 1e-6) * np.nanmin(depth))
            seen.far.append(float(np.nanquantile(depth, 0.95)))
        if sample is not None and edges:
            surface = edge_agreement(sample.rgb, depth)
            if surface is not None:
                seen.surfaces.append(surface)
                _compare_order(benchmark, index, sample, surface, seen)
        advance(done)
    return seen


def doubts(benchmark: CustomBenchmark, seen: Seen) -> Iterator[str]:
    """Yield what is odd about a set, as sentences."""
    if seen.medians and benchmark.spec.metric:
        yield from _units(benchmark, float(np.median(seen.medians)))
    if (camera := camera_doubt(benchmark, seen)) is not None:
        yield camera
    if seen.turned:
        yield (
            f"{len(seen.turned)} of {len(seen.medians)} images are stored turned or mirrored ({seen.turned[0]}, by its EXIF "
            "orientation), and taken upright here: is their ground truth upright, too? Else store the images as they are to be seen"
        )
    if len({*seen.sizes}) > 1 and benchmark.camera is not None:
        sizes = sorted({*seen.sizes})
        yield (
            f"images of {len(sizes)} sizes, from {sizes[0][1]}x{sizes[0][0]} to {sizes[-1][1]}x{sizes[-1][0]}, share one camera: "
            "`intrinsics` are in pixels of one size. Describe each size as a set of its own"
        )
    if seen.flat > len(seen.medians) / 2:
        yield f"{seen.flat} of {len(seen.medians)} maps hold one value: are these the files of depth?"
    if len(seen.surfaces) < FEWEST:
        return
    if wrong := _order(seen):
        yield wrong
    elif (shift := shift_of(seen.surfaces)).certain:
        yield _beside(shift, len(seen.surfaces))


def senseless(seen: Seen) -> bool:
    """Return whether half of the images have a median depth that no camera on or near the ground sees, in meters."""
    return bool(seen.medians) and not SENSELESS[0] <= float(np.median(seen.medians)) <= SENSELESS[1]


def camera_doubt(benchmark: CustomBenchmark, seen: Seen) -> str | None:
    """Return what is odd about the set's intrinsics beside the size of its images: a center far from the middle, a strange view."""
    if (camera := benchmark.camera) is None or not seen.sizes:
        return None
    height, width = (float(np.median(sides)) for sides in zip(*seen.sizes, strict=True))
    view = math.degrees(2 * math.atan(width / 2 / camera.fx))
    centered = 0.25 <= camera.cx / width <= 0.75 and 0.25 <= camera.cy / height <= 0.75
    if centered and VIEWS[0] <= view <= VIEWS[1]:
        return None
    return (
        f"intrinsics [{camera.fx:g}, {camera.fy:g}, {camera.cx:g}, {camera.cy:g}] give a view of {view:.0f} degrees around that "
        f"center, and the images are {width:.0f}x{height:.0f}: are they those of another size?"
    )


def facts(benchmark: CustomBenchmark, seen: Seen) -> str:
    """Return what was measured, as a sentence; empty where nothing could be read."""
    if not seen.medians:
        return ""
    unit = " m" if benchmark.spec.metric else " (unknown unit)"
    low, middle, high = np.quantile(seen.medians, (0.05, 0.5, 0.95))
    text = f"median depth {middle:.3g}{unit} (5 to 95 % of the images: {low:.3g} to {high:.3g}); "
    text += f"ground truth on {100 * np.mean(seen.densities):.3g} % of the pixels"
    if len(seen.surfaces) >= FEWEST:
        text += f"; edges of image and depth correlate {np.mean([s[REACH, REACH] for s in seen.surfaces]):.2f}"
    return text


def _units(benchmark: CustomBenchmark, median: float) -> Iterator[str]:
    if NEAR <= median <= FAR:
        return
    rule = benchmark.rule
    now = 1.0 / rule.scale if rule.divisor is None else rule.divisor
    said = f"half of the images have a median depth {'over' if median > FAR else 'under'} {median:.3g} m"
    fitting = [f"divisor: {per:g} ({name})" for per, name in UNITS.items() if NEAR <= median * now / per <= FAR]
    if NEAR <= median * now <= FAR:
        fitting.insert(0, "scale: 1 (meters)")
    if rule.kind == "disparity":
        yield f"{said}: are `baseline` (meters), `focal` (pixels) and `divisor` right?"
    elif fitting:
        yield f"{said}: the unit looks wrong; it would make sense as {', or '.join(fitting)}"
    else:
        yield f"{said}: the unit looks wrong"


def _compare_order(benchmark: CustomBenchmark, index: int, sample: Sample, own: Surface, seen: Seen) -> None:
    """Compare an image's edges with the maps of its neighbors in the list."""
    for step in STEPS:
        other = index + step
        if not 0 <= other < len(benchmark):
            continue
        try:
            depth, mask = benchmark.ground_truth(other, (sample.rgb.shape[0], sample.rgb.shape[1]))
        except ImageError:
            continue
        surface = edge_agreement(sample.rgb, np.where(mask, depth, np.nan))
        if surface is not None:
            seen.orders.setdefault(step, []).append((_peak(own), _peak(surface)))


def _order(seen: Seen) -> str:
    """A sentence where the maps of other images fit better than their own."""
    for step, found in sorted(seen.orders.items(), key=lambda item: abs(item[0])):
        own, other = np.array(found).T
        if len(found) < FEWEST or other.mean() < BETTER * own.mean():
            continue
        rng = np.random.default_rng(0)
        draws = rng.integers(0, len(found), (1000, len(found)))
        if np.quantile((other - own)[draws].mean(1), 0.05) > 0:
            return (
                f"edges fit the ground truth of the image {abs(step)} {'after' if step > 0 else 'before'} it better "
                f"({other.mean():.2f}) than its own ({own.mean():.2f}): is every image paired with its map? See `pair: match`"
            )
    return ""


def _beside(shift: Shift, count: int) -> str:
    words = [
        f"{100 * abs(value):.1f} % of the longer side {word[value < 0]}"
        for value, word in ((shift.right, ("right", "left")), (shift.down, ("down", "up")))
        if abs(value) * SIDE >= 1
    ]
    return (
        f"ground truth lies about {' and '.join(words)} of where the edges of its image are ({count} images; edges fit "
        f"{min(shift.gain, 99):.1f} times as well there): is it registered to this camera, and of the same moment?"
    )


def _peak(surface: Surface) -> float:
    """The agreement close to no shift: a pixel or two of it are nobody's fault."""
    return float(surface[REACH - 2 : REACH + 3, REACH - 2 : REACH + 3].max())
