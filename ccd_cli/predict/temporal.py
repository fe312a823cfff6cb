"""Steady the maps of a video: one (scale, shift) a frame against flicker, without drift and without decay.

A network that sees single frames gives each its own scale and shift. `align` fits every frame to a slowly updated reference
map of the scene, in disparity for disparity, in log depth for depth and metric (scale only), as it is for affine depth. The
reference moves with the picture, so that a tilt over a floor is not mistaken for a change of scale.

Why it does not decay. Least squares from a noisy map to a noisy map gives a slope that is too small by
signal / (signal + noise), a thousand times over in a chain. Here the line is fitted by Deming regression, which is free of
that bias when the ratio of the two noises is known; it is, because the reference is an average of a known number of frames
(Deming, Statistical Adjustment of Data, 1943). Outliers, that is moving edges, are cut at 2.5 robust deviations. What random
walk is left is pulled back, at most 0.7 % a frame, until the long-run mean of the corrections is again that of the scene's
first frames: the network's own long-run scale rules, whatever comes into view.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.predict.motion import COMMON, Array, FrameView, blocks, correlation, is_cut, look, motion_between
from ccd_cli.predict.settings import Mode

MODES: tuple[str, ...] = get_args(Mode)

SIDE = 64  # longer side of the maps that are compared
MEMORY = 9  # the reference averages about so many frames where the scene stands still
WARM_UP = 120  # frames from which the mean correction of a scene is learned
PULL = 1 / 150  # a frame: how fast a drift is pulled back
DRIFT = 1 / 30  # weight of a new frame in the estimate of the drift
EMA = 0.05  # weight of a new frame in mode ema


def default_mode(kind: Kind) -> Mode:
    """Return the mode for a kind: `align` where the scale is unknown, `none` for metric."""
    return "none" if kind == "metric" else "align"


@dataclass
class _Scene:
    """What is remembered of a scene.

    `reference` and how many `frames` each of its pixels averages (0: unknown); `place`: the full-size offset (down, right),
    in sampled pixels, at which blocks are cut so that they fall on the reference; `level`: (log scale, center), for
    `align` of the mean correction, for `ema` of the running spread and median; `drift`: how far from it, smoothed.
    """

    reference: Array
    frames: Array
    place: tuple[float, float]
    number: int
    level: tuple[float, float]
    drift: tuple[float, float]


class Stabilizer:
    """Gives each frame of a clip the (scale, shift) under which it agrees with those before: steady = scale * map + shift.

    `mode`: `none` always gives (1, 0); `ema` moves every frame's median and MAD to their running means; `align` as in the
    module's text. The first frame of a scene has (1, 0). Kinds depth and metric get shift 0. Raises UsageProblem for an
    unknown mode or kind.
    """

    def __init__(self, mode: Mode, kind: Kind) -> None:
        if mode not in MODES or kind not in KINDS:
            raise UsageProblem(f"--temporal {mode} for {kind}: choose one of {', '.join(MODES)}.")
        self.mode, self.kind = mode, kind
        self._log = kind in ("depth", "metric")
        self._scene: _Scene | None = None
        self._look: FrameView | None = None
        self._last: Array | None = None

    def update(
        self, rgb: NDArray[np.uint8], values: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> tuple[float, float, bool]:
        """Take the next frame, uint8 RGB [h, w, 3] of any size and its map float32 [H, W]; return (scale, shift, cut).

        `cut` is True where a new scene begins behind the first frame. Frames with fewer than 32 comparable pixels keep the
        mean correction of their scene.
        """
        thin, known, block = _sampled(values, valid, self._log)
        small = _reduced(thin, known, block, (0, 0), self._log)
        now, before, last = look(rgb), self._look, self._last
        self._look, self._last = now, small
        motion = None if before is None else motion_between(before, now)
        cut = bool(motion and before and last is not None and is_cut(before, now, motion, correlation(small, last)))
        if cut or (self._scene is not None and self._scene.reference.shape != small.shape):
            self._scene = None
        if self.mode == "none":
            return 1.0, 0.0, cut
        scene = self._scene
        if scene is None:
            if np.isfinite(small).sum() >= COMMON:
                self._scene = _first(small, self._log, self.mode)
            return 1.0, 0.0, cut
        if self.mode == "ema":
            scale, shift = _ema_step(scene, small, self._log)
        else:
            if motion is not None:
                offset = _follow(scene, (motion.down * thin.shape[0], motion.right * thin.shape[1]), block)
                small = _reduced(thin, known, block, offset, self._log)
            scale, shift = _align_step(scene, small, self._log)
        scene.number += 1
        return (float(np.exp(shift)), 0.0, cut) if self._log else (scale, shift, cut)

    def state(self) -> dict[str, Any]:
        """Return all that a later run needs to go on behind this frame, as JSON (about 60 kB)."""
        scene, seen = self._scene, self._look
        return {
            "mode": self.mode,
            "kind": self.kind,
            "last": _pack(self._last),
            "look": None if seen is None else [_pack(seen.colors), _pack(seen.gray, "u1")],
            "scene": None
            if scene is None
            else {
                "arrays": [_pack(scene.reference), _pack(scene.frames)],
                "place": list(scene.place),
                "number": scene.number,
                "level": list(scene.level),
                "drift": list(scene.drift),
            },
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Stabilizer:
        """Return the stabilizer that `state` describes; it goes on exactly as that one would have."""
        made = cls(state["mode"], state["kind"])
        if state["last"] is not None:
            made._last = _unpack(state["last"])
        if state["look"] is not None:
            made._look = FrameView(*(_unpack(array) for array in state["look"]))
        if (kept := state["scene"]) is not None:
            reference, frames = (_unpack(array) for array in kept["arrays"])
            place, level, drift = ((float(kept[k][0]), float(kept[k][1])) for k in ("place", "level", "drift"))
            made._scene = _Scene(reference, frames, place, int(kept["number"]), level, drift)
        return made


def fit_line(x: Array, y: Array, ratio: float, rounds: int = 5) -> tuple[float, float] | None:
    """Return (scale, shift) so that scale * x + shift agrees with y, both noisy: Deming regression, outliers cut.

    `x`, `y`: vectors. `ratio`: variance of y's noise over that of (scaled) x's noise. Starts from median and MAD. None
    where the two do not agree in order or one is constant.
    """
    (mid_x, mad_x), (mid_y, mad_y) = _spread(x), _spread(y)
    if mad_x <= 0 or mad_y <= 0:
        return None
    scale = mad_y / mad_x
    shift = mid_y - scale * mid_x
    for _ in range(rounds):
        moved = scale * x + shift
        error = np.abs(moved - y)
        keep = error <= 2.5 * 1.4826 * np.median(error) + 1e-9 * mad_y
        a, b = moved[keep], y[keep]
        da, db = a - a.mean(), b - b.mean()
        aa, bb, ab = float(da @ da), float(db @ db), float(da @ db)
        if ab <= 0.3 * np.sqrt(aa * bb) or ab <= 0:
            return None
        gap = bb - ratio * aa
        slope = (gap + np.sqrt(gap * gap + 4 * ratio * ab * ab)) / (2 * ab)
        scale, shift = slope * scale, float(b.mean() + slope * (shift - a.mean()))
    return float(scale), float(shift)


def _align_step(scene: _Scene, small: Array, log: bool) -> tuple[float, float]:
    """Fit to the reference, pull a drift back, update the reference."""
    known = np.isfinite(small)
    common = known & (scene.frames > 0)
    mean, level = scene.level
    line = None
    if common.sum() >= COMMON:
        x, y = small[common], scene.reference[common]
        line = (1.0, float(np.median(y - x))) if log else fit_line(x, y, float((1 / scene.frames[common]).mean()))
    middle, spread = _spread(small[known]) if known.any() else (0.0, 0.0)
    if line is None:  # nothing comparable: the scene's mean correction
        scale, shift = float(np.exp(mean)), level
        _remember(scene, scale * small + shift)
        return scale, shift
    size, center = float(np.log(line[0])), line[0] * middle + line[1]
    unit = 1.0 if log else max(line[0] * spread, 1e-30)
    offset = center - float(np.exp(mean)) * middle
    if scene.number < WARM_UP:
        part = 1 / (scene.number + 1)
        scene.level = (mean + part * (size - mean), level + part * (offset - level))
    else:
        away = (float(np.clip(size - mean, -1, 1)), float(np.clip((offset - level) / unit, -1, 1)))
        scene.drift = (
            scene.drift[0] + DRIFT * (away[0] - scene.drift[0]),
            scene.drift[1] + DRIFT * (away[1] - scene.drift[1]),
        )
        size -= PULL * scene.drift[0]
        center -= PULL * scene.drift[1] * unit
    scale = float(np.exp(size))
    shift = center - scale * middle
    _remember(scene, scale * small + shift)
    return scale, shift


def _ema_step(scene: _Scene, small: Array, log: bool) -> tuple[float, float]:
    """Move the frame's median (and, but for log depth, MAD) to their running means."""
    log_mean, mean = scene.level
    known = small[np.isfinite(small)]
    if known.size < COMMON:
        return 1.0, 0.0
    middle, spread = _spread(known)
    mean += EMA * (middle - mean)
    scale = 1.0
    if not log and spread > 0:
        log_mean += EMA * (float(np.log(spread)) - log_mean)
        scale = float(np.exp(log_mean)) / spread
    scene.level = (log_mean, mean)
    return scale, mean - scale * middle


