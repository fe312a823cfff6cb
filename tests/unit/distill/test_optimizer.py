"""Learning rates, one step, and the EMA of weights."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ccd_cli.core.errors import UsageProblem
from ccd_cli.distill.optimizer import (
    Schedule,
    encoder_rates,
    finish_gradients,
    make_optimizer,
    optimizer_step,
    restore_buffers,
    set_learning_rate,
    snapshot_buffers,
    update_ema,
)
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule_warms_up_and_falls(schedule):
    scales = [Schedule(1000, 50, schedule, 0.1)(step) for step in range(1, 1001)]
    assert all(b > a for a, b in zip(scales[:50], scales[1:51], strict=True))
    assert scales[50] == pytest.approx(1.0)
    assert max(scales) <= 1.0
    if schedule == "constant":
        assert scales[-1] == 1.0
    else:
        assert all(b < a for a, b in zip(scales[50:], scales[51:], strict=False))
        assert scales[-1] == pytest.approx(0.1, abs=2e-3)


def test_warmup_is_at_most_a_tenth():
    assert Schedule(30, 500, "constant")(4) == 1.0
    assert Schedule(3, 500, "constant")(1) == 1.0


def test_parts_have_their_own_rates_and_vectors_are_not_decayed():
    head, encoder = nn.Linear(3, 2), nn.Linear(4, 3)
    encoder.bias.requires_grad_(False)
    optimizer = make_optimizer([(head.parameters(), 1e-2), (encoder.parameters(), 1e-3)], 0.1)
    rows = [(g["base_lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups]
    assert rows == [(1e-2, 0.1, 1), (1e-2, 0.0, 1), (1e-3, 0.1, 1)]
    assert set_learning_rate(optimizer, 0.5) == 5e-3
    assert [g["lr"] for g in optimizer.param_groups] == [5e-3, 5e-3, 5e-4]


def test_ema_against_the_formula():
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


@pytest.fixture
def state():
    """What `optimizer_step` needs of a training state."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return SimpleNamespace(
        student=model,
        optimizer=make_optimizer([(model.parameters(), 0.1)], 0.0),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )


def test_one_step_returns_the_norm_before_clipping_and_clears_the_gradients(state):
    before = copy.deepcopy(state.student)
    for parameter in state.student.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    norm = finish_gradients(state, 1.0)
    assert sum(p.grad.square().sum() for p in state.student.parameters()).sqrt().item() == pytest.approx(1.0, rel=1e-5)
    assert optimizer_step(state, 1.0, norm.item()) == pytest.approx(2 * math.sqrt(8))
    assert all(p.grad is None for p in state.student.parameters())
    for old, new in zip(before.parameters(), state.student.parameters(), strict=True):
        assert torch.allclose(old - new, torch.tensor(0.1), atol=1e-4)  # AdamW: the first step has the size of the rate


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, -math.inf)])
def test_a_step_that_is_not_finite_changes_no_weight_and_no_moment(state, loss, gradient):
    before = copy.deepcopy((state.student.state_dict(), state.optimizer.state_dict()))
    for parameter in state.student.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    assert optimizer_step(state, loss, finish_gradients(state, 0.0).item()) is None
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), state.student.state_dict().values(), strict=True))
    assert state.optimizer.state_dict() == before[1]
    assert all(p.grad is None for p in state.student.parameters())


def test_buffers_go_back_to_their_snapshot():
    network = nn.BatchNorm1d(2)
    buffers = snapshot_buffers(network)
    network(torch.randn(4, 2))
    assert network.num_batches_tracked == 1
    restore_buffers(network, buffers)
    assert network.num_batches_tracked == 0
    assert torch.equal(network.running_mean, torch.zeros(2))


@pytest.mark.parametrize("encoder", ["test_vit", "mobilenetv4_conv_small"])
def test_earlier_layers_of_an_encoder_have_lower_rates(encoder):
    network = DepthNet(timm_arch(encoder, features=16)).encoder
    parts = encoder_rates(network, 1e-3, 0.5)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    rates = {names[id(parameter)]: rate for parameters, rate in parts for parameter in parameters}
    assert set(rates) == {name for name, _ in network.named_parameters()}, "each parameter once"
    blocks = sorted({int(name.split(".")[1]) for name in rates if name.startswith("blocks.")})
    for name, rate in rates.items():
        layer = int(name.split(".")[1]) if name.startswith("blocks.") else None
        wanted = blocks[-1] if name.startswith(("norm", "fc_norm")) else blocks[0] if layer is None else layer
        assert rate == 1e-3 * 0.5 ** (blocks[-1] - wanted), name
    assert len({rate for _, rate in parts}) == len(blocks) > 1
    assert [rate for _, rate in encoder_rates(network, 1e-3, 1.0)] == [1e-3]


@pytest.mark.parametrize(
    ("encoder", "first", "last", "count"), [("regnety_002", "stem.", "s4.", 5), ("resnet18", "conv1", "layer4.", 4)]
)
def test_levels_are_layers_where_names_do_not_number_them(encoder, first, last, count):
    network = DepthNet(timm_arch(encoder, features=16)).encoder
    parts = encoder_rates(network, 1.0, 0.5)
    rates = {id(parameter): rate for parameters, rate in parts for parameter in parameters}
    assert sorted({rate for _, rate in parts}) == [0.5**i for i in reversed(range(count))]
    for name, parameter in network.named_parameters():
        if name.startswith((first, last)):
            assert rates[id(parameter)] == (1.0 if name.startswith(last) else 0.5 ** (count - 1)), name


def test_an_encoder_without_layers_has_no_decay_by_layer():
    with pytest.raises(UsageProblem, match="no layers that ccd knows"):
        encoder_rates(nn.Sequential(nn.Linear(2, 2)), 1.0, 0.5)
