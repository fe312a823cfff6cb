"""A whole training step on devices that hold no values: a tensor left on the CPU, or a wait for a GPU, fails here."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from ccd_cli.config.common import Noise
from ccd_cli.config.distill import Loss
from ccd_cli.core.compute import Compute
from ccd_cli.data.batch import Batch, StudentViews, TeacherViews
from ccd_cli.distill.metrics_log import StepMetrics
from ccd_cli.distill.optimizer import finish_gradients, make_optimizer, snapshot_buffers, update_ema
from ccd_cli.distill.state import TrainState
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.members import DepthUnit, Filler, Member
from ccd_cli.distill.teaching.precomputed import ground_truth
from ccd_cli.losses.distillation import distillation_loss, whole_batch
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.teachers.adapters.native import NativeTeacher
from tests.no_values import NoValues
from tests.unit.losses.test_segments import Counter

SIZE, IMAGES, PATCHES = 64, 2, 2
NORMALIZATIONS = ("global", "hybrid", "local", "none")


def ensemble(device, mixing, precision="fp32", noise=None, sky=False):
    members = []
    for kind, encoder in (("disparity", "mobilenetv4_conv_small"), ("depth", "test_vit")):
        network = DepthNet(timm_arch(encoder, features=16, kind=kind, sky=sky)).to(device)
        members.append(Member(NativeTeacher(network, kind, precision=precision), 0.5, noise=noise or Noise(), sky=sky))
    return TeacherEnsemble(members, mixing)


def batch(device):
    def pixels(*shape):
        return torch.zeros(*shape, 3, SIZE, SIZE, dtype=torch.uint8, device=device)

    views = StudentViews(pixels(IMAGES), pixels(IMAGES))
    teacher = TeacherViews(pixels(IMAGES), pixels(IMAGES, PATCHES))
    return Batch(teacher, views, torch.zeros(IMAGES, PATCHES, 3, device=device), {}, [])


def training(device, sky=False):
    student = DepthNet(timm_arch("mobilenetv4_conv_small", features=16, sky=sky)).to(device).train()
    return TrainState(
        student=student,
        ema=copy.deepcopy(student).eval().requires_grad_(False),
        projection=None,
        optimizer=make_optimizer([(student.head_parameters(), 1e-3), (student.encoder_parameters(), 1e-3)], 0.01),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        guard=SimpleNamespace(),
    )


def config(normalization):
    context = {"normalization": normalization}
    values = {"shared": context, "local_global": context, "anchor": {"weight": 0.1}, "drop_worst": 0.1}
    return Loss.model_validate({**values, "feature": {"weight": 0.0}})


def step(state, teachers, rule, index, device, accumulate=2):
    """What `train` does up to where it asks the device for numbers."""
    metrics = StepMetrics(Compute("cpu", "fp32"), accumulate)
    snapshot_buffers(state.student)
    parts = [(each, teachers.label(each, index, False, 7)) for each in [batch(device) for _ in range(accumulate)]]
    whole = whole_batch([labels for _, labels in parts], rule, lambda mean: mean)
    for each, labels in parts:
        losses = distillation_loss(state.predict(each.student), labels, each.boxes, rule, whole)
        (losses["loss"] / accumulate).backward()
        metrics.add(losses)
    norm = finish_gradients(state, 1.0)
    update_ema(state.ema, state.student, 0.99, 1)
    return norm, metrics


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("mixing", ["select", "average"])
def test_a_step_asks_the_device_for_nothing(normalization, mixing):
    state, teachers = training("meta"), ensemble("meta", mixing)
    index = -1 if mixing == "average" else 1
    with Counter() as counter:
        norm, metrics = step(state, teachers, config(normalization), index, "meta")
    assert counter.waits == []
    assert norm.device.type == "meta"
    assert {value.device.type for value in metrics._sums.values()} == {"meta"}
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    assert sum(p.grad is not None for p in trained) > 0.9 * len(trained)


def test_a_step_that_learns_sky_asks_for_nothing_either():
    state, teachers = training("meta", sky=True), ensemble("meta", "select", sky=True)
    with Counter() as counter, NoValues() as device:
        _, metrics = step(
            state, teachers, Loss.model_validate({"feature": {"weight": 0.0}, "sky": {"weight": 1.0}}), 1, "meta"
        )
    assert counter.waits == [] and device.transfers == device.blocking == [] and "sky" in metrics._sums
    assert all(p.grad is not None for p in state.student.head.sky.parameters())


def test_ground_truth_that_is_filled_asks_the_device_for_nothing():
    """Meters for a camera of any focal length: completion, weights and depth losses included."""
    device, arch = "meta", timm_arch("mobilenetv4_conv_small", features=16, kind="depth", activation="exp")
    state = training(device)
    state.student = DepthNet(arch).to(device).train()
    state.ema = copy.deepcopy(state.student)
    parameters = [(state.student.head_parameters(), 1e-3), (state.student.encoder_parameters(), 1e-3)]
    state.optimizer = make_optimizer(parameters, 0.01)
    network = DepthNet(timm_arch("mobilenetv4_conv_small", features=16)).to(device)
    filler = Filler(NativeTeacher(network, "filler"), 0.5, 50, 0.2)
    member = Member(ground_truth(), 1.0, noise=Noise(missing=0.5), fill=filler, full_weight_to=5.0)
    teachers = TeacherEnsemble([member], depth=DepthUnit(True, 300.0))
    maps = (torch.zeros(IMAGES, SIZE, SIZE, device=device), torch.zeros(IMAGES, PATCHES, SIZE, SIZE, device=device))
    rule = Loss.model_validate({"depth": {"weight": 1.0, "l1": 0.5}, "feature": {"weight": 0.0}})
    whole = replace(batch(device), precomputed={0: TeacherViews(*maps)}, focal=torch.zeros(IMAGES, device=device))
    with Counter() as counter:
        labels = teachers.label(whole, 0, False, 7)
        losses = distillation_loss(state.predict(whole.student), labels, whole.boxes, rule)
        losses["loss"].backward()
        finish_gradients(state, 1.0)
    assert counter.waits == []
    assert {"depth", "filled", "fit_error", "fit_refused"} <= set(losses)
    assert {value.device.type for value in losses.values()} == {"meta"}


class OneRead(TorchFunctionMode):
    """Counts what brings values to the host."""

    def __init__(self):
        super().__init__()
        self.reads = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "nonzero"):
            self.reads.append(name)
        return func(*args, **(kwargs or {}))


def test_the_numbers_of_a_step_are_read_at_once():
    metrics = StepMetrics(Compute("cpu", "fp32"), 2)
    for _ in range(2):
        metrics.add({"loss": torch.ones(()), "drift": torch.zeros(())})
    with OneRead() as read:
        metrics.reduce(torch.ones(()), False, 0)
    assert read.reads == ["tolist"]


def test_a_step_crosses_to_the_host_once():
    """From labels to the numbers of the log, with the conversion to float64 that a sum of them needs."""
    state, teachers = training("meta"), ensemble("meta", "average")
    with NoValues() as device:
        norm, metrics = step(state, teachers, config("hybrid"), -1, "meta")
        assert device.transfers == device.blocking == []
        metrics.compute, names = Compute("meta", "fp32"), list(metrics._sums)
        found, events = metrics.reduce(norm, False, 0)
    assert device.transfers == [((len(names) + 3,), torch.float64)] and device.blocking == []
    assert list(found) == names and events.gradient_norm == device.fill


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_under_autocast_the_networks_run_in_half_and_the_loss_in_float32(normalization):
    state, teachers, each = training("cpu"), ensemble("cpu", "select", "bf16"), batch("cpu")
    seen = []
    for network in (state.student, teachers.members[0].teacher.model):
        convolution = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
        convolution.register_forward_hook(lambda _, __, made: seen.append(made.dtype))
    each.student.shared.random_(0, 255)
    labels = teachers.label(each, 0, False, 7)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = state.predict(each.student)
    whole = whole_batch([labels, labels], config(normalization), lambda mean: mean)
    losses = distillation_loss(prediction, labels, each.boxes, config(normalization), whole)
    assert set(seen) == {torch.bfloat16}
    assert labels.shared.values.dtype == torch.float32
    assert {value.dtype for value in losses.values()} == {torch.float32}
    losses["loss"].backward()
    assert {p.grad.dtype for p in state.student.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize("wrong", ["item", "cpu"])
def test_what_these_tests_are_for_is_found(wrong, monkeypatch):
    """A read-back, and a tensor of the CPU, put into the step on purpose."""
    state, teachers = training("meta"), ensemble("meta", "select")
    real = TrainState.predict

    def broken(self, views):
        made = real(self, views)
        if wrong == "item":
            made.shared.mean().item()
        return type(made)(made.shared + torch.ones(made.shared.shape), made.local_global, made.tokens)

    monkeypatch.setattr(TrainState, "predict", broken)
    with pytest.raises(RuntimeError):
        step(state, teachers, config("hybrid"), 0, "meta")
