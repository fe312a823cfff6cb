"""What only a GPU can show. `CCD_GPU_CHECK_DEVICE=cpu` runs the same on a CPU, where some of it says little: to test the tests."""

from __future__ import annotations

import copy
import json
import os

import numpy as np
import pytest
import torch
from timm.layers import convert_sync_batchnorm

from ccd_cli.core.compute import Compute, has_bf16
from ccd_cli.core.processes import average, membership
from ccd_cli.core.report import Silent
from ccd_cli.losses.distillation import LabelMaps, Labels, Prediction, distillation_loss
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.predict.run import run as predict
from ccd_cli.predict.settings import Settings
from ccd_cli.rehearsal.steps import wait
from ccd_cli.teachers.adapters.native import NativeTeacher
from ccd_cli.teachers.model import Model
from tests.unit.distill.test_step_on_a_device import NORMALIZATIONS, config, ensemble, step, training

pytestmark = pytest.mark.gpu
IMAGES, PATCHES, SIZE = 4, 3, 128
LOSS = 1e-5
"""Largest relative difference of a loss, and of its gradient over the gradient's largest value, from those on the CPU."""
MAPS = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 1e-2}
"""Largest difference of a map from the CPU's float32 one, as a fraction of its range."""


@pytest.fixture
def device() -> torch.device:
    name = os.environ.get("CCD_GPU_CHECK_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(name)


@pytest.fixture
def exact():
    """Float32 as it is: no TF32, in which cuDNN convolves by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def loss_and_gradient(normalization, device):
    generator = torch.Generator().manual_seed(0)

    def maps(*shape):
        return torch.rand(*shape, SIZE, SIZE, generator=generator).cumsum(-1).to(device)

    def labels(*shape):
        values = maps(*shape)
        return LabelMaps(values, values > values.mean() * 0.2)

    leaf = maps(IMAGES).requires_grad_()
    shared, patches = labels(IMAGES), labels(IMAGES, PATCHES)
    boxes = torch.tensor([[0.1, 0.2, 0.5], [0.0, 0.0, 1.0], [0.4, 0.3, 0.6]]).repeat(IMAGES, 1, 1).to(device)
    one = torch.ones((), device=device)
    made = distillation_loss(
        Prediction(leaf.sqrt(), leaf.square()),
        Labels(shared, patches, None, "t", one, one),
        boxes,
        config(normalization),
    )
    made["loss"].backward()
    return {name: float(value) for name, value in made.items()}, leaf.grad.cpu()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_loss_is_the_cpus(device, normalization):
    (here, gradient), (there, other) = (loss_and_gradient(normalization, place) for place in ("cpu", device))
    assert there == pytest.approx(here, rel=LOSS, abs=1e-7)
    assert float((gradient - other).abs().max()) <= LOSS * float(gradient.abs().max())


@pytest.mark.parametrize("mixing", ["select", "average"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_step_waits_for_nothing(device, mixing, normalization):
    """CUDA's own check: any call that makes the host wait raises."""
    state, teachers, index = training(device), ensemble(device, mixing), -1 if mixing == "average" else 1
    step(state, teachers, config(normalization), index, device)  # what is set up once may wait
    wait(device)
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        norm, metrics = step(state, teachers, config(normalization), index, device)
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert norm.isfinite() and all(value.isfinite() for value in metrics._sums.values())


def network(encoder="test_vit"):
    torch.manual_seed(3)
    return DepthNet(timm_arch(encoder, features=16)).eval()


@pytest.mark.parametrize("precision", MAPS)
def test_predict_writes_the_cpus_maps(device, exact, photos, tmp_path, precision):
    if device.type == "cpu" and precision == "fp16":
        pytest.skip("CPUs have no fp16 here")
    if device.type == "cuda" and precision == "bf16" and not has_bf16():
        pytest.skip("a GPU without bfloat16")
    for name, place, how in (("here", "cpu", "fp32"), ("there", str(device), precision)):
        model = Model(NativeTeacher(network(), "random", precision=how).to(place), 128)
        settings = Settings(out=tmp_path / name, save=("npy",), batch=4)
        assert predict([str(photos)], model, settings, Compute(place, how), Silent()).failed == []
    files = sorted((tmp_path / "here").glob("*.npy"))
    assert len(files) == 8
    for path in files:
        one, other = np.load(path), np.load(tmp_path / "there" / path.name)
        assert np.abs(one - other).max() <= MAPS[precision] * np.ptp(one)


def test_a_compiled_network_says_the_same(device, exact):
    plain, rgb = NativeTeacher(network(), "random").to(device), torch.rand(2, 3, 64, 64, device=device)
    wanted = plain.predict(rgb)
    if device.type == "cuda":  # CPUs need a compiler, which a test of its own has
        plain.compile()
    made = plain.predict(rgb)
    assert float((made - wanted).abs().max()) <= MAPS["fp32"] * float(wanted.max() - wanted.min())


@pytest.fixture
def group(device, tmp_path):
    """The process group of one process, over NCCL on a GPU."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    with membership():
        torch.distributed.init_process_group(backend, f"file://{tmp_path}/group", rank=0, world_size=1)
        yield torch.distributed.get_backend()


def test_gradients_are_exchanged(device, group):
    """Through the exchange of `ccd distill --processes`: the sum over the one process there is, over the two it takes for there."""
    assert group == ("nccl" if device.type == "cuda" else "gloo")
    tensors = [torch.full((3, 4), 6.0, device=device), torch.arange(5.0, device=device)]
    average(tensors, Compute(str(device), "fp32", 0, 2))
    assert torch.equal(tensors[0].cpu(), torch.full((3, 4), 3.0))
    assert torch.equal(tensors[1].cpu(), torch.arange(5.0) / 2)


def test_torchs_own_data_parallel_trains_the_student(device, group):
    net = network("mobilenetv4_conv_small").to(device).train()
    alone = copy.deepcopy(net)
    images = torch.rand(2, 3, 64, 64, device=device)
    parallel = torch.nn.parallel.DistributedDataParallel(net, find_unused_parameters=True)
    for each in (parallel, alone):
        each(images).mean().backward()
    pairs = [(a.grad, b.grad) for a, b in zip(net.parameters(), alone.parameters(), strict=True) if b.grad is not None]
    assert len(pairs) > 50
    for one, other in pairs:
        assert float((one - other).abs().max()) <= 1e-3 * max(float(other.abs().max()), 1e-6)


def test_synchronized_batch_norm_of_one_process_is_batch_norm(device, exact, group):
    plain = network("mobilenetv4_conv_small").to(device).train()
    synchronized = convert_sync_batchnorm(copy.deepcopy(plain))
    assert any(isinstance(each, torch.nn.SyncBatchNorm) for each in synchronized.modules())
    images = torch.rand(4, 3, 64, 64, device=device)
    if device.type == "cpu":
        return  # torch has it for GPUs alone
    one, other = plain(images), synchronized(images)
    assert float((one - other).detach().abs().max()) <= MAPS["fp32"] * float(one.detach().max() - one.detach().min())
    other.mean().backward()


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_a_run_trains_in_every_precision(device, ccd_here, tiny_recipe, write_recipe, tmp_path, precision):
    """In fp16 with its gradient scaler, whose first steps may be skipped until the scale fits."""
    if device.type == "cpu" and precision != "fp32":
        pytest.skip("not every CPU has it")
    if precision == "bf16" and not has_bf16():
        pytest.skip("a GPU without bfloat16")
    tiny_recipe["optim"]["steps"] = 24 if precision == "fp16" else 4
    flags = ("--device", str(device), "--precision", precision, "--out", "run")
    done = ccd_here("distill", write_recipe(tiny_recipe), *flags)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    taken = [line for line in lines if line["gradient_norm"] is not None]
    assert len(taken) >= len(lines) // 2 > 0
    assert all(np.isfinite(line["loss"]) for line in taken)
