"""Temporal alignment of a video's maps: one (scale, shift) per frame that removes flicker without drift or decay.

A single-frame network gives each frame its own scale and shift. `align` fits every frame to a slowly updated reference map
of the scene: in disparity for disparity, in log depth (scale only) for depth and metric, in the values themselves for affine
depth. The reference is shifted with the estimated image motion, so that a tilt over a floor is not mistaken for a change of
scale.

Decay: ordinary least squares between two noisy maps underestimates the slope by the factor signal / (signal + noise), which
accumulates over a clip. Deming regression is unbiased when the ratio of the two noise variances is known; here it is,
because the reference averages a known number of frames (Deming, Statistical Adjustment of Data, 1943). Outliers (moving
edges) are removed at 2.5 robust standard deviations.

Drift: the remaining random walk is corrected by at most 0.7 % per frame, toward the mean correction of the scene's first
frames, so that the long-run scale is that of the network.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.depth_map import DepthMap, checked
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.predict.deming import fit_line, median_mad
from ccd_cli.predict.motion import (
    MIN_COMMON,
    Array,
    FrameDescriptor,
    block_sums,
    correlation,
    describe_frame,
    estimate_motion,
    is_cut,
)
from ccd_cli.predict.settings import Mode

MODES: tuple[str, ...] = get_args(Mode)

MAP_SIZE = 64  # longer side, in pixels, of the reduced maps that are compared
REFERENCE_FRAMES = 9  # number of frames that the reference averages, approximately, in a static scene
WARM_UP = 120  # number of frames from which the mean correction of a scene is estimated
DRIFT_CORRECTION = 1 / 150  # fraction of the drift that is corrected per frame
DRIFT_WEIGHT = 1 / 30  # weight of a new frame in the estimate of the drift
EMA_WEIGHT = 0.05  # weight of a new frame in mode `ema`


def default_mode(kind: Kind) -> Mode:
    """Return the default mode of a kind: `align` where the scale is unknown, `none` for metric."""
    return "none" if kind == "metric" else "align"


@dataclass
class _Scene:
    """The state of the current scene.

    `reference` [h, w] and the number of `frames` that each of its pixels averages (0: invalid); `offset`: (down, right), in
    sampled pixels, of the block grid that matches the reference; `level`: (log scale, center), in mode `align` the mean
    correction, in mode `ema` the running log MAD and median; `drift`: smoothed deviation from `level`.
    """

    reference: Array
    frames: Array
    offset: tuple[float, float]
    number: int
    level: tuple[float, float]
    drift: tuple[float, float]


class Steady(NamedTuple):
    """What a frame's map is multiplied by and shifted by, and whether a new scene begins with it."""

    scale: float
    shift: float
    cut: bool


