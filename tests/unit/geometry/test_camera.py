"""Cameras: formulas against numbers worked out by hand, and the order in which sources are asked."""

from __future__ import annotations

import math

import pytest

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.camera import (
    Calibration,
    camera_from_focal_35mm,
    camera_from_fov,
    field_of_view,
    parse_intrinsics,
    resize_camera,
    resolve_camera,
)
from ccd_cli.geometry.depth_map import Camera

GIVEN, OWN = Camera(500, 510, 300, 200), Camera(700, 700, 320, 240)


def test_field_of_view_is_across_the_longer_side():
    wide, tall = camera_from_fov(90, 480, 640), camera_from_fov(90, 640, 480)
    assert wide.fx == wide.fy == pytest.approx(320)
    assert tall.fx == tall.fy == pytest.approx(320)
    assert (wide.cx, wide.cy) == (320, 240)
    assert field_of_view(wide, 480, 640) == pytest.approx(90)
    assert field_of_view(camera_from_fov(33, 640, 480), 640, 480) == pytest.approx(33)


def test_an_off_center_camera_sees_as_much_as_its_two_halves():
    assert field_of_view(Camera(100, 100, 0, 50), 100, 200) == pytest.approx(math.degrees(math.atan(2)))


def test_the_film_equivalent_goes_by_the_diagonal():
    # A 36 x 24 mm frame of 3600 x 2400 pixels has 100 pixels a millimeter.
    assert camera_from_focal_35mm(50, 2400, 3600).fx == pytest.approx(5000)
    # A 4:3 phone with "26 mm": 26 / 43.2666 of its diagonal of 5000 pixels.
    assert camera_from_focal_35mm(26, 3000, 4000).fx == pytest.approx(26 / 43.26661531 * 5000)


def test_rotation_and_resizing_agree_with_the_film_equivalent():
    camera = camera_from_focal_35mm(28, 3000, 4000)
    assert camera_from_focal_35mm(28, 4000, 3000).fx == pytest.approx(camera.fx)
    small = resize_camera(camera, (3000, 4000), (300, 400))
    assert small.fx == pytest.approx(camera_from_focal_35mm(28, 300, 400).fx)
    assert (small.cx, small.cy) == (200, 150)


def test_the_first_known_source_wins():
    everything = {"stored": (OWN, "exif"), "focal_35mm": 28.0, "model": OWN}
    assert resolve_camera(480, 640, intrinsics=GIVEN, **everything) == (GIVEN, "flag")
    assert resolve_camera(480, 640, fov=90, **everything) == (camera_from_fov(90, 480, 640), "fov")
    assert resolve_camera(480, 640, **everything) == (OWN, "exif")
    assert resolve_camera(480, 640, focal_35mm=28.0, model=OWN)[1] == "exif"
    assert resolve_camera(480, 640, model=OWN) == (OWN, "model")
    assert resolve_camera(480, 640) == (camera_from_fov(60, 480, 640), "guess")


def test_two_flags_contradict():
    with pytest.raises(UsageProblem, match="contradict"):
        resolve_camera(480, 640, intrinsics=GIVEN, fov=60)


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "500,-500,1,1", "0,1,1,1", "nan,1,1,1", "inf,1,1,1"]
)
def test_bad_intrinsics_are_named(text):
    with pytest.raises(UsageProblem, match="--intrinsics"):
        parse_intrinsics(text)


def test_intrinsics_are_read_with_spaces():
    for text in (
        "500, 510,300.5 ,200",
        " 500 510 300.5 200",
        "500,0,300.5,0,510,200,0,0,1",
        "500 0 300.5\n0 510 200\n0 0 1",
    ):
        assert parse_intrinsics(text) == Calibration(Camera(500, 510, 300.5, 200)), text
        assert parse_intrinsics(text).at(480, 640) == Camera(500, 510, 300.5, 200)


def test_intrinsics_in_units_of_the_size_are_no_pixels():
    with pytest.raises(UsageProblem, match="units of the image's size"):
        parse_intrinsics("0.8,1.1,0.5,0.5")


def test_a_calibration_is_scaled_to_the_image_and_refused_for_another_shape():
    calibration = Calibration(Camera(500, 510, 300, 200), (480, 640), "k.json")
    assert calibration.at(480, 640) == Camera(500, 510, 300, 200)
    assert calibration.at(960, 1280) == Camera(1000, 1020, 600, 400)
    assert resolve_camera(240, 320, intrinsics=calibration) == (Camera(250, 255, 150, 100), "flag")
    for size, hint in (((640, 480), "upright"), ((480, 480), "--fov"), ((720, 1280), "--fov")):
        with pytest.raises(UsageProblem, match=r"k\.json is for images of 640x480") as error:
            calibration.at(*size)
        assert hint in error.value.hint


@pytest.mark.parametrize("angle", [0, -10, 180, 400, math.nan])
def test_impossible_angles(angle):
    with pytest.raises(UsageProblem, match="--fov"):
        camera_from_fov(angle, 480, 640)


def test_a_camera_without_focal_length_cannot_be_made():
    with pytest.raises(CcdError):
        Camera(0, 1, 1, 1)
