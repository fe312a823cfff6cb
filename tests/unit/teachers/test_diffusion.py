"""Marigold and GenPercept with tiny random networks, against diffusers' own pipeline and plain arithmetic."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import diffusers  # what is taken from it loads in the test that needs it
import transformers

from ccd_cli.core.errors import CheckpointError, TeacherError, UsageProblem
from ccd_cli.teachers.adapters import diffusion, diffusion_load, diffusion_parts
from ccd_cli.teachers.adapters.diffusion import DiffusionSettings
from ccd_cli.teachers.adapters.genpercept import SD21_UNET
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.registry import CARDS
from tests.unit.teachers.tiny_diffusion import SIDE, card, oracle, photo

WEIGHTS = "diffusion_pytorch_model.safetensors"


def load(folder, known, precision="fp32", resolution=None, sha256="", **sampling):
    return diffusion_load.load(folder, known, precision, resolution, sha256, sampling)


@pytest.mark.parametrize("size", [(60, 90), (101, 37)])
@pytest.mark.parametrize(("kind", "steps"), [("ddim", None), ("ddim", 5), ("lcm", 3), ("trailing", 1)])
def test_marigold_is_diffusers_own(marigold, kind, steps, size):
    folder = marigold(kind)
    image = photo(*size)
    teacher = load(folder, card("marigold"), steps=steps, seed=11)
    (made,) = teacher.predict_photos([image])
    want = oracle(folder, image, steps, seed=11)
    assert (made.kind, made.values.dtype, made.values.shape, made.valid) == ("affine-depth", np.float32, size, None)
    assert np.ptp(want) > 0.05  # a flat map would agree with anything
    np.testing.assert_allclose(made.values, want, atol=1e-4)


@pytest.mark.parametrize("kind", ["ddim", "lcm"])
def test_an_ensemble_is_diffusers_own(marigold, kind):
    folder, image = marigold(kind), photo(60, 90)
    teacher = load(folder, card("marigold"), ensemble=3, seed=5)
    (made,) = teacher.predict_photos([image])
    want = oracle(folder, image, members=3, seed=5)
    np.testing.assert_allclose(made.values, want, atol=1e-4)
    (alone,) = load(folder, card("marigold"), seed=5).predict_photos([image])
    assert np.abs(alone.values - made.values).max() > 1e-2


def test_the_resolution_of_photos(marigold):
    image = photo(60, 90)
    folder = marigold()
    teacher = load(folder, card("marigold"), resolution=48)
    np.testing.assert_allclose(teacher.predict_photos([image])[0].values, oracle(folder, image, side=48), atol=1e-4)
    np.testing.assert_allclose(teacher.predict_photos([image], 24)[0].values, oracle(folder, image, side=24), atol=1e-4)


def test_crops_are_seen_at_their_own_size(marigold):
    folder = marigold()
    image = photo(61, 40)  # not multiples of 8
    crop = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    own = load(folder, card("marigold"))
    np.testing.assert_allclose(own.predict(crop)[0].numpy(), oracle(folder, image, side=0), atol=1e-4)
    small = load(folder, card("marigold"), resolution=32)
    np.testing.assert_allclose(small.predict(crop)[0].numpy(), oracle(folder, image, side=32), atol=1e-4)


@pytest.mark.parametrize(("kind", "members"), [("ddim", 1), ("lcm", 1), ("lcm", 3)])
def test_a_photo_does_not_depend_on_its_batch(marigold, kind, members):
    teacher = load(marigold(kind), card("marigold"), steps=3, ensemble=members)
    images = [photo(60, 90, 1), photo(90, 60, 2), photo(60, 90, 3), photo(120, 180, 4)]  # 1, 3 and 4 are seen alike
    together = teacher.predict_photos(images)
    for image, made in zip(images, together, strict=True):
        (alone,) = teacher.predict_photos([image])
        assert made.values.shape == image.shape[:2]
        np.testing.assert_allclose(made.values, alone.values, atol=1e-5)
    crops = torch.stack([torch.from_numpy(images[i]).permute(2, 0, 1).float() / 255 for i in (0, 2)])
    both = teacher.predict(crops.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(both[1:], teacher.predict(crops[1:]), atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-2)


def test_large_groups_go_in_parts(marigold, monkeypatch):
    teacher = load(marigold("lcm"), card("marigold"), steps=3)
    images = [photo(60, 90, i) for i in range(5)]
    whole = teacher.predict_photos(images)
    crops = torch.rand(5, 3, 21, 32)
    maps = teacher.predict(crops)
    monkeypatch.setattr(diffusion, "MAX_PIXELS", 2 * SIDE * 21)  # two photos at a time
    seen = []
    run = teacher.run
    monkeypatch.setattr(teacher, "run", lambda x: seen.append(len(x)) or run(x))
    for made, want in zip(teacher.predict_photos(images), whole, strict=True):
        np.testing.assert_allclose(made.values, want.values, atol=1e-5)
    assert seen == [2, 2, 1]
    assert torch.allclose(teacher.predict(crops), maps, atol=1e-5)
    assert seen == [2, 2, 1] * 2


def test_the_seed_decides_alone(marigold):
    image = photo(60, 90)

    def made(seed):
        torch.manual_seed(np.random.randint(1000))  # the global state of torch must not matter
        return load(marigold("lcm"), card("marigold"), seed=seed, steps=3).predict_photos([image])[0].values

    assert np.array_equal(made(1), made(1))
    assert np.abs(made(1) - made(2)).max() > 1e-2


def test_a_diffusion_teacher_keeps_the_protocol(marigold, genpercept):
    for teacher in (
        load(marigold(), card("marigold", license="A", disputed="somehow"), sha256="ab"),
        load(genpercept, card("genpercept", license="A", disputed="somehow"), sha256="ab"),
    ):
        assert isinstance(teacher, Teacher)
        assert (teacher.checkpoint_sha256, teacher.license) == (
            "ab",
            card("", license="A", disputed="x").effective_license,
        )
        crop = torch.rand(1, 3, 40, 56, requires_grad=True)
        depth, features = teacher.predict_with_features(crop)
        assert (depth.shape, depth.dtype, depth.requires_grad) == ((1, 40, 56), torch.float32, False)
        assert features is None and teacher.features(crop) is None and teacher.feature_width is None
        assert torch.equal(depth, teacher.predict(crop))
        assert teacher.to("cpu") is teacher
        assert not any(p.requires_grad for n in teacher.networks.values() for p in n.parameters())
        assert teacher.predict_photos([]) == []
        weight = torch.ones(1, requires_grad=True)
        (depth * weight).sum().backward()  # inference-mode tensors could not enter a graph
        with pytest.raises(UsageProblem, match="uint8"):
            teacher.predict_photos([np.zeros((8, 8), np.uint8)])


def test_disparity_says_so(marigold):
    teacher = load(marigold("ddim", "disparity"), card("marigold"))
    assert teacher.kind == teacher.predict_photos([photo(60, 90)])[0].kind == "disparity"


def test_the_folder_decides_the_kind(copy):
    index = copy / "model_index.json"
    content = json.loads(index.read_text())
    older = {k: v for k, v in content.items() if k != "prediction_type"} | {"_class_name": "MarigoldPipeline"}
    for values, kind in ((older, "affine-depth"), (content | {"shift_invariant": False}, "depth")):
        index.write_text(json.dumps(values))
        assert load(copy, card("marigold")).kind == kind
    for wrong in ({"prediction_type": "normals"}, {"scale_invariant": False}):
        index.write_text(json.dumps(content | wrong))
        with pytest.raises(TeacherError, match="neither relative depth nor disparity"):
            load(copy, card("marigold"))
    index.write_text(json.dumps(content | {"default_denoising_steps": None}))
    assert load(copy, card("marigold"), steps=3).steps == 3
    with pytest.raises(UsageProblem, match="how many steps"):
        load(copy, card("marigold"))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
@pytest.mark.parametrize("family", ["marigold", "genpercept"])
def test_precision_is_the_type_of_the_weights(marigold, genpercept, family, precision, dtype):
    folder = marigold() if family == "marigold" else genpercept
    image = photo(64, 48)
    exact = load(folder, card(family)).predict_photos([image], 48)[0].values
    teacher = load(folder, card(family), precision)
    assert {p.dtype for n in teacher.networks.values() for p in n.parameters()} == {dtype}
    made = teacher.predict_photos([image], 48)[0].values
    assert made.dtype == np.float32
    assert 0 < np.abs(made - exact).mean() < 0.05


def test_settings_come_from_the_card_and_the_caller(marigold):
    known = card("marigold", options={"steps": 3, "ensemble": 2, "seed": 7})
    assert load(marigold(), known).settings == DiffusionSettings(3, 2, 7)
    assert load(marigold(), known, steps=1, ensemble=1, seed=0).settings == DiffusionSettings(1, 1, 0)
    default = load(marigold(), card("marigold"))
    assert (default.settings, default.steps) == (DiffusionSettings(), 2)


def one_step(folder: Path, name: str, images: torch.Tensor) -> torch.Tensor:
    """GenPercept's step through the DDIM scheduler that its authors use, images [B, 3, h, w] in 0..1."""
    network = diffusers.UNet2DConditionModel.from_pretrained(folder / name)
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae")
    text = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder")
    steps = diffusers.DDIMScheduler(
        beta_start=1.0,
        beta_end=1.0,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="leading",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )
    steps.set_timesteps(1)
    with torch.no_grad():
        prompt = text(torch.tensor([[0, 1]]))[0].repeat(len(images), 1, 1)  # start and end token, not padded
        moments = vae.quant_conv(vae.encoder(images * 2 - 1))
        latent = moments.chunk(2, dim=1)[0] * 0.18215
        (timestep,) = steps.timesteps
        out = network(latent, timestep, encoder_hidden_states=prompt).sample
        clean = steps.step(out, timestep, latent).pred_original_sample
        stacked = vae.decoder(vae.post_quant_conv(clean / 0.18215))
        return ((stacked.mean(dim=1) + 1) / 2).clip(0, 1)