class Stabilizer:
    """Estimates for each frame of a clip the (scale, shift) that aligns it with the preceding ones: scale * map + shift.

    `mode`: `none` always gives (1, 0); `ema` maps every frame's median and MAD to their exponential moving averages; `align`
    as described at the top of this module. The first frame of a scene has (1, 0). Kinds depth and metric have shift 0.
    Raises UsageProblem for an unknown mode or kind.
    """

    def __init__(self, mode: Mode, kind: Kind) -> None:
        if mode not in MODES or kind not in KINDS:
            raise UsageProblem(f"--temporal {mode} for {kind}: choose one of {', '.join(MODES)}.")
        self.mode, self.kind = mode, kind
        self._log = kind in ("depth", "metric")
        self._scene: _Scene | None = None
        self._descriptor: FrameDescriptor | None = None
        self._previous: Array | None = None

    def update(
        self, rgb: NDArray[np.uint8], values: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> tuple[float, float, bool]:
        """Process the next frame, uint8 RGB [h, w, 3] of any size and its map float32 [H, W]; return (scale, shift, cut).

        `cut` is True for the first frame of a new scene, except the clip's first frame. Frames with fewer than 32 comparable
        pixels get the mean correction of their scene.
        """
        sampled, mask, block = _sampled(values, valid, self._log)
        small = _reduced(sampled, mask, block, (0, 0), self._log)
        now, before, previous = describe_frame(rgb), self._descriptor, self._previous
        self._descriptor, self._previous = now, small
        motion = None if before is None else estimate_motion(before, now)
        cut = bool(
            motion and before and previous is not None and is_cut(before, now, motion, correlation(small, previous))
        )
        if cut or (self._scene is not None and self._scene.reference.shape != small.shape):
            self._scene = None
        if self.mode == "none":
            return 1.0, 0.0, cut
        scene = self._scene
        if scene is None:
            if np.isfinite(small).sum() >= MIN_COMMON:
                self._scene = _new_scene(small, self._log, self.mode)
            return 1.0, 0.0, cut
        if self.mode == "ema":
            scale, shift = _ema_step(scene, small, self._log)
        else:
            if motion is not None:
                moved = (motion.down * sampled.shape[0], motion.right * sampled.shape[1])
                small = _reduced(sampled, mask, block, _shift_reference(scene, moved, block), self._log)
            scale, shift = _align_step(scene, small, self._log)
        scene.number += 1
        return (float(np.exp(shift)), 0.0, cut) if self._log else (scale, shift, cut)

    def stabilize(self, rgb: NDArray[np.uint8], depth_map: DepthMap) -> tuple[DepthMap, Steady]:
        """Process the next frame as `update` does; return its map, scaled and shifted, and by what.

        What sky is set to follows the rest of the map, so it does not count in the fit; infinite depth stays.
        """
        values, kind = depth_map.values, depth_map.kind
        steady = Steady(*self.update(rgb, values, depth_map.solid))
        if steady[:2] == (1.0, 0.0):
            return depth_map, steady
        aligned = values * np.float32(steady.scale) + np.float32(steady.shift)
        return replace(checked(aligned, kind, depth_map.valid, depth_map.camera), sky=depth_map.sky), steady

    def state(self) -> dict[str, Any]:
        """Return what is needed to resume after this frame, as JSON (about 60 kB)."""
        scene, frame = self._scene, self._descriptor
        return {
            "mode": self.mode,
            "kind": self.kind,
            "last": _pack(self._previous),
            "look": None if frame is None else [_pack(frame.colors), _pack(frame.gray, "u1")],
            "scene": None
            if scene is None
            else {
                "arrays": [_pack(scene.reference), _pack(scene.frames)],
                "place": list(scene.offset),
                "number": scene.number,
                "level": list(scene.level),
                "drift": list(scene.drift),
            },
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Stabilizer:
        """Return a stabilizer in a saved state; it continues exactly as the saved one would have."""
        made = cls(state["mode"], state["kind"])
        if state["last"] is not None:
            made._previous = _unpack(state["last"])
        if state["look"] is not None:
            made._descriptor = FrameDescriptor(*(_unpack(array) for array in state["look"]))
        if (saved := state["scene"]) is not None:
            reference, frames = (_unpack(array) for array in saved["arrays"])
            offset, level, drift = ((float(saved[k][0]), float(saved[k][1])) for k in ("place", "level", "drift"))
            made._scene = _Scene(reference, frames, offset, int(saved["number"]), level, drift)
        return made


def _align_step(scene: _Scene, small: Array, log: bool) -> tuple[float, float]:
    """Fit to the reference, correct drift, update the reference."""
    valid = np.isfinite(small)
    common = valid & (scene.frames > 0)
    mean, level = scene.level
    line = None
    if common.sum() >= MIN_COMMON:
        x, y = small[common], scene.reference[common]
        line = (1.0, float(np.median(y - x))) if log else fit_line(x, y, float((1 / scene.frames[common]).mean()))
    middle, spread = median_mad(small[valid]) if valid.any() else (0.0, 0.0)
    if line is None:  # too few comparable pixels: use the mean correction of the scene
        scale, shift = float(np.exp(mean)), level
        _update_reference(scene, scale * small + shift)
        return scale, shift
    log_scale, center = float(np.log(line[0])), line[0] * middle + line[1]
    unit = 1.0 if log else max(line[0] * spread, 1e-30)
    offset = center - float(np.exp(mean)) * middle
    if scene.number < WARM_UP:
        weight = 1 / (scene.number + 1)
        scene.level = (mean + weight * (log_scale - mean), level + weight * (offset - level))
    else:
        deviation = (float(np.clip(log_scale - mean, -1, 1)), float(np.clip((offset - level) / unit, -1, 1)))
        scene.drift = (
            scene.drift[0] + DRIFT_WEIGHT * (deviation[0] - scene.drift[0]),
            scene.drift[1] + DRIFT_WEIGHT * (deviation[1] - scene.drift[1]),
        )
        log_scale -= DRIFT_CORRECTION * scene.drift[0]
        center -= DRIFT_CORRECTION * scene.drift[1] * unit
    scale = float(np.exp(log_scale))
    shift = center - scale * middle
    _update_reference(scene, scale * small + shift)
    return scale, shift


def _ema_step(scene: _Scene, small: Array, log: bool) -> tuple[float, float]:
    """Map the frame's median (and MAD, except in log depth) to their exponential moving averages."""
    log_mean, mean = scene.level
    valid = small[np.isfinite(small)]
    if valid.size < MIN_COMMON:
        return 1.0, 0.0
    middle, spread = median_mad(valid)
    mean += EMA_WEIGHT * (middle - mean)
    scale = 1.0
    if not log and spread > 0:
        log_mean += EMA_WEIGHT * (float(np.log(spread)) - log_mean)
        scale = float(np.exp(log_mean)) / spread
    scene.level = (log_mean, mean)
    return scale, mean - scale * middle


def _new_scene(small: Array, log: bool, mode: Mode) -> _Scene:
    valid = np.isfinite(small)
    middle, spread = median_mad(small[valid])
    level = (0.0, 0.0) if mode == "align" else (0.0 if log else float(np.log(max(spread, 1e-30))), middle)
    return _Scene(np.where(valid, small, 0.0), valid.astype(np.float64), (0.0, 0.0), 1, level, (0.0, 0.0))


def _shift_reference(scene: _Scene, moved: tuple[float, float], block: int) -> tuple[int, int]:
    """Shift the reference by whole blocks along with the image; return the remaining offset in sampled pixels."""
    rest: list[int] = []
    offset: list[float] = []
    for axis in (0, 1):
        total = scene.offset[axis] + moved[axis]
        steps = int(np.floor((total + 0.5) / block))
        if steps:
            scene.reference, scene.frames = np.roll(scene.reference, steps, axis), np.roll(scene.frames, steps, axis)
            gone = slice(0, steps) if steps > 0 else slice(steps, None)
            scene.frames[(slice(None), gone) if axis else gone] = 0.0  # a shift by the whole size clears everything
        offset.append(total - steps * block)
        rest.append(min(max(round(offset[-1]), 0), block - 1))
    scene.offset = (offset[0], offset[1])
    return rest[0], rest[1]


def _update_reference(scene: _Scene, aligned: Array) -> None:
    """Average an aligned map into the reference; pixels that disagree (motion) or were invalid are replaced."""
    valid = np.isfinite(aligned)
    error = np.where(valid, aligned - scene.reference, 0.0)
    common = valid & (scene.frames > 0)
    limit = 3 * 1.4826 * float(np.median(np.abs(error[common]))) if common.any() else 0.0
    fresh = valid & ((scene.frames == 0) | (np.abs(error) > limit))
    # a cumulative mean, then an exponential one with the noise of an average of REFERENCE_FRAMES frames
    weight = np.where(fresh, 1.0, np.maximum(1 / (scene.frames + 1), 2 / (REFERENCE_FRAMES + 1)))
    scene.reference = scene.reference + np.where(valid, weight * error, 0.0)
    scene.frames = np.where(fresh, 1.0, np.minimum(scene.frames + valid, REFERENCE_FRAMES))


def _sampled(
    values: NDArray[np.float32], valid: NDArray[np.bool_] | None, log: bool
) -> tuple[Array, NDArray[np.bool_], int]:
    """Return every n-th pixel of a map, their validity (with `log` also positive), and the block size."""
    stride = max(1, max(values.shape) // (5 * MAP_SIZE))
    sampled = values[::stride, ::stride].astype(np.float64)
    mask = np.isfinite(sampled) if valid is None else np.isfinite(sampled) & valid[::stride, ::stride]
    if log:
        mask &= sampled > 0
    return np.where(mask, sampled, 0.0), mask, -(-max(sampled.shape) // MAP_SIZE)


def _reduced(sampled: Array, mask: NDArray[np.bool_], block: int, offset: tuple[int, int], log: bool) -> Array:
    """Return means over blocks from `offset` on; NaN where less than half is valid. With `log`, their logarithms."""
    height, width = (max(block, size // block * block) for size in sampled.shape)
    padding = [
        (0, max(0, end + start - size)) for size, start, end in zip(sampled.shape, offset, (height, width), strict=True)
    ]
    window = (slice(offset[0], offset[0] + height), slice(offset[1], offset[1] + width))
    total = block_sums(np.pad(sampled, padding)[window], block)
    count = np.full(total.shape, float(block * block))
    if any(end for _, end in padding) or not mask.all():
        count = block_sums(np.pad(mask, padding)[window].astype(np.float64), block)
    mean = np.where(count >= block * block / 2, total / np.maximum(count, 1.0), np.nan)
    return np.log(mean) if log else mean


def _pack(array: Array | None, kind: str = "<f8") -> Any:
    if array is None:
        return None
    return [list(array.shape), kind, base64.b64encode(array.astype(kind).tobytes()).decode()]


def _unpack(packed: Any) -> Array:
    return np.frombuffer(base64.b64decode(packed[2]), packed[1]).reshape(packed[0]).astype(np.float64)
