"""Reduction, gradient matching, features, the scale anchor, drift, and what labels are worth."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from ccd_cli.losses.gradient import gradient_loss
from ccd_cli.losses.masks import flat_maps, saturated_mask
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.losses.terms import anchor_loss, drift, feature_loss, reduce_loss


def maps(shape: tuple[int, int, int] = (2, 19, 26), seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randn(shape, generator=generator).exp()
    return label + torch.rand(shape, generator=generator), label, torch.rand(shape, generator=generator) > 0.2


def test_reduce_is_the_mean_over_the_batch() -> None:
    loss, _, mask = maps()
    assert reduce_loss(loss, mask).item() == pytest.approx(loss[mask].double().mean().item(), rel=1e-6)


@pytest.mark.parametrize("fraction", [0.1, 0.37, 0.9])
def test_drop_worst_against_numpy(fraction: float) -> None:
    loss, _, mask = maps()
    retained = []
    for values, valid in zip(loss.double().numpy(), mask.numpy(), strict=True):
        inside = np.sort(values[valid])
        retained.append(inside[: len(inside) - int(len(inside) * fraction)])
    assert reduce_loss(loss, mask, fraction).item() == pytest.approx(np.concatenate(retained).mean(), rel=1e-6)


def test_drop_worst_shares_ties_and_stops_their_gradient() -> None:
    loss = torch.tensor([[[1.0, 2.0, 2.0, 2.0, 9.0]]], requires_grad=True)
    mask = torch.ones(1, 1, 5, dtype=torch.bool)
    reduced = reduce_loss(loss, mask, 0.4)  # keeps three: 1, 2, 2
    reduced.backward()
    assert reduced.item() == pytest.approx(5 / 3)
    assert loss.grad is not None
    assert torch.allclose(loss.grad[0, 0], torch.tensor([3.0, 2.0, 2.0, 2.0, 0.0]) / 9)
    with pytest.raises(ValueError, match="drop_worst"):
        reduce_loss(loss, mask, 1.0)


def test_reduce_of_nothing_is_a_zero_with_a_gradient() -> None:
    loss = torch.full((1, 3, 3), torch.nan, requires_grad=True)
    for fraction in (0.0, 0.1):
        reduced = reduce_loss(loss, torch.zeros(1, 3, 3, dtype=torch.bool), fraction)
        reduced.backward()
        assert reduced.item() == 0


def test_gradient_loss_against_loops() -> None:
    pred, label, mask = maps()
    residual = (normalize_map(pred, mask)[0] - normalize_map(label, mask)[0]).double()
    means, sums = [], []
    for stride in (1, 2, 4, 8):
        r, valid = residual[:, ::stride, ::stride], mask[:, ::stride, ::stride]
        steps = []
        for b in range(r.shape[0]):
            for y in range(r.shape[1]):
                for x in range(r.shape[2]):
                    for v, u in ((y, x + 1), (y + 1, x)):
                        if v < r.shape[1] and u < r.shape[2] and valid[b, y, x] and valid[b, v, u]:
                            steps.append(abs(r[b, v, u] - r[b, y, x]).item())
        means.append(sum(steps) / len(steps))
        sums.append(sum(steps) / int(valid.sum()))
    assert gradient_loss(pred, label, mask).item() == pytest.approx(sum(sums), rel=1e-5)
    assert gradient_loss(pred, label, mask, form="mean").item() == pytest.approx(sum(means) / 4, rel=1e-5)


def test_gradient_loss_ignores_scale_shift_and_invalid_pixels() -> None:
    pred, label, mask = maps()
    wanted = gradient_loss(pred, label, mask)
    assert gradient_loss(9 * pred - 5, label, mask).item() == pytest.approx(wanted.item(), rel=1e-5)
    holed = pred.masked_fill(~mask, torch.nan).requires_grad_()
    loss = gradient_loss(holed, label.masked_fill(~mask, torch.nan), mask)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item())
    assert holed.grad is not None and holed.grad.isfinite().all() and (holed.grad[~mask] == 0).all()


def test_gradient_loss_by_finite_differences_and_without_pairs() -> None:
    generator = torch.Generator().manual_seed(4)
    pred = torch.rand(1, 5, 6, generator=generator, dtype=torch.float64).requires_grad_()
    label = torch.rand(1, 5, 6, generator=generator, dtype=torch.float64)
    mask = torch.rand(1, 5, 6, generator=generator) > 0.1
    for form in ("sum", "mean"):
        loss = partial(gradient_loss, label=label, mask=mask, form=form)
        assert torch.autograd.gradcheck(loss, (pred,), eps=1e-8, atol=1e-4)
    lonely = gradient_loss(pred, label, torch.zeros_like(mask))
    lonely.backward()
    assert lonely.item() == 0 and pred.grad is not None and (pred.grad == 0).all()


def test_feature_loss_leaves_out_what_is_similar_enough() -> None:
    target = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    student = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]]], requires_grad=True)
    loss = feature_loss(student, target)
    loss.backward()
    assert loss.item() == pytest.approx((1 + 1 - math.sqrt(0.5)) / 2)
    assert student.grad is not None
    assert (student.grad[0, 0] == 0).all() and (student.grad[0, 1] != 0).any()
    done = feature_loss(target.clone().requires_grad_(), target)
    assert done.item() == 0 and done.requires_grad
    with pytest.raises(ValueError, match="disagree"):
        feature_loss(student, target[:, :2])


def test_anchor_pulls_the_scale_to_one() -> None:
    _, label, mask = maps()
    assert anchor_loss(label, label, mask).item() == pytest.approx(0, abs=1e-9)
    assert anchor_loss(3 * label, label, mask).item() == pytest.approx(math.log(3) ** 2, rel=2e-3)
    log_scale = torch.tensor(2.0, requires_grad=True)
    optimizer = torch.optim.SGD([log_scale], lr=0.2)
    for _ in range(40):
        optimizer.zero_grad()
        anchor_loss(log_scale.exp() * label + 11, label, mask).backward()
        optimizer.step()
    assert log_scale.exp().item() == pytest.approx(1, abs=1e-3)


def test_anchor_and_drift_are_finite_on_flat_maps() -> None:
    _, label, mask = maps()
    flat = torch.zeros_like(label).requires_grad_()
    loss = anchor_loss(flat, label, mask)
    loss.backward()
    assert loss.item() < 48 and flat.grad is not None and flat.grad.isfinite().all()
    assert drift(flat, label, mask).item() == pytest.approx(math.log(1e-6))
    useless = anchor_loss(label, torch.ones_like(label), mask)
    assert useless.item() == 0 and drift(label, torch.ones_like(label), mask).item() == 0


def test_drift_is_the_log_ratio_of_spreads() -> None:
    _, label, mask = maps()
    mask[1] = False  # a map without valid pixels does not count
    assert drift(20 * label + 3, label, mask).item() == pytest.approx(math.log(20), rel=1e-5)


def test_clipped_near_values_are_masked_and_sky_supervises() -> None:
    _, label, mask = maps((2, 20, 20))
    label = label.abs() + 0.1
    label[0, :5], label[1, :, :6] = 0.0, label.max() + 1
    wanted = mask.clone()
    wanted[1, :, :6] = False
    assert torch.equal(saturated_mask(label, mask), wanted), (
        "sky at 0 in the first map, clipped near values in the second"
    )
    assert torch.equal(saturated_mask(label, mask, far_limit=True), wanted), "infinite depth is no end of a range"
    assert torch.equal(saturated_mask(label + 1, mask), wanted), "disparity is known up to a shift"
    assert torch.equal(saturated_mask(label, mask, max_fraction=0.5), mask)
    assert not saturated_mask(torch.full_like(label, torch.nan), torch.zeros_like(mask)).any()


def test_the_far_end_of_a_range_is_masked_for_depth() -> None:
    _, label, mask = maps((2, 20, 20))
    label = label.abs() + 0.1
    label[0, :5] = 0.05  # a sensor that ends at 20 m
    wanted = mask.clone()
    wanted[0, :5] = False
    assert torch.equal(saturated_mask(label, mask, far_limit=True), wanted)
    assert torch.equal(saturated_mask(label, mask), mask)


def test_flat_maps_are_found() -> None:
    _, label, mask = maps((1, 20, 20))
    batch = torch.cat([label, 0 * label + 3, 1000 + 0.1 * label, label, torch.full_like(label, torch.nan)])
    masks = mask.repeat(5, 1, 1)
    masks[4] = False
    assert flat_maps(batch, masks).tolist() == [False, True, True, False, True]
    assert flat_maps(batch, masks, tolerance=1e-6).tolist() == [False, True, False, False, True]
