from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from ccd_cli.core.errors import UsageProblem
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.models.checkpoint import load_model
from ccd_cli.models.depth_net import DepthNet, fill_sky
from ccd_cli.teachers.adapters.native import NativeTeacher, predict_photos
from ccd_cli.teachers.adapters.preprocess import resize_for
from ccd_cli.teachers.adapters.sizes import nearest_size, network_size
from ccd_cli.teachers.base import Teacher
from tests.standin import state_dict

V2, V3 = get_arch("depth-anything-v2-small"), get_arch("depth-anything-3-mono-large")


@pytest.fixture
def student():
    torch.manual_seed(0)
    return DepthNet(timm_arch("test_convnext", features=16))


@pytest.mark.parametrize(
    ("arch", "size", "resolution", "want"),
    [
        (V2, (266, 400), 140, (140, 210)),
        (V2, (480, 640), None, (518, 686)),
        (V2, (518, 518), None, (518, 518)),
        (V2, (1000, 333), 518, (1554, 518)),
        (V2, (100, 100), 520, (532, 532)),  # at least the resolution
        (V3, (480, 640), None, (378, 504)),
        (V3, (640, 480), 505, (504, 378)),  # at most the resolution
        (V3, (2000, 3), None, (504, 14)),
    ],
)
def test_network_size(arch, size, resolution, want):
    assert network_size(arch, *size, resolution) == want


def test_senseless_resolutions_are_refused():
    for resolution in (0, -5, 13, 100_000):
        with pytest.raises(UsageProblem, match="resolution"):
            network_size(V2, 100, 100, resolution)


def test_nearest_size():
    assert nearest_size(560, 560, 14) == (560, 560)
    assert nearest_size(563, 568, 14) == (560, 574)
    assert nearest_size(3, 3, 14) == (14, 14)


def test_resize_for_keeps_to_double_precision():
    """Positions in float32 would be off by up to 1e-4 of the range."""
    rgb = np.random.default_rng(0).integers(0, 256, (803, 1201, 3), dtype=np.uint8)
    got = resize_for(V2, rgb, 518)
    exact = cv2.resize(
        rgb.astype(np.float64) / 255.0, dsize=(got.shape[1], got.shape[0]), interpolation=cv2.INTER_CUBIC
    )
    assert np.abs(got - exact).max() < 1e-6


def test_resize_for_is_bicubic_in_float():
    rgb = np.zeros((28, 28, 3), np.uint8)
    rgb[:, 14:] = 255
    got = resize_for(V2, rgb, 56)
    assert (got.shape, got.dtype) == ((56, 56, 3), np.float32)
    assert got.min() < -0.01 and got.max() > 1.01  # a bicubic filter overshoots; nothing was cut to bytes
    for bad in (rgb[..., 0], rgb.astype(np.float32), rgb[:0]):
        with pytest.raises(UsageProblem, match="uint8"):
            resize_for(V2, bad)


def test_a_native_teacher_keeps_the_protocol(student):
    teacher = NativeTeacher(student, "mine", "MIT", "ab")
    assert isinstance(teacher, Teacher)
    rgb = torch.rand(2, 3, 64, 96, requires_grad=True)
    depth, tokens = teacher.predict_with_features(rgb)
    assert (depth.shape, depth.dtype, depth.requires_grad) == ((2, 64, 96), torch.float32, False)
    assert torch.equal(depth, teacher.predict(rgb))
    assert torch.equal(tokens, teacher.features(rgb))
    assert tokens.shape == (2, 6, teacher.feature_width)
    assert not student.training
    assert not any(p.requires_grad for p in student.parameters())
    weight = torch.ones(1, requires_grad=True)
    (depth * weight).sum().backward()  # inference tensors could not do this
    assert weight.grad is not None


def test_fitting_sides_are_not_resized_and_others_come_back(student):
    teacher = NativeTeacher(student, "mine")
    rgb = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(teacher.predict(rgb), student(student.normalize(rgb)))
    assert teacher.predict(torch.rand(1, 3, 70, 45)).shape == (1, 70, 45)
    smooth = torch.linspace(0, 1, 96).expand(1, 3, 64, 96)
    odd = torch.nn.functional.interpolate(smooth, size=(66, 99), mode="bilinear")
    back = torch.nn.functional.interpolate(teacher.predict(odd)[:, None], size=(64, 96), mode="bilinear")[:, 0]
    assert (back - teacher.predict(smooth)).abs().mean() < 0.05