def _first(small: Array, log: bool, mode: Mode) -> _Scene:
    known = np.isfinite(small)
    middle, spread = _spread(small[known])
    level = (0.0, 0.0) if mode == "align" else (0.0 if log else float(np.log(max(spread, 1e-30))), middle)
    return _Scene(np.where(known, small, 0.0), known.astype(np.float64), (0.0, 0.0), 1, level, (0.0, 0.0))


def _follow(scene: _Scene, moved: tuple[float, float], block: int) -> tuple[int, int]:
    """Move the reference by whole blocks with the picture; return the offset in sampled pixels that is left."""
    rest: list[int] = []
    place: list[float] = []
    for axis in (0, 1):
        there = scene.place[axis] + moved[axis]
        steps = int(np.floor((there + 0.5) / block))
        if steps:
            scene.reference, scene.frames = np.roll(scene.reference, steps, axis), np.roll(scene.frames, steps, axis)
            gone = slice(0, steps) if steps > 0 else slice(steps, None)
            scene.frames[(slice(None), gone) if axis else gone] = 0.0  # a full roll leaves nothing either
        place.append(there - steps * block)
        rest.append(min(max(round(place[-1]), 0), block - 1))
    scene.place = (place[0], place[1])
    return rest[0], rest[1]


def _remember(scene: _Scene, steady: Array) -> None:
    """Average a stabilized map into the reference; pixels that disagree (motion) or are new are replaced."""
    known = np.isfinite(steady)
    error = np.where(known, steady - scene.reference, 0.0)
    common = known & (scene.frames > 0)
    limit = 3 * 1.4826 * float(np.median(np.abs(error[common]))) if common.any() else 0.0
    fresh = known & ((scene.frames == 0) | (np.abs(error) > limit))
    # a running mean of n frames, then an exponential one whose noise is that of MEMORY frames
    weight = np.where(fresh, 1.0, np.maximum(1 / (scene.frames + 1), 2 / (MEMORY + 1)))
    scene.reference = scene.reference + np.where(known, weight * error, 0.0)
    scene.frames = np.where(fresh, 1.0, np.minimum(scene.frames + known, MEMORY))


