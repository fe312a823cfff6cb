import json
import math

import numpy as np
import pytest
import torch

from ccd_cli.core.errors import UsageProblem
from ccd_cli.teachers.adapters import hf_folder
from ccd_cli.teachers.base import Teacher

transformers = pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

from ccd_cli.teachers.adapters import hf  # noqa: E402
from tests.unit.teachers.tiny_hf import FAMILIES, card_for, crop, kind_of, known, photo, save  # noqa: E402

SIZES = [(97, 140), (150, 80)]


def network_input(teacher, image):
    return teacher._prepare(torch.from_numpy(image).permute(2, 0, 1)[None], None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    return {family: save(root / family, family) for family in FAMILIES}


def teacher_of(folders, family, **options):
    return hf.load(folders[family], card_for(family), **options)


@pytest.fixture(scope="module")
def teachers(folders):
    """One teacher of each family, which no test changes."""
    return {family: teacher_of(folders, family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_photos_come_out_as_from_the_pipeline_of_transformers(folders, teachers, family):
    pipe = transformers.pipeline(
        "depth-estimation",
        model=transformers.AutoModelForDepthEstimation.from_pretrained(folders[family], local_files_only=True),
        image_processor=transformers.AutoImageProcessor.from_pretrained(folders[family], local_files_only=True),
        device="cpu",
    )
    photos = [photo(size, seed) for seed, size in enumerate(SIZES)]
    made = teachers[family].predict_photos(photos)
    for image, ours in zip(photos, made, strict=True):
        theirs = pipe(Image.fromarray(image))["predicted_depth"].numpy()
        spread = np.ptp(theirs)
        assert spread > 1e-3  # a flat map would prove nothing
        assert ours.kind == kind_of(family)
        assert ours.values.shape == image.shape[:2]
        assert np.abs(ours.values - theirs).max() <= 1e-4 * spread
        impossible = theirs <= 0 if ours.kind == "metric" else np.zeros_like(theirs, bool)
        assert np.array_equal(~ours.valid if ours.valid is not None else np.zeros_like(impossible), impossible)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_as_one_by_one(teachers, family):
    teacher = teachers[family]
    photos = [photo((97, 140), 0), photo((150, 80), 1), photo((97, 140), 2), photo((96, 141), 3)]
    together = teacher.predict_photos(photos)
    for image, batched in zip(photos, together, strict=True):
        (alone,) = teacher.predict_photos([image])
        assert np.abs(alone.values - batched.values).max() <= 1e-4 * np.ptp(alone.values)
    crops = torch.cat([crop(photos[0]), crop(photos[2])])
    singles = torch.cat([teacher.predict(c[None]) for c in crops])
    torch.testing.assert_close(teacher.predict(crops), singles, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_zoedepth_with_two_heads_chooses_for_each_photo(folders):
    """In one batch the class would take one head for all: photos of the other kind would change with their company."""
    teacher = teacher_of(folders, "zoedepth-nk")
    photos = [photo((97, 140), seed) for seed in range(8)]

    def leanings():
        with torch.no_grad():
            made = [teacher.model(pixel_values=network_input(teacher, image)).domain_logits for image in photos]
        return [float(logits[0, 1] - logits[0, 0]) for logits in made]

    first = leanings()
    with torch.no_grad():
        teacher.model.metric_head.mlp_classifier.linear2.bias[1] -= float(np.median(first))
    values = leanings()
    assert min(values) < 0 < max(values)  # both heads are in use
    together = teacher.predict_photos(photos)
    for image, batched in zip(photos, together, strict=True):
        assert np.allclose(teacher.predict_photos([image])[0].values, batched.values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_crops_agree_with_photos(teachers, family):
    """A resized photo is rounded to 8 bits, a crop is not: that is all the difference at the network's input.

    These random networks make up to 8 % of the range out of it at single pixels, and less than 1 % on average.
    """
    teacher = teachers[family]
    for seed, size in enumerate(SIZES):
        image = photo(size, seed)
        step = 255 * min(getattr(teacher.processor, "image_std", None) or [1])
        inputs = network_input(teacher, image), teacher._prepare(crop(image), None)
        assert (inputs[0] - inputs[1]).abs().max() <= 1.5 / step  # each of two passes rounds
        made = teacher.predict(crop(image))
        (whole,) = teacher.predict_photos([image])
        assert made.shape == (1, *size)
        assert made.dtype == torch.float32
        assert not made.requires_grad
        valid = np.ones(size, bool) if whole.valid is None else whole.valid
        ours = made[0].numpy()
        both = valid & np.isfinite(ours)
        assert (valid != np.isfinite(ours)).mean() < 0.01
        off = np.abs(ours - whole.values)[both] / np.ptp(whole.values[valid])
        assert off.max() < 0.08
        assert off.mean() < 0.01


def test_crops_stay_within_black_and_white(teachers):
    """Bicubic overshoots at hard edges: in a photo's 8 bits it is cut off, so it must be in a crop as well.

    Stripes, because a photo is cut off after each of the two passes: at corners the two differ, by up to 15 levels.
    """
    teacher = teachers["midas-beit"]
    stripes = np.kron(np.arange(5) % 2 * 255, np.ones((20, 4)))
    edges = stripes[..., None].repeat(3, -1).astype(np.uint8)
    made = teacher._prepare(crop(edges), None)
    assert (made.min(), made.max()) == (-1, 1)
    assert (made - network_input(teacher, edges)).abs().max() <= 1.5 / 127.5


@pytest.mark.parametrize(("family", "size"), [("midas-beit", 64), ("midas-swin2", 64), ("depth-pro", 128)])
def test_crops_of_the_networks_own_size_are_as_photos(teachers, family, size):
    image = photo((size, size), 5)
    teacher = teachers[family]
    whole = teacher.predict_photos([image])[0].values
    assert np.abs(teacher.predict(crop(image))[0].numpy() - whole).max() <= 1e-4 * np.ptp(whole)


def test_what_it_says_of_itself(folders):
    teacher = teacher_of(folders, "midas-beit")
    assert isinstance(teacher, Teacher)
    assert (teacher.name, teacher.kind, teacher.license) == ("tiny-midas-beit", "disparity", "MIT")
    assert teacher.feature_width is None
    assert len(teacher.checkpoint_sha256) == 64
    assert teacher_of(folders, "midas-beit", sha256="abc").checkpoint_sha256 == "abc"
    rgb = torch.rand(2, 3, 64, 64)
    depth, tokens = teacher.predict_with_features(rgb)
    assert tokens is None and teacher.features(rgb) is None
    assert torch.equal(depth, teacher.predict(rgb))
    assert not teacher.model.training
    assert not any(p.requires_grad for p in teacher.model.parameters())
    weight = torch.ones((), requires_grad=True)
    (depth * weight).mean().backward()  # what it returns may enter a graph
    assert weight.grad is not None


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_other_precisions_are_close(folders, precision):
    image = photo((97, 140))
    exact = teacher_of(folders, "midas-swin2").predict_photos([image])[0].values
    made = teacher_of(folders, "midas-swin2", precision=precision).predict_photos([image])[0].values
    assert made.dtype == np.float32
    assert 0 < np.abs(made - exact).mean() < 0.1 * np.ptp(exact)


def test_half_precision_folders_are_used_in_float32(folders, tmp_path):
    model, processor = FAMILIES["depth-pro"]()
    model.half().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    teacher = hf.load(tmp_path, card_for("depth-pro"))
    assert {p.dtype for p in teacher.model.parameters()} == {torch.float32}


def test_depth_pro_gives_the_camera_and_takes_a_focal_length(teachers):
    teacher = teachers["depth-pro"]
    image = photo((97, 140))
    (own,) = teacher.predict_photos([image])
    assert (own.camera.cx, own.camera.cy) == (70, 48.5)
    assert own.camera.fx == own.camera.fy
    own_focal = own.camera.fx
    first, second = teacher.predict_photos([image, image], focals=[own_focal * 2, None])
    assert first.camera.fx == own_focal * 2
    assert np.allclose(first.values, own.values * 2, rtol=1e-4)  # meters are proportional to the focal length
    assert np.allclose(second.values, own.values, rtol=1e-5)
    with torch.no_grad():
        degrees = float(teacher.model(pixel_values=network_input(teacher, image)).field_of_view)
    assert own_focal == pytest.approx(70 / math.tan(math.radians(degrees) / 2), rel=1e-5)


def test_focal_lengths_are_of_no_use_to_the_others(teachers):
    teacher = teachers["zoedepth"]
    image = photo((97, 140))
    (told,) = teacher.predict_photos([image], focals=[100.0])
    assert told.camera is None
    assert np.array_equal(told.values, teacher.predict_photos([image])[0].values)


def seen_by(teacher, size, resolution=None):
    """The size of what the network gets."""
    return tuple(teacher._prepare(torch.zeros(1, 3, *size, dtype=torch.uint8), resolution).shape[-2:])


def test_resolution(folders):
    assert seen_by(teacher_of(folders, "midas-beit"), (97, 140)) == (64, 64)
    assert seen_by(teacher_of(folders, "midas-beit"), (97, 140), 128) == (128, 128)
    assert seen_by(teacher_of(folders, "midas-beit"), (97, 140), 100) == (96, 96)
    assert seen_by(teacher_of(folders, "depth-anything"), (100, 150), 112) == (112, 168)
    assert seen_by(teacher_of(folders, "zoedepth"), (300, 400), 96) == (96, 128)
    assert seen_by(teacher_of(folders, "glpn"), (97, 140)) == (96, 128)
    assert seen_by(teacher_of(folders, "midas-vit"), (97, 140), 96) == (96, 96)
    assert teacher_of(folders, "midas-vit").predict_photos([photo((97, 140))], 96)[0].values.shape == (97, 140)
    teacher = teacher_of(folders, "depth-anything", resolution=112)
    assert tuple(teacher.predict(torch.rand(1, 3, 28, 42)).shape) == (1, 28, 42)
    image = photo((100, 150))
    plain = teacher_of(folders, "depth-anything")
    assert np.array_equal(teacher.predict_photos([image])[0].values, plain.predict_photos([image], 112)[0].values)
    assert not np.allclose(plain.predict_photos([image])[0].values, plain.predict_photos([image], 112)[0].values)


@pytest.mark.parametrize("family", ["depth-pro", "glpn", "midas-swin2", "midas-hybrid"])
def test_networks_of_one_size_say_so(folders, family):
    with pytest.raises(UsageProblem, match="sees photos at"):
        teacher_of(folders, family, resolution=96)
    if family != "glpn":
        native = 128 if family == "depth-pro" else 64
        assert seen_by(teacher_of(folders, family, resolution=native), (97, 140)) == (native, native)


def test_senseless_input_is_refused(folders):
    with pytest.raises(UsageProblem, match="resolution of 32 to 8192"):
        teacher_of(folders, "midas-beit", resolution=16)
    with pytest.raises(UsageProblem, match="precision 'fp8'"):
        teacher_of(folders, "midas-beit", precision="fp8")
    with pytest.raises(UsageProblem, match="uint8"):
        teacher_of(folders, "midas-beit").predict_photos([np.zeros((4, 4, 3), np.float32)])
    for family, size in (("zoedepth", (3, 3)), ("glpn", (20, 100)), ("depth-anything", (3, 2000))):
        with pytest.raises(UsageProblem, match=f"photo of {size[1]}x{size[0]} pixels"):
            teacher_of(folders, family).predict_photos([np.zeros((*size, 3), np.uint8)])


@pytest.mark.parametrize("family", ["midas-beit", "depth-pro"])
def test_photos_of_one_pixel_width(folders, family):
    (made,) = teacher_of(folders, family).predict_photos([photo((30, 1))])
    assert made.values.shape == (30, 1)


@pytest.mark.parametrize("family", ["midas-vit", "midas-hybrid"])
def test_a_plain_vit_never_keeps_the_aspect(folders, tmp_path, family):
    """Its class crashes on what is no square, whatever the processor's configuration says."""
    folder = save(tmp_path, family)
    settings = json.loads((folder / hf_folder.PROCESSOR).read_text())
    (folder / hf_folder.PROCESSOR).write_text(
        json.dumps(settings | {"keep_aspect_ratio": True, "ensure_multiple_of": 32})
    )
    image = photo((97, 140))
    made = hf.load(folder, card_for(family)).predict_photos([image])[0].values
    assert np.array_equal(made, teacher_of(folders, family).predict_photos([image])[0].values)


def test_a_processor_configuration_of_the_first_versions(folders, tmp_path):
    """MiDaS 3.0's folders are older than image processors: another class name, the size as one number."""
    folder = save(tmp_path, "midas-vit")
    old = {
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "DPTFeatureExtractor",
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "size": 64,
    }
    (folder / hf_folder.PROCESSOR).write_text(json.dumps(old))
    image = photo((97, 140))
    made = hf.load(folder, card_for("midas-vit")).predict_photos([image])[0].values
    assert np.array_equal(made, teacher_of(folders, "midas-vit").predict_photos([image])[0].values)


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu_it_is_as_on_the_cpu(folders, family):
    photos = [photo(size, seed) for seed, size in enumerate(SIZES)]
    there = teacher_of(folders, family).to("cuda")
    for on_cpu, on_gpu in zip(
        teacher_of(folders, family).predict_photos(photos), there.predict_photos(photos), strict=True
    ):
        assert np.abs(known(on_cpu) - known(on_gpu)).max() <= 0.01 * np.ptp(on_cpu.values)
    assert there.predict(crop(photos[0]).cuda()).is_cuda
