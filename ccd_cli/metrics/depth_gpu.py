"""Alignment and metrics of the default protocols on a GPU: the arithmetic of `align` and `image_metrics`, in float64 tensors.

Scores agree with those on the CPU to rounding (1e-12 of them); a device without float64 (MPS) cannot do it.
"""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.alignment import (
    IN_DISPARITY,
    LOWEST_DEPTH,
    NO_LIMITS,
    SUBSAMPLED,
    Aligned,
    Fit,
    Floats,
    Limits,
    Method,
    check_maps,
    disparity_floor,
    in_space_of,
    kept_columns,
    positive_only,
    resolve,
)
from ccd_cli.metrics.depth import LOWEST

PORTED: frozenset[Method] = frozenset({"least-squares", "least-squares-disparity", "none"})
"""Methods that run on a device: those of `auto`."""

_streams = threading.local()


def scores_on(device: torch.device, method: Method) -> bool:
    """Return whether scoring by a method runs on a device: CUDA has float64, MPS has not."""
    return device.type == "cuda" and method in PORTED


def score_on(
    device: torch.device,
    method: str,
    pred: Floats,
    gt: Floats,
    mask: NDArray[np.bool_],
    kind: Kind,
    limits: Limits = NO_LIMITS,
) -> tuple[Aligned, dict[str, float]]:
    """Return what `align` and then `image_metrics` return, computed on `device` (on CUDA in a stream of the thread's own).

    pred, gt, mask: numpy [H, W]. `method` resolves to one of PORTED. Raises what those two raise, and OutOfMemoryError.
    """
    name = resolve(method, kind)
    check_maps(name, pred, gt, mask, limits)
    in_space_of(name, np.ones((1, 1)), kind)  # the same refusals
    if device.type != "cuda":
        return _score(device, name, pred, gt, mask, kind, limits)
    if not hasattr(_streams, "own"):
        _streams.own = {}
    with torch.cuda.stream(_streams.own.setdefault(device, torch.cuda.Stream(device))):
        return _score(device, name, pred, gt, mask, kind, limits)


@torch.no_grad()
def _score(
    device: torch.device,
    name: Method,
    pred: Floats,
    gt: Floats,
    mask: NDArray[np.bool_],
    kind: Kind,
    limits: Limits,
) -> tuple[Aligned, dict[str, float]]:
    values, true, told = (torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in (pred, gt, mask))
    values, true = values.double(), true.double()
    disparity = name in IN_DISPARITY
    if disparity and kind != "disparity":
        values = 1.0 / values
    valid = told & (true > 0) & true.isfinite()
    if not valid.any():
        raise CcdError("There is no valid pixel to align to.", "Check the mask and the depth range of the set.")
    usable = valid & values.isfinite()
    if not usable.any():
        raise CcdError("The prediction has no finite value on the valid pixels.")
    (scale, shift), fitted = _fit(name, values, true, usable, limits)
    values = values * scale + shift
    if disparity:
        farthest = float(true[valid].max()) if limits.floor == "image" else float("inf")
        values = 1.0 / values.clamp(min=disparity_floor(name, limits, farthest))
    values = values.clamp(*(max(end, LOWEST_DEPTH) for end in limits.depth_range))
    scores = _metrics(values[told], true[told])
    return Aligned(values.cpu().numpy(), scale, shift, "disparity" if disparity else "depth", name, fitted), scores


def _fit(name: Method, values: Tensor, true: Tensor, usable: Tensor, limits: Limits) -> tuple[Fit, int]:
    """Return ((scale, shift), fitted pixels): the least-squares line in the method's space."""
    if name in SUBSAMPLED and limits.max_res is not None:
        columns = torch.from_numpy(kept_columns(values.shape[0], values.shape[1], limits.max_res)).to(values.device)
        values, true, usable = values[:, columns], true[:, columns], usable[:, columns]
    if positive_only(name, limits):
        usable = usable & (values > 0)
    x, y = values[usable], true[usable]
    if name == "none":
        return (1.0, 0.0), x.numel()
    if not x.numel():
        return (0.0, 0.0), 0
    y = 1.0 / y if name in IN_DISPARITY else y
    center, middle = x.mean(), y.mean()
    dx = x - center
    sums = torch.stack([dx @ dx, x @ x, dx @ y, center, middle]).tolist()  # one wait for the device
    spread, square, product, mean_x, mean_y = sums
    if not spread > 1e-24 * square:
        return (0.0, mean_y), x.numel()
    return (product / spread, mean_y - product / spread * mean_x), x.numel()


def _metrics(p: Tensor, g: Tensor) -> dict[str, float]:
    """Return `image_metrics` of vectors float64."""
    if not bool(((g > 0) & g.isfinite()).all()):
        raise CcdError(
            "A valid pixel has ground-truth depth that is not positive.", "Leave such pixels out of the mask."
        )
    finite = p.isfinite()
    count = p.numel()
    p, g = p[finite], g[finite]
    if not p.numel():
        raise CcdError("The prediction has no finite value on the valid pixels.")
    missing = 0.0 if p.numel() == count else 1.0 - p.numel() / count
    error = p - g
    relative = error / g
    positive = p.clamp(min=LOWEST)
    log = (positive / g).log()
    inverse = 1.0 / positive - 1.0 / g
    p32, g32 = p.float(), g.float()
    ratio = torch.maximum(p32 / g32, g32 / p32)
    ratio[p32 <= 0] = torch.inf
    n = p.numel()
    sums = [relative.abs().sum(), relative @ error, error @ error, log.sum(), log @ log, log.abs().sum()]
    sums += [inverse @ inverse, *((ratio < 1.25**k).sum().double() for k in (1, 2, 3))]
    absolute, square, squares, log_sum, log_squares, log_absolute, inverses, *right = (
        value / n for value in torch.stack(sums).tolist()
    )
    return {
        "abs_rel": absolute,
        "sq_rel": square,
        "rmse": squares**0.5,
        "rmse_log": log_squares**0.5,
        "log10": log_absolute / float(np.log(10.0)),
        "silog": 100.0 * max(log_squares - log_sum**2, 0.0) ** 0.5,
        "irmse": inverses**0.5,
        **{f"delta{k}": share * (1 - missing) for k, share in zip((1, 2, 3), right, strict=True)},
        "missing": missing,
    }
