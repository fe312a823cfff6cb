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
    """Masks instead of chosen pixels, whose number the host would have to ask for: everything comes back in one copy."""
    values, true, told = (
        torch.from_numpy(np.ascontiguousarray(part)).to(device, non_blocking=True) for part in (pred, gt, mask)
    )
    values, true = values.double(), true.double()
    disparity = name in IN_DISPARITY
    infinite = values.isposinf() if kind != "disparity" else torch.zeros_like(told)
    if disparity and kind != "disparity":
        values = 1.0 / values
    known = (true > 0) & true.isfinite()
    valid = told & known
    usable = valid & values.isfinite() & ~infinite
    scale, shift, fitted = _fit(name, values, true, usable, limits)
    values = values * scale + shift
    if disparity:
        if limits.floor == "image":
            floor = 1.0 / torch.where(valid, true, 0.0).amax()
        else:
            floor = true.new_full((), disparity_floor(name, limits, float("inf")))
        values = 1.0 / values.clamp(min=floor)
    values = values.clamp(*(max(end, LOWEST_DEPTH) for end in limits.depth_range))
    most: float | Tensor = limits.depth_range[1]
    if not np.isfinite(most):
        finite = torch.where(values.isfinite() & ~infinite, values, 0.0)
        most = torch.maximum(torch.where(valid, true, 0.0).amax(), finite.amax())
    values = torch.where(infinite, most, values)
    counts = torch.stack([valid.sum(), usable.sum(), (told & ~known).sum(), told.sum(), fitted]).double()
    line = torch.stack([scale, shift])
    found = torch.cat([counts, line, _sums(values, true, told), values.flatten()]).cpu().numpy()
    (valid_count, usable_count, wrong, told_count, fitted_count), rest = found[:5], found[5:]
    if not valid_count:
        raise CcdError("There is no valid pixel to align to.", "Check the mask and the depth range of the set.")
    if not usable_count:
        raise CcdError("The prediction has no finite value on the valid pixels.")
    if wrong:
        raise CcdError(
            "A valid pixel has ground-truth depth that is not positive.", "Leave such pixels out of the mask."
        )
    fit = (float(rest[0]), float(rest[1]))
    scores = _metrics(rest[2 : 2 + SUMS].tolist(), int(told_count))
    depth = rest[2 + SUMS :].reshape(pred.shape)
    return Aligned(depth, *fit, "disparity" if disparity else "depth", name, int(fitted_count)), scores


def _fit(name: Method, values: Tensor, true: Tensor, usable: Tensor, limits: Limits) -> tuple[Tensor, Tensor, Tensor]:
    """Return (scale, shift, number of fitted pixels), scalars on the device: the least-squares line in the method's space."""
    if name in SUBSAMPLED and limits.max_res is not None:
        columns = torch.from_numpy(kept_columns(values.shape[0], values.shape[1], limits.max_res))
        columns = columns.to(values.device, non_blocking=True)
        values, true, usable = values[:, columns], true[:, columns], usable[:, columns]
    if positive_only(name, limits):
        usable = usable & (values > 0)
    count = usable.sum()
    if name == "none":
        return values.new_ones(()), values.new_zeros(()), count
    x = torch.where(usable, values, 0.0).flatten()
    y = torch.where(usable, 1.0 / true if name in IN_DISPARITY else true, 0.0).flatten()
    some = count.clamp(min=1)
    center, middle = x.sum() / some, y.sum() / some
    dx = torch.where(usable.flatten(), x - center, 0.0)
    spread = dx @ dx
    sloped = spread > 1e-24 * (x @ x)
    scale = torch.where(sloped, dx @ y / torch.where(sloped, spread, 1.0), 0.0)
    return scale, middle - scale * center, count


SUMS = 11
"""Sums over pixels that `_metrics` needs."""


def _sums(p: Tensor, g: Tensor, told: Tensor) -> Tensor:
    """Return [SUMS]: the number of predicted pixels among those of the mask, then sums over them, of maps float64."""
    seen = told & p.isfinite()
    p, g = (torch.where(seen, part, 1.0).flatten() for part in (p, g))  # elsewhere a right prediction: it adds nothing
    error = p - g
    relative = error / g
    positive = p.clamp(min=LOWEST)
    log = (positive / g).log()
    inverse = 1.0 / positive - 1.0 / g
    p32, g32 = p.float(), g.float()
    ratio = torch.where(p32 > 0, torch.maximum(p32 / g32, g32 / p32), torch.inf)
    right = [((ratio < 1.25**k) & seen.flatten()).sum().double() for k in (1, 2, 3)]
    sums = [seen.sum().double(), relative.abs().sum(), relative @ error, error @ error, log.sum(), log @ log]
    return torch.stack([*sums, log.abs().sum(), inverse @ inverse, *right])


def _metrics(sums: list[float], told: int) -> dict[str, float]:
    """Return `image_metrics` from `_sums` and the number of the mask's pixels."""
    n = sums[0]
    if not n:
        raise CcdError("The prediction has no finite value on the valid pixels.")
    missing = 0.0 if n == told else 1.0 - n / told
    absolute, square, squares, log_sum, log_squares, log_absolute, inverses, *right = (value / n for value in sums[1:])
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
