"""How much loss noise in a label causes on clean pixels, for every normalization and context family.

The true map is the prediction of a perfect student and a corrupted copy the label. The per-pixel losses are those of
training (`losses.terms.normalized_l1`), contexts come from the corrupted label. All losses are in MADs.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.benchmarks import Sample
from ccd_cli.data.corruptions import RANDOM, CorruptedLabel, Corruption, corrupt
from ccd_cli.losses.contexts import MIN_PIXELS, Family
from ccd_cli.losses.normalize import statistics, unit_scale
from ccd_cli.losses.terms import Normalization, normalized_l1

VALID_FRACTION = 0.4
"""Images with a smaller fraction of valid pixels are skipped: contexts would be full of holes."""
MAX_SIDE = 256
"""Pixels of the longer side, at most: larger maps are subsampled to every second, third, ... pixel. Statistics hardly change."""
LEVELS = (1, 2, 4)
CASES: tuple[tuple[Corruption, float], ...] = (
    ("outliers", 0.05),
    ("outliers", 0.2),
    ("affine", 0.05),
    ("affine", 0.2),
    ("blur", 0.01),
    ("blur", 0.03),
    ("jitter", 2.0),
    ("jitter", 20.0),
)
"""(corruption, amount), the milder first. Raw scales of one published family differ by a factor of about 20."""


BATCH = 8
"""Draws whose losses are in memory at a time."""


@dataclass(frozen=True)
class Scheme:
    """A normalization with its contexts; `unit`: both maps are divided by their MAD first, as the labels of a run are."""

    normalization: Normalization
    contexts: Family | None = None
    unit: bool = False

    @property
    def name(self) -> str:
        """Return the name for tables."""
        return f"{self.normalization} {self.contexts or ('unit' if self.unit else '')}".strip()

    def losses(self, pred: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of each pixel [B,H,W] as training computes it; maps and bool mask [B,H,W]."""
        if self.unit:
            pred, label = unit_scale(pred, mask), unit_scale(label, mask)
        return normalized_l1(pred, label, mask, self.normalization, self.contexts or "range", LEVELS)


SCHEMES: tuple[Scheme, ...] = (
    Scheme("global"),
    Scheme("hybrid", "range"),
    Scheme("hybrid", "quantile"),
    Scheme("hybrid", "grid"),
    Scheme("local", "range"),
    Scheme("local", "quantile"),
    Scheme("local", "grid"),
    Scheme("none"),
    Scheme("none", unit=True),
)
BY_RANGE: tuple[Scheme, ...] = tuple(scheme for scheme in SCHEMES if scheme.contexts in (None, "range"))
"""Those with the paper's family of contexts alone."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Mean losses in MADs of one draw on one image; `noisy` NaN without corrupted pixels, `noisy_fraction` of the valid pixels."""

    dataset: str
    image: str
    draw: int
    corruption: Corruption
    amount: float
    scheme: Scheme
    clean: float
    noisy: float
    noisy_fraction: float


@dataclass(frozen=True)
class Example:
    """What a figure shows of one case: maps [H,W] of the label, its valid and its corrupted pixels, and the losses by scheme."""

    label: NDArray[np.float32]
    mask: NDArray[np.bool_]
    noisy: NDArray[np.bool_]
    losses: dict[Scheme, NDArray[np.float32]]


