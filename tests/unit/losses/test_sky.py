"""What a student learns of sky: a plain version, what must not matter, one threshold for published networks and students."""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ccd_cli.losses.sky import SKY_THRESHOLD, is_sky, sky_loss
from tests.no_values import NoValues


def plain(score, sky, mask):
    """-ln of the probability of what is true, pixel by pixel, in float64."""
    chances = [
        1 / (1 + math.exp(-(s - 0.3))) if t else 1 - 1 / (1 + math.exp(-(s - 0.3)))
        for s, t, m in zip(score.double().ravel().tolist(), sky.ravel().tolist(), mask.ravel().tolist(), strict=True)
        if m
    ]
    return -sum(map(math.log, chances)) / len(chances)


def maps(seed=0, batch=3, side=16):
    generator = torch.Generator().manual_seed(seed)
    score, sky, mask = (torch.randn(batch, side, side, generator=generator) for _ in range(3))
    return score * 3, (sky > 0.5).float(), mask > -0.3


def test_it_is_the_plain_formula():
    score, sky, mask = maps()
    mask[1] = False
    assert sky_loss(score, sky, mask).item() == pytest.approx(plain(score, sky, mask), rel=1e-5)
    third = sky_loss(score[:1], sky[:1], mask[:1], mask.sum()) + sky_loss(score[2:], sky[2:], mask[2:], mask.sum())
    assert third.item() == pytest.approx(plain(score, sky, mask), rel=1e-5), "counted over all, parts add up"


def test_unknown_pixels_give_neither_loss_nor_gradient_and_large_scores_stay_finite():
    score, sky, mask = maps()
    wanted = sky_loss(score, sky, mask)
    bad = torch.where(mask, score, torch.nan).requires_grad_()
    got = sky_loss(bad, torch.where(mask, sky, torch.nan), mask)
    got.backward()
    assert got.item() == pytest.approx(wanted.item())
    assert (bad.grad[~mask] == 0).all() and (bad.grad[mask] != 0).all()
    nothing = sky_loss(bad, sky, torch.zeros_like(mask))
    assert nothing.item() == 0 and nothing.requires_grad
    assert sky_loss(score * 1e4, sky, mask).isfinite()


def test_half_a_chance_is_the_published_threshold_and_a_relu_changes_no_verdict():
    score = torch.tensor([[[-4.0, 0.0, 0.29, SKY_THRESHOLD, 0.31, 9.0]]])
    assert is_sky(score).tolist() == [[[False, False, False, True, True, True]]]
    assert torch.equal(is_sky(score.relu()), is_sky(score))
    assert torch.equal(torch.sigmoid(score - SKY_THRESHOLD) >= 0.5, is_sky(score))


def test_shapes_are_checked_and_the_device_is_asked_for_nothing():
    score, sky, mask = maps()
    with pytest.raises(ValueError, match="one shape"):
        sky_loss(score, sky[:1], mask)
    with NoValues() as device:
        made = sky_loss(*(each.to("meta") for each in (score, sky, mask)))
    assert made.device.type == "meta" and not device.transfers
    with FakeTensorMode():
        half = torch.rand(2, 8, 8, device="cuda", dtype=torch.bfloat16)
        assert sky_loss(half, torch.ones(2, 8, 8, device="cuda"), half > 0.5).dtype == torch.float32