@pytest.mark.parametrize("kind", ["affine-depth", "disparity"])
def test_genpercept_is_one_ddim_step(genpercept, kind):
    name = "unet_disparity_v2" if kind == "disparity" else "unet_depth_v2"
    rgb = torch.from_numpy(np.stack([photo(64, 48, 1), photo(64, 48, 2)])).permute(0, 3, 1, 2).float() / 255
    want = one_step(genpercept, name, rgb)
    assert float(want.max() - want.min()) > 0.05
    for known in (card("genpercept", kind), card("genpercept", "depth", options={"unet": name})):
        teacher = load(genpercept, known)
        assert teacher.kind == known.kind
        assert torch.allclose(teacher.predict(rgb), want, atol=1e-5)
        made = teacher.predict_photos([photo(64, 48, 1), photo(64, 48, 2)])
        np.testing.assert_allclose(np.stack([m.values for m in made]), want.numpy(), atol=1e-5)


def test_genpercept_rounds_sides_to_multiples_of_8(genpercept):
    teacher = load(genpercept, card("genpercept"))
    assert teacher.size_for(61, 44, None) == (64, 48)
    assert teacher.size_for(3, 100, None) == (8, 104)
    assert teacher.size_for(600, 300, 100) == (104, 48)
    image = photo(61, 44)
    rgb = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    resized = F.interpolate(rgb, size=(64, 48), mode="bilinear", antialias=True).clamp(0, 1)
    want = F.interpolate(
        one_step(genpercept, "unet_depth_v2", resized)[:, None], size=(61, 44), mode="bilinear", antialias=True
    )[0, 0].numpy()
    (made,) = teacher.predict_photos([image])
    np.testing.assert_allclose(made.values, want, atol=1e-5)
    np.testing.assert_allclose(teacher.predict(rgb)[0].numpy(), want, atol=1e-5)


