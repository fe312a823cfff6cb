"""Noise put on labels on purpose."""

import numpy as np
import pytest
import torch

from ccd_cli.config.load import check_recipe
from ccd_cli.core.errors import RecipeError
from ccd_cli.data.corruptions import boundaries, corrupt_labels, replace_wrong, rescale
from ccd_cli.losses.terms import normalized_l1


@pytest.fixture
def maps():
    """Two ramps with a step in the middle, and where they are valid."""
    values = torch.linspace(1, 1.5, 60).repeat(2, 60, 1)
    values[:, :, 30:] += 2
    valid = torch.ones_like(values, dtype=torch.bool)
    valid[:, :5] = False
    return values, valid


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_outliers_spoil_a_rectangle_of_the_given_share_and_leave_the_rest_untouched(maps, share):
    values, _ = maps
    noisy = corrupt_labels(values, torch.ones_like(values, dtype=torch.bool), 3, outliers=share)
    for one, true in zip(noisy, values, strict=True):
        rows, columns = np.nonzero((one != true).numpy())
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height == width == round(60 * share**0.5)  # the share, as near as whole pixels come
        assert len(rows) == height * width
        factor = (one / true)[rows, columns]
        assert 0.2 <= factor.min() < 0.6
        assert 3.6 < factor.max() <= 4.0
    assert (noisy[0] != noisy[1]).any()


def test_blur_smears_boundaries_within_its_radius_and_nothing_else(maps):
    values, valid = maps
    noisy = corrupt_labels(values, valid, 0, blur=3)
    columns = np.nonzero((noisy != values)[0].any(0).numpy())[0]
    edge = np.nonzero(boundaries(values[0].numpy(), valid[0].numpy()).any(0))[0]
    assert list(edge) == [29, 30]
    assert columns.min() >= 29 - 3
    assert columns.max() <= 30 + 3
    assert noisy[0, 30, 28:32].diff().max() < values[0, 30, 28:32].diff().max() / 2
    assert torch.equal(noisy[:, :5], values[:, :5])


def test_the_seed_alone_decides_and_invalid_pixels_keep_what_they_held(maps):
    values, valid = maps
    values[:, :5] = torch.nan
    first, again, other = (corrupt_labels(values, valid, seed, 0.3, 1) for seed in (1, 1, 2))
    assert torch.equal(first[valid], again[valid])
    assert not torch.equal(first[valid], other[valid])
    assert first[~valid].isnan().all()
    assert first[valid].isfinite().all()
    assert corrupt_labels(values, valid, 1) is values
    assert rescale(values, 1) is values


def test_jitter_gives_every_label_a_unit_of_its_own(maps):
    values, _ = maps
    many = values[:1].repeat(2000, 1, 1)
    made = rescale(many, 5, scale=0.7, shift=0.5)
    factor = (made[:, 0, 59] - made[:, 0, 0]) / (values[0, 0, 59] - values[0, 0, 0])
    shift = made[:, 0, 0] - factor * values[0, 0, 0]
    assert factor.log().abs().max() == pytest.approx(0.7, abs=0.01)
    assert factor.log().mean() == pytest.approx(0, abs=0.03)
    assert shift.abs().max() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(made, rescale(many, 5, 0.7, 0.5))


@pytest.mark.parametrize("normalization", ["global", "hybrid", "local", "none"])
def test_jitter_reaches_only_the_loss_without_normalization(maps, normalization):
    values, valid = maps
    student = torch.rand(values.shape, generator=torch.Generator().manual_seed(0))
    before, after = (
        normalized_l1(student, label, valid, normalization) for label in (values, rescale(values, 2, 0.7, 0.5))
    )
    same = torch.allclose(before, after, atol=1e-3)
    assert same == (normalization != "none")


def test_a_recipe_with_noise_is_checked():
    raw = {"name": "noisy", "images": {"scenes": {}}, "student": {"arch": "depth-anything-v2-small"}}
    entry = {"model": "ground-truth", "noise": {"outliers": 0.2, "blur": 1, "scale_jitter": 0.7}}
    assert check_recipe({**raw, "teachers": [entry]}, "test").teachers[0].noise.outliers == 0.2
    with pytest.raises(RecipeError) as wrong:
        check_recipe({**raw, "teachers": [{"model": "ground-truth", "noise": {"outliers": 1.0, "blurr": 1}}]}, "test")
    assert {path for path, _ in wrong.value.problems} == {"teachers.0.noise.outliers", "teachers.0.noise.blurr"}
    with pytest.raises(RecipeError) as wrong:
        check_recipe({**raw, "teachers": [entry, "builtin:tiny"], "mixing": "average"}, "test")
    assert [path for path, _ in wrong.value.problems] == ["teachers.0.noise.scale_jitter"]


@pytest.mark.parametrize("over", [0.0, 0.2, 0.4])
def test_errors_of_a_network_replace_the_label_where_it_is_wrong(over):
    generator = torch.Generator().manual_seed(2)
    truth = torch.rand(2, 20, 30, generator=generator) + 0.5
    valid = torch.rand(truth.shape, generator=generator) > 0.1
    predicted = 7 * truth + 3  # of another scale and shift
    predicted[:, 4:9, 6:12] *= 1.6  # and wrong in a rectangle
    found = replace_wrong(torch.where(valid, truth, 0.0), valid, predicted, over)
    for i in range(2):  # the plain version: a fit by least squares, then pixel by pixel
        mine = valid[i].numpy()
        t, p = truth[i].numpy().astype(float), predicted[i].numpy().astype(float)
        scale, shift = np.polyfit(p[mine], t[mine], 1)
        fitted = np.maximum(scale * p + shift, 1e-3 * t[mine].mean())
        wrong = mine & (np.abs(fitted - t) > over * t)
        want = np.where(wrong, fitted, np.where(mine, t, 0))
        np.testing.assert_allclose(found[i].numpy(), want, rtol=2e-4, atol=1e-5)
        assert 0 < wrong.sum() < mine.sum() or over == 0
    assert torch.equal(replace_wrong(truth, valid, 5 * truth - 1, 0.01), truth)  # nothing is wrong in it
    holes = predicted.clone()
    holes[:, 0] = torch.nan
    made = replace_wrong(truth, valid, holes, 0.0)
    assert (
        torch.equal(made[:, 0], truth[:, 0])
        and torch.isfinite(made).all()
        and not torch.equal(made[:, 1:], truth[:, 1:])
    )


def test_a_flat_map_has_no_fit_and_stands_for_the_mean():
    truth = torch.rand(1, 8, 8) + 1
    found = replace_wrong(truth, torch.ones(1, 8, 8, dtype=torch.bool), torch.full((1, 8, 8), 4.0), 0.0)
    assert torch.allclose(found, truth.mean().expand_as(truth))
