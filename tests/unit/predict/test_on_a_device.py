"""`ccd predict` on a device without values: what waits for a GPU, or leaves a tensor on the CPU, fails here on any machine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ccd_cli.core.compute import Compute
from ccd_cli.core.report import Silent
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet, fill_sky
from ccd_cli.predict.run import run
from ccd_cli.predict.settings import Settings
from ccd_cli.teachers.adapters import native
from ccd_cli.teachers.adapters.native import NativeTeacher, predict_photos
from ccd_cli.teachers.model import Model
from tests.api.conftest import write_clip
from tests.no_values import DEVICE, LeftBehind, NoValues, Waited, WrongType

BATCH = 4


def network(encoder="mobilenetv4_conv_small", kind="disparity"):
    return DepthNet(timm_arch(encoder, features=16, kind=kind)).eval()


@pytest.fixture(scope="module")
def model():
    return Model(NativeTeacher(network().to(DEVICE), "there"), 64)


@pytest.fixture
def images(tmp_path):
    """Six photos of one size, two of another."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        shape = (60, 80, 3) if number < 6 else (80, 60, 3)
        Image.fromarray(np.full(shape, 20 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def predicted(inputs, model, tmp_path, **options):
    settings = Settings(out=tmp_path / "out", save=("npy", "color"), batch=BATCH, **options)
    with NoValues() as device:
        outcome = run([str(inputs)], model, settings, Compute("cpu", "fp32"), Silent())
    assert outcome.failed == [], outcome.failed
    return device, outcome


def test_photos_come_back_once_a_pass(images, model, tmp_path):
    device, outcome = predicted(images, model, tmp_path)
    assert len(outcome.done) == 8
    # passes of four, of two, and of the two of another size; nothing else crosses, and no copy is waited for
    assert device.transfers == [
        ((n, *size), torch.float32) for n, size in ((4, (64, 96)), (2, (64, 96)), (2, (96, 64)))
    ]
    assert device.uploads == [(n, 3, *size) for (n, *size), _ in device.transfers]
    assert device.blocking == []
    assert np.load(tmp_path / "out/0.npy").shape == (60, 80)


@pytest.mark.parametrize("temporal", ["align", "ema", "none"])
def test_frames_of_a_video_come_back_once_a_pass(model, tmp_path, temporal):
    clip = write_clip(tmp_path / "clip.mp4", frames=10)
    device, outcome = predicted(clip, model, tmp_path, temporal=temporal)
    assert outcome.done[0]["frames"] == 10
    assert [shape[0] for shape, _ in device.transfers] == [4, 4, 2] == [shape[0] for shape in device.uploads]
    assert {kind for _, kind in device.transfers} == {torch.float32} and device.blocking == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda depth: depth / depth.mean().item(), Waited),
        (lambda depth: depth * (2 if depth.max() > 0 else 1), Waited),
        (lambda depth: depth + torch.ones(depth.shape), LeftBehind),
        (lambda depth: depth.double().float(), WrongType),
        (lambda depth: depth.clone().cpu().to(DEVICE), None),
        (lambda depth: depth * torch.tensor([2.0], device=DEVICE), None),
    ],
)
def test_what_these_tests_are_for_is_found(images, model, tmp_path, monkeypatch, wrong, error):
    """Each mistake, put into the forward pass on purpose."""
    real = native._outputs

    def broken(*arguments):
        depth, *rest = real(*arguments)
        return wrong(depth), *rest

    monkeypatch.setattr(native, "_outputs", broken)
    if error is not None:
        with pytest.raises(error):
            predicted(images, model, tmp_path)
        return
    device, _ = predicted(images, model, tmp_path)
    assert len(device.transfers) > 3 or device.blocking


def test_sky_is_filled_without_a_value():
    with NoValues() as device:
        made = fill_sky(torch.zeros(2, 64, 64, device=DEVICE), torch.zeros(2, 64, 64, device=DEVICE))
    assert made.dtype == torch.float32 and not device.transfers and not device.blocking


@pytest.mark.parametrize("encoder", ["test_vit", "mobilenetv4_conv_small"])
def test_in_half_precision_the_network_runs_in_half_and_maps_are_float32(encoder):
    net, seen = network(encoder), []
    for part in net.modules():
        if isinstance(part, (torch.nn.Conv2d, torch.nn.Linear)):
            part.register_forward_hook(lambda _, __, made: seen.append(made.dtype))
    made = predict_photos(net, [np.full((64, 64, 3), 90, np.uint8)], 64, "bf16")
    assert len(seen) > 20 and set(seen) == {torch.bfloat16}
    assert made[0].values.dtype == np.float32


def test_operations_do_not_grow_with_the_batch():
    """A loop over images would."""
    counts = set()
    for images in (1, 3, 8):
        with NoValues() as device:
            predict_photos(network().to(DEVICE), [np.zeros((64, 64, 3), np.uint8)] * images, 64)
        counts.add(device.operations)
    assert len(counts) == 1
