"""Learning rates and the running mean of weights."""

import copy

import pytest
import torch
from torch import nn

from ccd_cli.distill.optimizer import learning_rate_scale, make_optimizer, set_learning_rate, update_ema


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule_warms_up_and_falls(schedule):
    scales = [learning_rate_scale(step, 1000, 50, schedule, 0.1) for step in range(1, 1001)]
    assert all(b > a for a, b in zip(scales[:50], scales[1:51], strict=True))
    assert scales[50] == pytest.approx(1.0)
    assert max(scales) <= 1.0
    if schedule == "constant":
        assert scales[-1] == 1.0
    else:
        assert all(b < a for a, b in zip(scales[50:], scales[51:], strict=False))
        assert scales[-1] == pytest.approx(0.1, abs=2e-3)


def test_warmup_is_at_most_a_tenth():
    assert learning_rate_scale(4, 30, 500, "constant", 0.0) == 1.0
    assert learning_rate_scale(1, 3, 500, "constant", 0.0) == 1.0


def test_parts_have_their_own_rates_and_vectors_are_not_decayed():
    head, encoder = nn.Linear(3, 2), nn.Linear(4, 3)
    encoder.bias.requires_grad_(False)
    optimizer = make_optimizer(head.parameters(), encoder.parameters(), 1e-2, 1e-3, 0.1)
    rows = [(g["base_lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups]
    assert rows == [(1e-2, 0.1, 1), (1e-2, 0.0, 1), (1e-3, 0.1, 1)]
    assert set_learning_rate(optimizer, 0.5) == 5e-3
    assert [g["lr"] for g in optimizer.param_groups] == [5e-3, 5e-3, 5e-4]


def test_running_mean_against_the_formula():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    mean = copy.deepcopy(model)
    want = model[0].weight.detach().clone()
    for step in range(1, 40):
        with torch.no_grad():
            model[0].weight.add_(1.0)
        model(torch.randn(4, 2))
        update_ema(mean, model, 0.9, step)
        decay = min(0.9, (1 + step) / (10 + step))
        want = decay * want + (1 - decay) * model[0].weight.detach()
    assert torch.allclose(mean[0].weight, want, atol=1e-5)
    assert mean[1].num_batches_tracked == 39