def test_genpercept_knows_the_unet_without_its_config(genpercept, tmp_path):
    with torch.device("meta"):
        network = diffusers.UNet2DConditionModel(**SD21_UNET)
    assert sum(p.numel() for p in network.parameters()) == 865_910_724  # Stable Diffusion 2.1's
    folder = tmp_path / "unet"
    folder.mkdir()
    save_file({"conv_in.weight": torch.zeros(320, 4, 3, 3)}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"missing conv_in\.bias") as caught:  # the config was found, the rest not
        diffusion_parts.read_network("UNet2DConditionModel", folder, torch.float32, SD21_UNET)
    assert "another shape" not in str(caught.value)


def test_genpercept_takes_no_settings(genpercept):
    assert load(genpercept, card("genpercept"), steps=1, seed=4)
    for wrong in ({"steps": 2}, {"ensemble": 3}):
        with pytest.raises(UsageProblem, match="one deterministic step"):
            load(genpercept, card("genpercept"), **wrong)


def test_shipped_cards_point_to_their_unets(genpercept):
    for name in ("genpercept-depth", "genpercept-disparity"):
        assert load(genpercept, CARDS[name]).kind == CARDS[name].kind


def test_too_large_photos_are_refused(marigold, genpercept):
    huge = np.zeros((3000, 2000, 3), np.uint8)
    teacher = load(genpercept, card("genpercept"))
    with pytest.raises(UsageProblem, match=r"2000 x 3000 pixels; it takes 4\.2 million"):
        teacher.predict_photos([huge])
    assert teacher.predict_photos([huge], 64)[0].values.shape == (3000, 2000)
    with pytest.raises(UsageProblem, match="million"):
        load(marigold(), card("marigold")).predict(torch.zeros(1, 3, 3000, 2000))
    with pytest.raises(UsageProblem, match="long and narrow"):
        load(marigold(), card("marigold")).predict_photos([np.zeros((1, 200, 3), np.uint8)])
    for wrong in (0, 7, 9000):
        with pytest.raises(UsageProblem, match="resolution"):
            load(genpercept, card("genpercept"), resolution=wrong)
        with pytest.raises(UsageProblem, match="resolution"):
            teacher.predict_photos([photo(64, 64)], wrong)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 2.5}, {"ensemble": 0}, {"seed": -1}, {"ensemble": True}])
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(UsageProblem, match=next(iter(wrong))):
        DiffusionSettings(**wrong)