def test_a_resolution_of_its_own(student):
    seen = []
    student.encoder.register_forward_hook(lambda _m, inputs, _o: seen.append(tuple(inputs[0].shape[-2:])))
    teacher = NativeTeacher(student, "mine", resolution=128)
    assert teacher.predict(torch.rand(1, 3, 64, 96)).shape == (1, 64, 96)
    assert seen == [(128, 192)]


def test_precision(student):
    plain = NativeTeacher(student, "mine").predict(torch.ones(1, 3, 64, 64) / 2)
    half = NativeTeacher(student, "mine", precision="bf16").predict(torch.ones(1, 3, 64, 64) / 2)
    assert half.dtype == torch.float32
    assert 0 < (half - plain).abs().max() < 0.1
    with pytest.raises(UsageProblem, match="int8"):
        NativeTeacher(student, "mine", precision="int8")


def test_sky_is_filled_and_statistics_are_the_archs_own():
    torch.manual_seed(0)
    arch = timm_arch(
        "test_convnext", features=16, kind="depth", activation="exp", sky=True, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    net = DepthNet(arch).eval()
    with torch.no_grad():
        net.head.sky[1].bias.fill_(0.3)
        net.head.sky[1].weight.mul_(10)
    rgb = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        depth, sky, _ = net.forward_all((rgb - 0.5) / 0.5)
    assert 0.05 < (sky >= 0.3).float().mean() < 0.95
    got = NativeTeacher(net, "sky").predict(rgb)
    assert torch.allclose(got, fill_sky(depth, sky), atol=1e-5)
    assert not torch.allclose(got, depth)
    photo = (rgb[0].permute(1, 2, 0) * 255).byte().numpy()
    (published,) = NativeTeacher(net, "sky").predict_photos([photo], 64)
    net.arch = replace(arch, sky_rule="infinite")
    (made,) = NativeTeacher(net, "sky").predict_photos([photo], 64)
    assert np.isfinite(published.values).all() and published.valid is None and published.infinite is None
    assert np.array_equal(made.sky, published.sky) and 0.05 < made.sky.mean() < 0.95
    assert np.array_equal(made.infinite, made.sky) and np.array_equal(made.valid, ~made.sky)
    assert np.allclose(made.values[~made.sky], published.values[~made.sky])
    seen, _, scores = NativeTeacher(net, "sky").predict_all(torch.nn.functional.interpolate(rgb, size=(50, 70)))
    assert seen.shape == (2, 50, 70) and torch.equal(torch.isinf(seen), scores >= 0.3) and not seen.isnan().any()


def test_predicting_a_photo_leaves_a_student_as_it_was(student):
    student.train()
    before = {n: t.clone() for n, t in student.state_dict().items()}
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    depth = predict_photos(student, [rgb], 64)[0].values
    assert (depth.shape, depth.dtype) == ((50, 70), np.float32)
    assert student.training
    assert all(p.requires_grad for p in student.parameters())
    assert all(torch.equal(t, before[n]) for n, t in student.state_dict().items())
    assert np.array_equal(depth, NativeTeacher(student, "mine").predict_photos([rgb], 64)[0].values)


@pytest.mark.gpu
def test_on_a_gpu_it_says_the_same(student):
    rgb = torch.rand(1, 3, 64, 96)
    cpu = NativeTeacher(student, "mine").predict(rgb)
    gpu = NativeTeacher(student, "mine").to("cuda").predict(rgb)
    assert gpu.device.type == "cuda"
    assert torch.allclose(gpu.cpu(), cpu, atol=1e-2)


@pytest.mark.shared
def test_the_whole_path_from_photo_to_map_agrees_with_the_authors(shared, tmp_path):
    name = "depth_anything_v2_vits"
    expected = np.load(shared / "parity" / "expected" / f"{name}.npz")
    torch.save(state_dict(name), tmp_path / f"{name}.pth")
    rgb = np.ascontiguousarray(expected["image_bgr"][..., ::-1])
    got = predict_photos(load_model(tmp_path / f"{name}.pth"), [rgb], int(expected["image_input_size"]))[0].values
    want = expected["image_disparity"]
    worst = np.abs(got - want).max() / np.ptp(want)
    print(f"worst difference {worst:.1e} of the range")
    assert worst < 1e-4
