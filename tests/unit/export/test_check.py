"""What a difference is, which photos are compared, and what passes."""

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Silent
from ccd_cli.export.check import AT_LEAST, Difference, difference, network_input, own_photos, shipped_photos
from ccd_cli.export.formats import BARS, FORMATS, check_precision
from ccd_cli.models.arch import timm_arch


def test_a_difference_is_a_fraction_of_the_range():
    original = np.array([[10.0, 20.0], [30.0, 50.0]], np.float32)
    made = original + np.array([[0.0, 4.0], [-8.0, 0.0]], np.float32)
    found = difference("a", made, original)
    assert (found.largest, found.mean) == (8 / 40, 12 / 4 / 40)


@pytest.mark.parametrize("wrong", [np.full((2, 2), np.nan, np.float32), np.zeros((2, 3), np.float32)])
def test_what_is_no_map_is_infinitely_far(wrong):
    found = difference("a", wrong, np.array([[0.0, 1.0], [2.0, 3.0]], np.float32))
    assert found.largest == float("inf") and not BARS["int8"].holds(found)


def test_a_constant_map_has_no_range():
    flat = np.full((2, 2), 3.0, np.float32)
    assert difference("a", flat + 1e-6, flat).largest == float("inf")
    assert difference("a", flat.copy(), flat).largest == 0


def test_either_bar_refuses():
    bar = BARS["fp16"]
    assert bar.holds(Difference("a", bar.largest, bar.mean))
    assert not bar.holds(Difference("a", bar.largest * 1.01, 0.0))
    assert not bar.holds(Difference("a", bar.mean * 2, bar.mean * 1.01))


def test_float32_must_agree_to_a_thousandth():
    assert BARS["fp32"].largest == 1e-3


def test_the_shipped_photos_have_several_shapes():
    photos = shipped_photos()
    ratios = {round(p.rgb.shape[1] / p.rgb.shape[0], 1) for p in photos}
    assert len(photos) >= 5 and min(ratios) < 0.7 and max(ratios) >= 2 and 1.0 in ratios
    assert not any(p.judged for p in shipped_photos(judged=False))


def test_inputs_follow_the_rule_or_one_size():
    arch = timm_arch("mobilenetv4_conv_small", resolution=64)
    rgb = np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8)
    assert network_input(arch, rgb).shape == (1, 3, 64, 128)
    fixed = network_input(arch, rgb, (96, 32))
    assert fixed.shape == (1, 3, 96, 32) and fixed.dtype == np.float32


def test_photos_are_kept_apart_for_the_comparison(tmp_path):
    for i in range(12):
        Image.new("RGB", (40, 30), (i, 0, 0)).save(tmp_path / f"{i:02}.png")
    calibration, judges = own_photos(tmp_path, Silent())
    assert len(calibration) + len(judges) == 12 and len(judges) == 3
    assert not {p.name for p in calibration} & {p.name for p in judges}


def test_too_few_photos_are_refused_and_broken_ones_named(tmp_path):
    for i in range(AT_LEAST - 1):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{i:02}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    report = Silent()
    with pytest.raises(CcdError, match=f"has {AT_LEAST - 1} photos, and int8 is calibrated on {AT_LEAST}"):
        own_photos(tmp_path, report)
    assert any("broken.png" in line for line in report.warnings)
    assert len([each for part in own_photos(tmp_path, report, 1) for each in part]) == AT_LEAST - 1
    (tmp_path / "none").mkdir()
    for least, why in ((AT_LEAST, "int8 is calibrated"), (1, "nothing to compare on")):
        with pytest.raises(CcdError, match=f"none has 0 photos, and .*{why}") as caught:
            own_photos(tmp_path / "none", report, least)
        assert "--set" not in str(caught.value)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_bf16_is_refused_with_what_to_do(name):
    with pytest.raises(UsageProblem, match=r"has no bf16; it has fp32.*--runtime openvino"):
        check_precision(name, "bf16")
    assert check_precision(name, "fp32") is FORMATS[name]
