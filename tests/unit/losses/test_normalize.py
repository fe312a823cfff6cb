"""Median, MAD and the floor of a scale."""

import numpy as np
import pytest
import torch

from ccd_cli.losses.normalize import lower_median, normalize_map, ranked_values, scale_floor, statistics, unit_scale


def maps(seed: int = 0, shape: tuple[int, ...] = (3, 13, 17)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).exp(), torch.rand(shape, generator=generator) > 0.3


def test_statistics_against_numpy() -> None:
    d, mask = maps()
    median, mad, _ = statistics(d, mask)
    for i in range(len(d)):
        values = np.sort(d[i][mask[i]].double().numpy())
        middle = values[(len(values) - 1) // 2]
        assert median[i].item() == pytest.approx(middle)
        assert mad[i].item() == pytest.approx(np.abs(values - middle).sum() / (len(values) + 1), rel=1e-6)


def test_normalized_map_has_median_zero_and_invalid_zero() -> None:
    d, mask = maps()
    d[~mask] = torch.nan
    normalized, median, mad = normalize_map(d, mask)
    assert (normalized[~mask] == 0).all()
    for i in range(len(d)):
        assert lower_median(normalized[i][mask[i]]) == 0
    assert torch.allclose(normalized[mask], ((d - median[:, None, None]) / mad[:, None, None])[mask])


def test_normalized_map_ignores_scale_and_shift() -> None:
    d, mask = maps()
    assert torch.allclose(normalize_map(7.5 * d + 3, mask)[0], normalize_map(d, mask)[0], atol=1e-5)


def test_gradient_of_normalized_map_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    d = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 4, 5, generator=generator) > 0.2
    assert torch.autograd.gradcheck(lambda x: normalize_map(x, mask)[0], (d,), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e6])
def test_constant_map_is_left_unscaled(value: float) -> None:
    d = torch.full((1, 6, 6), value, requires_grad=True)
    normalized, _, mad = normalize_map(d, torch.ones(1, 6, 6, dtype=torch.bool))
    normalized.sum().backward()
    assert mad.item() == 0 and (normalized == 0).all()
    assert d.grad is not None and d.grad.isfinite().all() and d.grad.abs().max() < 100


def test_map_without_valid_pixels() -> None:
    d = torch.full((2, 4, 4), torch.nan, requires_grad=True)
    normalized, median, mad = normalize_map(d, torch.zeros(2, 4, 4, dtype=torch.bool))
    normalized.sum().backward()
    assert (normalized == 0).all() and (median == 0).all() and (mad == 0).all()
    assert d.grad is not None and (d.grad == 0).all()


def test_unit_scale_divides_without_shift() -> None:
    label, mask = maps()
    scaled = unit_scale(40 * label, mask)
    assert torch.allclose(statistics(scaled, mask)[1], torch.ones(3), atol=1e-5)
    assert torch.allclose(scaled, unit_scale(label, mask), rtol=1e-5)
    flat = torch.full((1, 3, 3), 2.0)
    assert torch.equal(unit_scale(flat, flat > 0), flat)


def test_floor_follows_the_range() -> None:
    low, high = torch.tensor([0.0, -10.0, 4.0]), torch.tensor([1.0, 10.0, 4.0])
    assert torch.allclose(scale_floor(low, high), torch.tensor([0.001, 0.02, 1.0]))


def test_ranked_values_are_those_of_a_full_sort() -> None:
    values = torch.cat([torch.rand(40), 1 + torch.rand(1), 2 + torch.rand(90)])
    ranks = [0, 3, 39, 40, 41, 100, 130, 100]
    found = ranked_values(values, [(0, 40), (40, 41), (41, 131)], ranks)
    assert torch.equal(torch.stack(found), values.sort().values[ranks])
