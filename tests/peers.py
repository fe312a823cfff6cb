"""What only tests need: scores of published code that no command has, and writers of files that commands only read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ccd_cli.benchmarks.decode import FloatMap
from ccd_cli.benchmarks.moge.png import SKY, STEPS
from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.metrics.boundary import check_shapes, inverse_depth, neighbor_steps
from ccd_cli.metrics.points import reprojection_errors

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def error_percent(pred: Floats, gt: Floats, mask: NDArray[np.bool_] | None = None) -> float:
    """Return MiDaS's figure of merit: the percentage of pixels with max(p/g, g/p) > 1.25 (lower is better).

    A ratio of exactly 1.25 is neither in it nor in delta1; depths <= 0 and missing ones are errors.
    """
    p, g = (np.asarray(v).ravel() if mask is None else v[mask] for v in (pred, gt))
    known = np.isfinite(p)
    p32, g32 = p[known].astype(np.float32), g[known].astype(np.float32)
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.maximum(p32 / g32, g32 / p32)
    ratio[p32 <= 0] = np.inf
    missing = 1 - known.mean()
    return 100.0 * (float((ratio > 1.25).mean()) * (1 - missing) + missing)


def temporal_alignment_error(
    depths: Sequence[Floats], cameras: Sequence[Camera], poses: Sequence[Floats], masks: Sequence[Mask] | None = None
) -> float:
    """Return the temporal alignment error of a clip of a still scene (Video Depth Anything, benchmark/eval/eval_tae.py).

    Every frame's depth is carried into the next frame and back by the true `poses` [4, 4] (camera to world) and `cameras`,
    to the nearest pixel; the error is the mean |carried - there| / there over these pixels, mean over all directed pairs.
    `depths` [H, W] are aligned before, by one scale and shift a clip; `masks` say which pixels of a frame are compared.
    The peer prints it times 100; it counts pairs without common pixels as 0, here they are left out; and where several
    points fall on a pixel it keeps the last, here the nearest.
    Raises CcdError for fewer than two frames, uneven lists, and where no pair has a common pixel.
    """
    count = len(depths)
    if count < 2 or not len(cameras) == len(poses) == count or (masks is not None and len(masks) != count):
        raise CcdError("A clip needs two frames or more, and a camera and a pose for each.")
    errors: list[float] = []
    for i in range(1, count):
        pair = [
            (np.asarray(depths[k]), cameras[k], np.asarray(poses[k]), None if masks is None else masks[k])
            for k in (i - 1, i)
        ]
        errors += reprojection_errors(pair[0], pair[1])
    if not errors:
        raise CcdError("No two following frames see a common point.", "Check that the poses are camera to world.")
    return float(np.mean(errors))


def depth_pro_recall(pred: Floats, alpha: Floats, above: float = 0.1) -> float:
    """Return Depth Pro's boundary recall of a depth map against a matte [H, W] (foreground: alpha > `above`).

    Predicted edges as in `depth_pro_f1`, thinned to the largest ratio of every run along a row or column; mean over the
    four directions and, weighted, over the ten thresholds. Raises CcdError for different shapes.
    """
    check_shapes(pred, alpha, None)
    front = alpha > above
    thresholds = np.linspace(1.05, 1.25, 10)
    ground_truth = (
        front[:, :-1] & ~front[:, 1:],
        front[:-1] & ~front[1:],
        front[:, 1:] & ~front[:, :-1],
        front[1:] & ~front[:-1],
    )
    recall = np.zeros(10)
    for direction, (ratio, edges) in enumerate(zip(neighbor_steps(inverse_depth(pred)), ground_truth, strict=True)):
        along = ratio if direction % 2 == 0 else ratio.T
        true = edges if direction % 2 == 0 else edges.T
        count = max(int(true.sum()), 1)
        recall += [np.count_nonzero(thinned(along, t) & true) / count / 4 for t in thresholds]
    return float(recall @ thresholds / thresholds.sum())


def thinned(ratio: Floats, threshold: float) -> Mask:
    """Return where `ratio` [H, W] is the (first) largest of its run of neighbors > threshold along a row."""
    result = np.zeros(ratio.shape, bool)
    hit = np.flatnonzero(ratio > threshold)
    if hit.size == 0:
        return result
    starts = np.ones(hit.size, bool)
    starts[1:] = (np.diff(hit) != 1) | (hit[1:] % ratio.shape[1] == 0)
    values, first = ratio.ravel()[hit], np.flatnonzero(starts)
    run = np.cumsum(starts) - 1
    largest = np.flatnonzero(values == np.maximum.reduceat(values, first)[run])
    result.ravel()[hit[largest[np.unique(run[largest], return_index=True)[1]]]] = True
    return result


def encode_depth_png(depth: FloatMap) -> bytes:
    """Return the PNG of depth [H, W]: NaN is unknown, inf is sky, the rest positive. Raises CcdError where none is known."""
    finite = np.isfinite(depth)
    if not finite.any() or (depth[finite] <= 0).any():
        raise CcdError("A depth PNG needs positive depth and at least one finite value.")
    least, most = float(depth[finite].min()), float(depth[finite].max())
    near = max(least, 1e-5)
    far = max(near * 1.1, min(most, near * 1e5))
    share = np.log(np.where(finite, depth, near).clip(near, far) / near) / np.log(far / near)
    codes = 1 + np.round(share * STEPS)
    codes = np.where(finite, codes, np.where(np.isposinf(depth), SKY, 0)).astype(np.uint16)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("near", str(near))
    chunks.add_text("far", str(far))
    file = io.BytesIO()
    Image.fromarray(codes).save(file, format="PNG", pnginfo=chunks)
    return file.getvalue()
