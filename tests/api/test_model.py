"""`ccd.load` and `Model.predict`: every kind of image, the same map as the command's, and one plain error for bad input."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

import ccd_cli as ccd
from tests.api.conftest import scene


def test_attributes(model):
    told = (model.name, model.kind, model.license, model.resolution, model.device, model.precision, model.runtime)
    assert told == ("builtin:tiny", "disparity", "Apache-2.0", 160, "cpu", "fp32", "torch")
    assert "builtin:tiny" in repr(model)


def test_a_photo_that_ships_has_a_name_that_works_in_any_folder(here, model):
    depth = model.predict("builtin:photos/cat.jpg")
    assert depth.shape == (300, 451) and depth.rgb is not None


def test_the_map_is_the_commands(here, model, ccd_here):
    assert ccd_here("predict", "room.jpg", "--model", "builtin:tiny", "--save", "npy", "--out", "o").exit_code == 0
    depth = model.predict("room.jpg")
    assert np.array_equal(depth.values, np.load("o/room.npy"))
    side = json.loads((here / "o/room.json").read_text())
    camera = depth.intrinsics
    assert [camera.fx, camera.fy, camera.cx, camera.cy] == side["intrinsics"]
    assert (depth.kind, depth.unit, depth.direction) == (side["kind"], side["unit"], side["direction"])
    assert depth.intrinsics_source == side["intrinsics_source"] == "guess"
    assert depth.valid.dtype == bool and depth.valid.all() and depth.values.shape == depth.rgb.shape[:2] == (60, 80)


def test_all_kinds_of_images_agree(here, model):
    rgb = scene()
    tensor = torch.from_numpy(rgb).permute(2, 0, 1) / 255
    expected = model.predict(rgb).values
    for image in ("room.png", here / "room.png", Image.open("room.png"), Image.fromarray(rgb), tensor, tensor.double()):
        made = model.predict(image)
        assert isinstance(made, ccd.DepthMap) and np.allclose(made.values, expected, atol=1e-5), type(image)
    for several in (["room.png", rgb, tensor], (rgb, rgb, rgb), torch.stack([tensor] * 3)):
        for batch in (None, 2):
            made = model.predict(several, batch=batch)
            assert isinstance(made, list) and len(made) == 3
            assert all(np.allclose(one.values, expected, atol=1e-5) for one in made)
    assert model.predict([]) == []
    assert len(model.predict(["room.png"])) == 1


def test_exif_turns_the_photo_and_gives_the_camera(here, model):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif.get_ifd(0x8769)[0xA405] = 50
    Image.fromarray(scene()).save("turned.jpg", exif=exif, quality=95)
    depth = model.predict("turned.jpg")
    assert depth.shape == (80, 60) and depth.intrinsics_source == "exif"
    assert depth.intrinsics.fx == pytest.approx(50 * 100 / np.hypot(36, 24))
    upright = model.predict(np.ascontiguousarray(np.rot90(np.asarray(Image.open("turned.jpg")), -1)))
    assert np.allclose(upright.values, depth.values, atol=1e-5)
    assert model.predict(Image.open("turned.jpg")).shape == (80, 60)


def test_cameras(here, model):
    for given in (
        (90, 91, 40, 30),
        ccd.Camera(90, 91, 40, 30),
        np.array([[90, 0, 40], [0, 91, 30], [0, 0, 1]]),
        "90,91,40,30",
    ):
        depth = model.predict("room.png", intrinsics=given)
        assert depth.intrinsics == ccd.Camera(90, 91, 40, 30) and depth.intrinsics_source == "flag"
    depth = model.predict("room.png", fov=90)
    camera = depth.intrinsics
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx((40, 40, 40, 30))
    assert depth.intrinsics_source == "fov"


def test_intrinsics_of_another_size_are_a_warning(here, model):
    with pytest.warns(ccd.CcdWarning, match=r"room.png: The principal point \(320.0, 240.0\)") as said:
        model.predict("room.png", intrinsics=(500, 500, 320, 240))
    assert said[0].filename == __file__


def test_resolution_changes_the_map(here, model):
    fine = ccd.load("builtin:tiny", resolution=224, device="cpu")
    assert fine.resolution == 224
    assert not np.allclose(fine.predict("room.png").values, model.predict("room.png").values, atol=1e-5)


TENSOR = torch.rand(3, 60, 80)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("missing.jpg", "missing.jpg: no such file"),
        (["room.png", "missing.jpg"], "missing.jpg: no such file"),
        (scene().astype(np.float32), "uint8 array HxWx3 (RGB), not float32 60x80x3"),
        (scene()[..., 0], "not uint8 60x80"),
        (scene()[None], "not uint8 1x60x80x3"),
        (np.zeros((4, 80, 3), np.uint8), "under 16 pixels"),
        (TENSOR * float("nan"), "not finite"),
        (TENSOR * 255, "0..1"),
        (TENSOR - 0.5, "0..1"),
        (TENSOR[:2], "float [3, H, W]"),
        ((TENSOR * 255).byte(), "not torch.uint8"),
        (torch.rand(1, 1, 3, 60, 80), "float [3, H, W]"),
        (torch.rand(0, 3, 60, 80), "no image"),
        (["room.png", ["room.png"]], "image 1: list is no image"),
        (["room.png", None], "image 1: NoneType is no image"),
        (None, "NoneType is no image"),
        (3, "int is no image"),
        (b"room.png", "bytes is no image"),
        (["room.png", scene()[..., 0]], "image 1: a photo is a uint8 array"),
    ],
)
def test_bad_images_are_one_plain_error(here, model, image, words):
    with pytest.raises(ccd.CcdError) as error:
        model.predict(image)
    assert words in error.value.message and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fov": 200}, "fov is an angle"),
        ({"fov": 60, "intrinsics": (90, 90, 40, 30)}, "contradict"),
        ({"intrinsics": (1, 2, 3)}, "intrinsics holds 3 numbers"),
        ({"intrinsics": 5}, "not int"),
        ({"batch": 0}, "batch"),
        ({"batch": 1.5}, "batch"),
    ],
)
def test_bad_options_are_one_plain_error(here, model, options, words):
    with pytest.raises(ccd.CcdError, match=words) as error:
        model.predict("room.png", **options)
    assert "--" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "builtin:none"}, "Unknown built-in model"),
        ({"model": "depth-anything-v2-smal"}, "Unknown model"),
        ({"model": "none.pth"}, "no file or folder"),
        ({"model": 5}, "model is a text or a path"),
        ({"model": "builtin:tiny", "device": "tpu"}, "device tpu"),
        ({"model": "builtin:tiny", "device": "cuda:99"}, "device cuda:99"),
        ({"model": "builtin:tiny", "precision": "fp8"}, "precision"),
        ({"model": "builtin:tiny", "runtime": "tensorrt"}, "runtime"),
        ({"model": "builtin:tiny", "resolution": 3}, "resolution is at least 14"),
        ({"model": "builtin:tiny", "resolution": "big"}, "resolution is a whole number"),
        ({"model": "builtin:tiny", "arch": "none"}, "none"),
    ],
)
def test_what_cannot_be_loaded_is_one_plain_error(here, options, words):
    name = options.pop("model")
    with pytest.raises(ccd.CcdError, match=words) as error:
        ccd.load(name, **options)
    assert "--" not in error.value.message


def test_a_fallback_is_a_warning(here, model):
    with pytest.warns(ccd.CcdWarning, match="builtin:tiny") as said:
        assert ccd.load(device="cpu").name == "builtin:tiny"
    assert said[0].filename == __file__


def test_errors_cross_processes_and_models_do_not(here, model):
    for call in (lambda: model.predict("none.jpg"), lambda: ccd.distill({"a": 1}), lambda: ccd.load("nope")):
        with pytest.raises(ccd.CcdError) as caught:
            call()
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is type(caught.value) and str(again) == str(caught.value)
        assert (again.message, again.hint) == (caught.value.message, caught.value.hint)
    for take in (pickle.dumps, copy.deepcopy):
        with pytest.raises(
            ccd.CcdError, match=r"cannot be pickled or copied. Load it there: ccd.load\('builtin:tiny'\)"
        ):
            take(model)
    assert len(pickle.loads(pickle.dumps(model.predict("room.jpg"))).values) == 60


def test_what_is_wrong_with_a_recipe_is_in_the_error(here):
    with pytest.raises(ccd.CcdError, match=r"1 problem in the recipe.\n  nonsense: unknown key"):
        ccd.distill("quickstart", nonsense=1)


def test_tensors_whose_values_cannot_be_read_are_refused(model):
    for tensor in (torch.zeros(3, 64, 64, device="meta"), torch.zeros(3, 64, 64).to_sparse()):
        with pytest.raises(ccd.CcdError, match="the values of the tensor 3x64x64 cannot be read"):
            model.predict(tensor)


def test_numbers_of_other_types(model):
    with pytest.raises(ccd.CcdError, match="fov is a finite number, not '70'"):
        model.predict(scene(), fov="70")
    assert len(model.predict([scene(), scene()], batch=np.int64(2))) == 2
