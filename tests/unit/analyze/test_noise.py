"""What noise costs: against a slow plain version, on scenes, and against the trial that it repeats."""

from __future__ import annotations

import json
import math
from functools import cache

import numpy as np
import pytest
import torch
import yaml

from ccd_cli.analyze.noise import BATCH, CASES, SCHEMES, Measurement, Scheme, losses, measure, summarize, true_map
from ccd_cli.benchmarks import Sample
from ccd_cli.benchmarks.generated import GeneratedSet
from ccd_cli.data.corruptions import CorruptedLabel

CPU = torch.device("cpu")
GLOBAL, RANGE, NONE, UNIT = Scheme("global"), Scheme("hybrid", "range"), Scheme("none"), Scheme("none", unit=True)


def plain_loss(scheme: Scheme, pred: np.ndarray, label: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The loss of each pixel in the most literal way, float64, in MADs of `pred`."""

    def mad(values):
        middle = np.sort(values)[(len(values) - 1) // 2]
        return middle, np.abs(values - middle).sum() / (len(values) + 1)

    pred, label = pred.astype(np.float64), label.astype(np.float64)
    if scheme.normalization == "none":
        own, other = mad(pred[mask])[1], mad(label[mask])[1]
        return np.where(mask, np.abs(pred / own - label / (other if scheme.unit else own)), 0)
    levels = {"global": [1], "hybrid": [1, 2, 4], "local": [4]}[scheme.normalization]
    total, count = np.zeros(mask.shape), np.zeros(mask.shape)
    low, high = label[mask].min(), label[mask].max()
    rows, columns = np.indices(mask.shape)
    for level in levels:
        if scheme.contexts == "grid":
            ids = rows * level // mask.shape[0] * level + columns * level // mask.shape[1]
        else:
            shares = np.arange(1, level) / level
            edges = low + (high - low) * shares if scheme.contexts == "range" else np.quantile(label[mask], shares)
            ids = sum((label >= edge).astype(int) for edge in edges) if level > 1 else np.zeros(mask.shape, int)
        for number in np.unique(ids):
            inside = mask & (ids == number)
            if inside.sum() < 16:
                continue
            normalized = []
            for values in (pred, label):
                middle, spread = mad(values[inside])
                spread = max(spread, 1e-3 * np.ptp(values[mask]))
                normalized.append((values[inside] - middle) / spread)
            total[inside] += np.abs(normalized[0] - normalized[1])
            count[inside] += 1
    return total / np.maximum(count, 1)


@cache
def scene(index: int) -> Sample:
    return GeneratedSet().read(index)


def measured(index: int = 0, draws: int = 1, seed: int = 0) -> list[Measurement]:
    return list(measure(scene(index), "builtin", draws, seed, CPU, None))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_losses_equal_a_slow_plain_version(scheme):
    rng = np.random.default_rng(0)
    pred = (1 + rng.random((24, 33)).cumsum(0) / 8).astype(np.float32)
    mask = rng.random(pred.shape) > 0.15
    label, noisy = pred.copy(), np.zeros_like(mask)
    noisy[5:15, 6:20] = True
    label[noisy] *= rng.uniform(0.2, 4, noisy.sum()).astype(np.float32)
    found = losses(pred, mask, [CorruptedLabel(label, noisy)], CPU)[scheme][0]
    np.testing.assert_allclose(found, plain_loss(scheme, pred, label, mask), atol=2e-4)
    assert scheme.normalization == "none" or found[mask & ~noisy].mean() > 0.01


def test_a_label_without_noise_costs_nothing():
    disparity, mask = true_map(scene(0))
    found = losses(disparity, mask, [CorruptedLabel(disparity.copy(), np.zeros_like(mask))], CPU)
    assert all(maps.max() == 0 for maps in found.values())


def test_global_spreads_outliers_more_than_hybrid_by_range_and_local_least():
    rows = summarize([m for i in range(3) for m in measured(i)])
    for amount in (0.05, 0.2):
        cost = {
            (r["normalization"], r["contexts"]): r["clean_loss"]
            for r in rows
            if (r["corruption"], r["amount"], r["unit_scale"]) == ("outliers", amount, False)
        }
        assert cost["global", None] > 1.05 * cost["hybrid", "range"] > 1.05 * cost["local", "range"] > 0
        assert cost["none", None] == 0


def test_none_spreads_nothing_and_breaks_where_scales_differ():
    found = measured(draws=3)
    for case in CASES:
        mine = [m for m in found if (m.corruption, m.amount) == case]
        raw = np.mean([m.clean for m in mine if m.scheme == NONE])
        normalized = [m.clean for m in mine if m.scheme.normalization != "none"]
        unit = np.mean([m.clean for m in mine if m.scheme == UNIT])
        if case[0] == "jitter":
            assert raw > 0.1 and max(normalized) < 1e-4 and unit < 1e-4
        else:
            assert raw == 0 and min(normalized) > 1e-4 and unit > 1e-4


def test_draws_depend_on_seed_and_image_alone():
    count = BATCH + 2
    first, more, other = measured(draws=1), measured(draws=count), measured(draws=1, seed=1)
    kept = [m for m in more if m.draw == 0]
    assert all((a.clean, a.noisy_fraction) == (b.clean, b.noisy_fraction) for a, b in zip(first, kept, strict=True))
    mine = [m for m in more if (m.corruption, m.amount, m.scheme) == ("outliers", 0.05, GLOBAL)]
    assert len({m.clean for m in mine}) == count and [m.draw for m in mine] == list(range(count))
    drawn = [
        (a.clean, b.clean) for a, b in zip(first, other, strict=True) if (a.corruption, a.scheme) == ("affine", RANGE)
    ]
    assert all(a != b for a, b in drawn)


def test_noise_shares_are_those_asked_for():
    for m in measured(draws=3):
        if m.scheme == GLOBAL and m.corruption in ("outliers", "affine"):
            assert 0.3 * m.amount < m.noisy_fraction < 1.7 * m.amount  # of the valid pixels
        if m.corruption == "jitter":
            assert m.noisy_fraction == 0 and math.isnan(m.noisy)


def sample(depth: np.ndarray) -> Sample:
    mask = np.isfinite(depth)
    return Sample("a", np.zeros((*depth.shape, 3), np.uint8), depth.astype(np.float32), mask)


def test_which_maps_are_looked_at():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (300, 400))
    disparity, mask = true_map(sample(depth))
    assert disparity.shape == (150, 200) and mask.all() and disparity.dtype == np.float32
    np.testing.assert_allclose(np.median(disparity), 1, rtol=1e-3)
    np.testing.assert_allclose(disparity * depth[::2, ::2], disparity[0, 0] * depth[0, 0], rtol=1e-5)
    assert true_map(sample(np.where(rng.random(depth.shape) < 0.39, depth, np.nan))) is None
    assert true_map(sample(np.where(rng.random(depth.shape) < 0.45, depth, np.nan))) is not None
    assert true_map(sample(np.full((50, 50), 2.0))) is None


def test_rows_average_draws_before_images():
    made = [
        Measurement("set", image, draw, "outliers", 0.05, scheme, value * (2 if scheme == GLOBAL else 1), 1.0, 0.05)
        for scheme in (GLOBAL, RANGE)
        for image, draw, value in (("a", 0, 1.0), ("a", 1, 3.0), ("b", 0, 6.0))
    ]
    whole, hybrid = summarize(made)
    assert whole["clean_loss"] == 8 and hybrid["clean_loss"] == 4 and hybrid["of_global"] == 0.5
    assert hybrid["below_global"] == 1 and whole["below_global"] == 0
    assert hybrid["images"] == 2 and hybrid["n"] == 3
    assert hybrid["std_error"] == pytest.approx(np.std([2, 6], ddof=1) / 2**0.5)
    assert hybrid["std"] == pytest.approx(np.std([1, 3, 6], ddof=1))
    assert math.isnan(summarize(made[:1])[0]["std_error"])


TRIAL = {  # corruption, share: global; hybrid by range, by quantile; local by range, by quantile
    ("outliers", 0.05): (0.201, 0.117, 0.185, 0.064, 0.152),
    ("affine", 0.05): (0.208, 0.130, 0.170, 0.073, 0.119),
    ("outliers", 0.2): (0.520, 0.358, 0.425, 0.214, 0.362),
    ("affine", 0.2): (0.581, 0.399, 0.420, 0.215, 0.319),
}


@pytest.mark.shared
def test_a_trial_on_real_pairs_is_repeated(shared, tmp_path):
    """Other random rectangles on the same pairs: every number within 0.04 of the one printed, most within 0.02."""
    from ccd_cli.benchmarks import open_suite

    root = shared / "data" / "real"
    sets = [
        {
            "name": p["id"],
            "root": str(root),
            "image": p["rgb"],
            "depth": p["gt"],
            "kind": p["gt_kind"],
            "divisor": p["gt_scale"],
        }
        for p in json.loads((root / "index.json").read_text())["pairs"]
    ]
    suite = tmp_path / "real.yaml"
    suite.write_text(yaml.safe_dump({"sets": sets}))
    found: list[Measurement] = []
    for benchmark in open_suite(str(suite), tmp_path)[0]:
        found += measure(benchmark.read(0), benchmark.spec.name, 3, 0, CPU, None)
    assert len({m.dataset for m in found}) == 16
    cost = {
        (r["corruption"], r["amount"], r["normalization"], r["contexts"]): r["clean_loss"]
        for r in summarize(found)
        if not r["unit_scale"]
    }
    columns = (("global", None), ("hybrid", "range"), ("hybrid", "quantile"), ("local", "range"), ("local", "quantile"))
    away = [
        abs(cost[(*case, *c)] - value) for case, row in TRIAL.items() for c, value in zip(columns, row, strict=True)
    ]
    assert max(away) < 0.04 and np.median(away) < 0.02, away
    assert all(cost[(*case, "none", None)] == 0 for case in TRIAL)