def test_steps_that_the_scheduler_does_not_take(marigold):
    with pytest.raises(UsageProblem, match="does not take 100 steps"):
        load(marigold("lcm"), card("marigold"), steps=100)


def test_values_that_are_not_finite_are_no_map(genpercept):
    teacher = load(genpercept, card("genpercept"))
    teacher.unet.conv_out.bias.data[0] = float("nan")
    with pytest.raises(TeacherError, match="not finite"):
        teacher.predict(torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_a_missing_package_is_named(marigold, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TeacherError, match=package) as caught:
        load(marigold(), card("marigold"))
    assert 'pip install -e ".[diffusion]"' in caught.value.hint


def test_an_ensemble_needs_scipy(marigold, monkeypatch):
    monkeypatch.setattr(
        "ccd_cli.teachers.adapters.marigold.find_spec", lambda name: None if name == "scipy" else object()
    )
    assert load(marigold(), card("marigold"))
    with pytest.raises(TeacherError, match="scipy"):
        load(marigold(), card("marigold"), ensemble=3)


def test_what_is_not_a_diffusion_teacher(marigold, tmp_path):
    with pytest.raises(TeacherError, match="no folder"):
        load(tmp_path / "none", card("marigold"))
    with pytest.raises(TeacherError, match="midas"):
        load(marigold(), card("midas"))
    with pytest.raises(UsageProblem, match="int8"):
        load(marigold(), card("marigold"), "int8")