def true_map(sample: Sample) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Return (disparity [h,w] over its median, mask [h,w]), at most `MAX_SIDE` a side; None where too little is valid or varies.

    Invalid pixels are 1.
    """
    stride = -(-max(sample.depth.shape) // MAX_SIDE)
    depth, mask = sample.depth[::stride, ::stride], sample.mask[::stride, ::stride]
    mask = mask & (depth > 0)
    if not mask.mean() > VALID_FRACTION:
        return None
    inverse = 1.0 / np.where(mask, depth, 1.0).astype(np.float64)
    disparity: NDArray[np.float32] = np.where(mask, inverse / np.median(inverse[mask]), 1.0).astype(np.float32)
    return (disparity, mask) if np.ptp(disparity[mask]) > 1e-3 else None


def corrupt_labels(
    disparity: NDArray[np.float32],
    mask: NDArray[np.bool_],
    case: tuple[Corruption, float],
    draws: int,
    seed: Sequence[int],
) -> Iterator[CorruptedLabel]:
    """Yield corrupted copies, one a draw (one in all where nothing is drawn); each draw depends on `seed` and itself alone."""
    kind, amount = case
    number = CASES.index(case) if case in CASES else len(CASES)
    for draw in range(draws if kind in RANDOM else 1):
        yield corrupt(kind, disparity, mask, amount, np.random.default_rng([*seed, number, draw]))


def losses(
    disparity: NDArray[np.float32], mask: NDArray[np.bool_], labels: Sequence[CorruptedLabel], device: torch.device
) -> dict[Scheme, NDArray[np.float32]]:
    """Return for each scheme the losses [draws,h,w], in MADs: those of the true map where nothing is normalized."""
    true = torch.from_numpy(disparity)[None].to(device)
    valid = torch.from_numpy(np.ascontiguousarray(mask))[None].to(device)
    label = torch.from_numpy(np.stack([made.label for made in labels])).to(device)
    scale = statistics(true, valid)[2]
    pred, label = (true / scale).expand_as(label).contiguous(), label / scale
    valid = valid.expand_as(label).contiguous()
    return {scheme: scheme.losses(pred, label, valid).cpu().numpy() for scheme in SCHEMES}


def measure(
    sample: Sample, dataset: str, draws: int, seed: int, device: torch.device, examples: dict[Any, Example] | None
) -> Iterator[Measurement]:
    """Yield the measurements of one image; none where `true_map` gives none. Fills `examples` (by case) where it is given.

    The draws of an image depend on `seed` and its name, not on which other images are analyzed.
    """
    found = true_map(sample)
    if found is None:
        return
    disparity, mask = found
    key = [seed, zlib.crc32(f"{dataset}/{sample.name}".encode())]
    for case in CASES:
        for first, made in _groups(corrupt_labels(disparity, mask, case, draws, key)):
            by_scheme = losses(disparity, mask, made, device)
            if examples is not None and first == 0:
                examples[case] = _example(made, mask, by_scheme)
            for at, one in enumerate(made):
                clean = mask & ~one.noisy
                if np.count_nonzero(clean) < MIN_PIXELS or (case[0] != "jitter" and not one.noisy.any()):
                    continue  # nothing to spread, or nothing to spread to
                fraction = float(one.noisy.sum() / mask.sum())
                for scheme, maps in by_scheme.items():
                    noisy = float(maps[at][one.noisy].mean(dtype=np.float64)) if one.noisy.any() else math.nan
                    loss = float(maps[at][clean].mean(dtype=np.float64))
                    yield Measurement(dataset, sample.name, first + at, *case, scheme, loss, noisy, fraction)


def _groups(made: Iterator[CorruptedLabel]) -> Iterator[tuple[int, list[CorruptedLabel]]]:
    """Yield (number of the first, following labels), `BATCH` at a time."""
    first = 0
    while group := list(islice(made, BATCH)):
        yield first, group
        first += len(group)


def summarize(measured: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return one row for each case and scheme, in their order: the mean over images of the mean over their draws.

    `std` is over all images and draws; `std_error` is that of the mean over images, as draws on one image are not
    independent (NaN with one image). `of_global`: the loss over that of global normalization; `below_global`: on which fraction
    of the same draws it is smaller (both NaN for jitter).
    """
    groups: dict[tuple[Any, ...], list[Measurement]] = {}
    for m in measured:
        groups.setdefault((m.corruption, m.amount, m.scheme), []).append(m)
    rows = []
    for case in CASES:
        jitter = case[0] == "jitter"
        reference, globally = math.nan, {}
        for scheme in SCHEMES:
            if not (mine := groups.get((*case, scheme))):
                continue
            by_image: dict[tuple[str, str], list[float]] = {}
            for m in mine:
                by_image.setdefault((m.dataset, m.image), []).append(m.clean)
            means = np.array([np.mean(values) for values in by_image.values()])
            clean, every = float(means.mean()), np.array([m.clean for m in mine])
            if scheme.normalization == "global":
                reference, globally = clean, {(m.dataset, m.image, m.draw): m.clean for m in mine}
            below = [m.clean < globally.get((m.dataset, m.image, m.draw), math.nan) for m in mine]
            rows.append(
                {
                    "corruption": case[0],
                    "amount": case[1],
                    "normalization": scheme.normalization,
                    "contexts": scheme.contexts,
                    "unit_scale": scheme.unit,
                    "clean_loss": clean,
                    "std_error": float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else math.nan,
                    "std": float(every.std(ddof=1)) if len(every) > 1 else math.nan,
                    "of_global": clean / reference if not jitter and reference > 0 else math.nan,
                    "below_global": math.nan if jitter else float(np.mean(below)),
                    "noisy_loss": float(np.mean([m.noisy for m in mine])),
                    "noisy_fraction": float(np.mean([m.noisy_fraction for m in mine])),
                    "images": len(means),
                    "n": len(mine),
                }
            )
    return rows


def _example(
    made: Sequence[CorruptedLabel], mask: NDArray[np.bool_], by_scheme: dict[Scheme, NDArray[np.float32]]
) -> Example:
    """The draw with the largest loss without normalization: one in the middle of the range of factors would show nothing."""
    raw = by_scheme[Scheme("none")]
    draw = int(np.argmax([loss.mean() for loss in raw]))
    return Example(made[draw].label, mask, made[draw].noisy, {s: maps[draw] for s, maps in by_scheme.items()})
