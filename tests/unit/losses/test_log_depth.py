"""Losses in the logarithm of depth: published values, a plain version, invariances, and what must not matter."""

from __future__ import annotations

import math

import pytest
import torch

from ccd_cli.losses.log_depth import log_gradient_loss, log_l1_loss, seen_maps, seen_pixels, silog_loss

GT = torch.tensor([[[1.0, 2, 4], [5, 8, 10]]])
PRED = torch.tensor([[[1.1, 1.8, 5.2], [5, 7, 12]]])
EVERYWHERE = torch.ones_like(GT, dtype=torch.bool)


def plain_silog(pred, truth, mask, focus):
    """The formula, map by map, in float64."""
    made = []
    for p, t, m in zip(pred.double(), truth.double(), mask, strict=True):
        d = [math.log(a) - math.log(b) for a, b, v in zip(p.ravel(), t.ravel(), m.ravel(), strict=True) if v]
        if d:
            made.append(math.sqrt(max(0.0, sum(x * x for x in d) / len(d) - focus * (sum(d) / len(d)) ** 2)))
    return sum(made) / len(made)


def maps(seed=0, batch=3, side=24):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(batch, side, side, generator=generator) * 9 + 0.5
    pred = truth * torch.exp(torch.randn(batch, side, side, generator=generator) * 0.2 + 0.3)
    return pred, truth, torch.rand(batch, side, side, generator=generator) < 0.6


def test_golden_values():
    """SILog .14432657 and RMSE log .152802 of the same pair as Marigold's script computes them (lambda 1 and 0)."""
    assert silog_loss(PRED, GT, EVERYWHERE, focus=1.0).item() == pytest.approx(0.14432657, abs=1e-6)
    assert silog_loss(PRED, GT, EVERYWHERE, focus=0.0).item() == pytest.approx(0.152802, abs=1e-6)
    d = (PRED.log() - GT.log())[0]
    assert log_l1_loss(PRED, GT, EVERYWHERE).item() == pytest.approx(d.abs().mean().item(), abs=1e-6)
    steps = (d[:, 1:] - d[:, :-1]).abs().sum() + (d[1:] - d[:-1]).abs().sum()
    assert log_gradient_loss(PRED, GT, EVERYWHERE, scales=1).item() == pytest.approx(steps.item() / 6, abs=1e-6)


@pytest.mark.parametrize("focus", [0.0, 0.5, 0.85, 1.0])
def test_silog_is_the_plain_formula(focus):
    pred, truth, mask = maps()
    mask[1] = False
    assert silog_loss(pred, truth, mask, focus).item() == pytest.approx(plain_silog(pred, truth, mask, focus), rel=1e-5)
    assert (seen_maps(truth, mask), seen_pixels(truth, mask)) == (2, mask.sum())


def test_a_scale_of_the_student_changes_what_it_must():
    pred, truth, mask = maps()
    free = [silog_loss(pred * k, truth, mask, 1.0).item() for k in (1, 7, 0.1)]
    assert free[1] == pytest.approx(free[0], rel=1e-4) and free[2] == pytest.approx(free[0], rel=1e-4)
    edges = [log_gradient_loss(pred * k, truth, mask).item() for k in (1, 7)]
    assert edges[1] == pytest.approx(edges[0], rel=1e-4)
    assert silog_loss(pred * 7, truth, mask, 0.5) > silog_loss(pred, truth, mask, 0.5) + 0.5
    exact = silog_loss(truth * 100, truth, mask, 1.0)
    assert exact.item() < 1e-5, "no digits are lost beside a large offset"


@pytest.mark.parametrize("loss", [silog_loss, log_l1_loss, log_gradient_loss])
def test_what_is_not_known_does_not_matter(loss):
    pred, truth, mask = maps()
    expected = loss(pred, truth, mask)
    wild_pred, wild_truth = pred.clone(), truth.clone()
    wild_pred[~mask] = math.nan
    wild_truth[~mask] = math.inf
    wild_pred.requires_grad_()
    made = loss(wild_pred, wild_truth, mask)
    made.backward()
    assert made.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.isfinite(wild_pred.grad).all() and not wild_pred.grad[~mask].any() and wild_pred.grad[mask].any()
    for value in (0.0, -1.0, math.nan, math.inf):  # no depth, although the mask says so
        holes = truth.clone()
        holes[:, ::3] = value
        fewer = mask.clone()
        fewer[:, ::3] = False
        assert loss(pred, holes, mask).item() == pytest.approx(loss(pred, truth, fewer).item(), rel=1e-6)


@pytest.mark.parametrize("loss", [silog_loss, log_l1_loss, log_gradient_loss])
def test_perfect_and_empty_maps_have_a_gradient_of_zero(loss):
    _, truth, mask = maps()
    for chosen in (mask, torch.zeros_like(mask)):
        student = truth.clone().requires_grad_()
        made = loss(student, truth, chosen)
        made.backward()
        assert made.item() == 0
        assert torch.isfinite(student.grad).all()


def test_a_student_at_zero_has_a_finite_loss():
    pred = torch.zeros_like(GT, requires_grad=True)
    made = silog_loss(pred, GT, EVERYWHERE)
    made.backward()
    assert torch.isfinite(made) and torch.isfinite(pred.grad).all()


def test_wrong_calls_are_refused():
    with pytest.raises(ValueError, match="focus"):
        silog_loss(PRED, GT, EVERYWHERE, 1.5)
    with pytest.raises(ValueError, match="one shape"):
        log_l1_loss(PRED, GT, EVERYWHERE[:, 1:])


def test_gradients_against_finite_differences():
    pred, truth, mask = (each[:1, :5, :5] for each in maps(4))
    for loss in (silog_loss, log_l1_loss, log_gradient_loss):
        student = pred.clone().requires_grad_()
        loss(student, truth, mask).backward()
        for y, x in ((0, 1), (2, 3), (4, 4)):
            step = torch.zeros_like(pred)
            step[0, y, x] = 1e-2
            slope = (loss(pred + step, truth, mask) - loss(pred - step, truth, mask)).item() / 2e-2
            assert student.grad[0, y, x].item() == pytest.approx(slope, abs=2e-3), (loss.__name__, y, x)