def _sampled(
    values: NDArray[np.float32], valid: NDArray[np.bool_] | None, log: bool
) -> tuple[Array, NDArray[np.bool_], int]:
    """Return every n-th pixel of a map, which of them are known (with `log`: and positive), and the side of a block."""
    stride = max(1, max(values.shape) // (5 * SIDE))
    thin = values[::stride, ::stride].astype(np.float64)
    known = np.isfinite(thin) if valid is None else np.isfinite(thin) & valid[::stride, ::stride]
    if log:
        known &= thin > 0
    return np.where(known, thin, 0.0), known, -(-max(thin.shape) // SIDE)


def _reduced(thin: Array, known: NDArray[np.bool_], block: int, offset: tuple[int, int], log: bool) -> Array:
    """Return means over blocks that begin at `offset`; NaN where less than half is known. With `log`, their logarithms."""
    height, width = (max(block, side // block * block) for side in thin.shape)
    spare = [
        (0, max(0, height + o - side)) for side, o, height in zip(thin.shape, offset, (height, width), strict=True)
    ]
    cut = (slice(offset[0], offset[0] + height), slice(offset[1], offset[1] + width))
    total = blocks(np.pad(thin, spare)[cut], block)
    count = np.full(total.shape, float(block * block))
    if any(end for _, end in spare) or not known.all():
        count = blocks(np.pad(known, spare)[cut].astype(np.float64), block)
    mean = np.where(count >= block * block / 2, total / np.maximum(count, 1.0), np.nan)
    return np.log(mean) if log else mean


def _spread(values: Array) -> tuple[float, float]:
    """Return (median, MAD); the standard deviation stands in for a MAD of zero."""
    middle = float(np.median(values))
    mad = float(np.median(np.abs(values - middle)))
    return middle, mad if mad > 0 else float(values.std())


def _pack(array: Array | None, kind: str = "<f8") -> Any:
    if array is None:
        return None
    return [list(array.shape), kind, base64.b64encode(array.astype(kind).tobytes()).decode()]


def _unpack(packed: Any) -> Array:
    return np.frombuffer(base64.b64decode(packed[2]), packed[1]).reshape(packed[0]).astype(np.float64)
