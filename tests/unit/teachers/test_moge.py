import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from ccd_cli.core.errors import CheckpointError, UsageProblem
from ccd_cli.teachers.adapters import moge
from ccd_cli.teachers.base import Teacher
from tests.unit.teachers.tiny_moge import (
    CARD,
    CONFIGS,
    SIZES,
    VERSIONS,
    as_rgb,
    built,
    package_class,
    photo,
    saved,
)


@pytest.fixture(scope="module", autouse=True)
def package():
    pytest.importorskip("moge.model.v2", reason="the extra `moge` is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("moge")
    return {version: saved(root / f"{version}.pt", version) for version in VERSIONS}


@pytest.fixture(scope="module")
def packaged(files):
    """What the package makes of the same files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {v: package_class(v).from_pretrained(files[v]).eval() for v in VERSIONS}


@pytest.fixture(scope="module")
def teachers(files):
    return {version: moge.load(files[version], CARD[version]) for version in VERSIONS}


def inferred(model, image, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = model.infer(as_rgb(image)[0], use_fp16=False, **options)
    return {k: v.numpy() for k, v in made.items()}


def valid_of(depth_map):
    return np.ones(depth_map.values.shape, bool) if depth_map.valid is None else depth_map.valid


def check_same(ours, theirs, size):
    """`ours` is what `infer` says, within 1e-4 of the range of its depth."""
    valid = theirs["mask"] & np.isfinite(theirs["depth"]) & (theirs["depth"] > 0)
    assert valid.mean() > 0.02
    assert np.array_equal(valid_of(ours), valid)
    spread = np.ptp(theirs["depth"][valid])
    assert spread > 1e-3  # a flat map would prove nothing
    assert np.abs(ours.values - theirs["depth"])[valid].max() <= 1e-4 * spread
    assert np.isnan(ours.values[~valid]).all()
    focal = theirs["intrinsics"][0, 0] * size[1], theirs["intrinsics"][1, 1] * size[0]
    if min(focal) > 0:
        assert (ours.camera.fx, ours.camera.fy) == pytest.approx(focal, rel=1e-4)
        assert (ours.camera.cx, ours.camera.cy) == pytest.approx((size[1] / 2, size[0] / 2))
    else:
        assert ours.camera is None


@pytest.mark.parametrize("version", VERSIONS)
def test_photos_come_out_as_from_the_package(teachers, packaged, version):
    photos = [photo(size, seed) for seed, size in enumerate(SIZES)]
    made = teachers[version].predict_photos(photos)
    masked = []
    for image, ours in zip(photos, made, strict=True):
        theirs = inferred(packaged[version], image)
        check_same(ours, theirs, image.shape[:2])
        masked.append((~theirs["mask"]).mean())
    assert max(masked) > 0.02  # the mask does something
    assert all(m.camera is not None for m in made)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_focal_length_that_is_told(teachers, packaged, version):
    image = photo(SIZES[0], 4)
    ours, alone = teachers[version].predict_photos([image, image], focals=[70.0, None])
    theirs = inferred(packaged[version], image, fov_x=90.0)  # 2 atan(140 / (2 * 70))
    check_same(ours, theirs, SIZES[0])
    assert (ours.camera.fx, ours.camera.fy, ours.camera.cx, ours.camera.cy) == (70, 70, 70, 48.5)
    check_same(alone, inferred(packaged[version], image), SIZES[0])
    both = valid_of(ours) & valid_of(alone)
    assert not np.allclose(ours.values[both], alone.values[both], rtol=1e-3)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_batch_is_as_one_by_one(teachers, version):
    teacher = teachers[version]
    photos = [photo((97, 140), 0), photo((150, 80), 1), photo((97, 140), 2)]
    together = teacher.predict_photos(photos)
    for image, batched in zip(photos, together, strict=True):
        (alone,) = teacher.predict_photos([image])
        both = valid_of(alone) & valid_of(batched)
        assert (valid_of(alone) != valid_of(batched)).mean() < 0.001
        assert np.abs(alone.values - batched.values)[both].max() <= 1e-3 * np.ptp(alone.values[both])


@pytest.mark.parametrize("version", VERSIONS)
def test_crops_are_as_photos(teachers, version):
    """The same pixels on the same path: equal, with NaN where a photo has its mask."""
    image = photo(SIZES[0], 2)
    (whole,) = teachers[version].predict_photos([image])
    made = teachers[version].predict(as_rgb(image))
    assert made.shape == (1, *SIZES[0])
    assert made.dtype == torch.float32
    assert np.array_equal(made[0].isfinite().numpy(), valid_of(whole))
    assert np.array_equal(made[0].numpy(), whole.values, equal_nan=True)


@pytest.mark.parametrize(("version", "kind"), [("v1", "depth"), ("v2", "metric")])
def test_what_it_says_of_itself(teachers, files, version, kind):
    teacher = teachers[version]
    assert isinstance(teacher, Teacher)
    assert (teacher.name, teacher.kind, teacher.license) == (CARD[version].name, kind, "MIT")
    assert teacher.feature_width is None
    assert len(teacher.checkpoint_sha256) == 64
    assert moge.load(files[version], CARD[version], sha256="abc").checkpoint_sha256 == "abc"
    rgb = as_rgb(photo((56, 84)))
    depth, tokens = teacher.predict_with_features(rgb)
    assert tokens is None and teacher.features(rgb) is None
    assert depth.equal(teacher.predict(rgb)) or torch.allclose(depth, teacher.predict(rgb), equal_nan=True)
    assert not teacher.model.training
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert not hasattr(teacher.model, "normal_head")
    weight = torch.ones((), requires_grad=True)
    (depth * weight).nanmean().backward()  # an inference tensor could not enter a graph
    assert weight.grad is not None


def test_resolution_becomes_a_number_of_tokens(teachers, packaged, files):
    teacher = teachers["v2"]
    assert teacher._tokens(97, 140, None) == 60  # the upper end, as resolution_level 9
    assert teacher._tokens(97, 140, 70) == 36  # (70 / 14)^2 * 140 / 97
    assert teacher._tokens(140, 97, 70) == 36
    assert teacher._tokens(100, 100, 14) == 20  # no fewer and no more than it was trained for
    assert teacher._tokens(100, 100, 518) == 60
    image = photo(SIZES[0], 1)
    check_same(teacher.predict_photos([image], 70)[0], inferred(packaged["v2"], image, num_tokens=36), SIZES[0])
    other = moge.load(files["v2"], CARD["v2"], resolution=70)
    made, want = other.predict(as_rgb(image))[0].numpy(), teacher.predict_photos([image], 70)[0].values
    assert np.array_equal(made, want, equal_nan=True)
    for senseless in (0, 13, 100_000):
        with pytest.raises(UsageProblem, match="resolution of 14 to 8192"):
            moge.load(files["v2"], CARD["v2"], resolution=senseless)


@pytest.mark.parametrize("version", VERSIONS)
def test_bfloat16_runs_the_network_only(teachers, files, version):
    image = photo(SIZES[0], 1)
    exact = teachers[version].predict(as_rgb(image))
    made = moge.load(files[version], CARD[version], precision="bf16").predict(as_rgb(image))
    assert made.dtype == torch.float32
    both = exact.isfinite() & made.isfinite()
    assert both.float().mean() > 0.1
    off = ((made - exact).abs() / exact)[both]
    assert 0 < off.median() < 0.2
    with pytest.raises(UsageProblem, match="precision 'fp8'"):
        moge.load(files[version], CARD[version], precision="fp8")


def test_points_without_a_mask_or_a_scale(tmp_path, monkeypatch):
    plain = {k: v for k, v in CONFIGS["v2"].items() if k not in ("mask_head", "scale_head", "normal_head")}
    monkeypatch.setitem(CONFIGS, "v2", plain)
    model = built("v2")
    saved(tmp_path / "m.pt", "v2", model)
    with pytest.raises(CheckpointError, match="for depth maps, its card says MoGe-2 for metric maps"):
        moge.load(tmp_path / "m.pt", CARD["v2"])
    teacher = moge.load(tmp_path / "m.pt", replace(CARD["v2"], kind="depth"))
    image = photo(SIZES[1], 1)
    theirs = inferred(model.eval(), image)
    check_same(teacher.predict_photos([image])[0], theirs | {"mask": np.ones(SIZES[1], bool)}, SIZES[1])


def test_photos_only(teachers):
    with pytest.raises(UsageProblem, match="uint8"):
        teachers["v2"].predict_photos([np.zeros((4, 4, 3), np.float32)])


@pytest.mark.gpu
@pytest.mark.parametrize("version", VERSIONS)
def test_on_a_gpu_it_is_as_on_the_cpu(teachers, files, version):
    image = photo(SIZES[0], 1)
    (here,) = teachers[version].predict_photos([image])
    there = moge.load(files[version], CARD[version]).to("cuda")
    (made,) = there.predict_photos([image])
    both = valid_of(here) & valid_of(made)
    assert (valid_of(here) != valid_of(made)).mean() < 0.01
    assert np.median(np.abs(made.values - here.values)[both]) <= 0.01 * np.ptp(here.values[both])
    assert there.predict(as_rgb(image).cuda()).is_cuda
