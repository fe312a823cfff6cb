"""Black bars: found where a film has them, with captions and noise in them, and nowhere else."""

import numpy as np
import pytest

from ccd_cli.media.video.bars import Bars, find_bars
from ccd_cli.predict.letterbox import Letterbox

RNG = np.random.default_rng(5)


def scene(height, width, low=40, high=230):
    """A textured picture, uint8 RGB."""
    coarse = RNG.uniform(low, high, (height // 8 + 2, width // 8 + 2, 3))
    return np.kron(coarse, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)


def boxed(picture, top=0, bottom=0, left=0, right=0, black=2):
    """The picture with noisy black around it."""
    padded = np.pad(picture, ((top, bottom), (left, right), (0, 0)))
    noise = RNG.integers(0, 2 * black + 1, padded.shape)
    inside = np.zeros(padded.shape[:2], bool)
    inside[top : padded.shape[0] - bottom, left : padded.shape[1] - right] = True
    return np.where(inside[..., None], padded, noise).astype(np.uint8)


@pytest.mark.parametrize(
    "bars", [(30, 30, 0, 0), (0, 0, 40, 40), (31, 29, 0, 0), (20, 20, 40, 42), (0, 0, 120, 120), (6, 6, 0, 0)]
)
def test_bars_are_found_to_the_pixel(bars):
    top, bottom, left, right = bars
    film = [boxed(scene(240 - top - bottom, 360 - left - right), *bars) for _ in range(6)]
    film[2][:] = 0  # a cut to black
    found = find_bars(film)
    assert found == Bars(*bars)
    assert found.crop(film[0]).shape == (240 - top - bottom, 360 - left - right, 3)


def test_captions_and_dark_scenes_do_not_hide_them():
    film = [boxed(scene(180, 320), 30, 30) for _ in range(6)]
    film[1][218:228, 60:200] = 255
    film[3][218:228, 80:220] = 255
    film[4][30:120] = 3  # the upper half of this scene is night
    found = find_bars(film)
    assert found == Bars(30, 30)
    assert [found.shows_something(frame) for frame in film] == [False, True, False, True, False, False]


def dark_floor():
    return [boxed(scene(180, 320), 0, 60) for _ in range(6)]


def object_on_black():
    frames = []
    for _ in range(6):
        frame = np.full((240, 320, 3), 3, np.uint8)
        y, x = np.mgrid[:240, :320]
        frame[np.hypot(y - 120, x - 160) < 80] = 200
        frames.append(frame)
    return frames


def a_film_of_two_shapes():
    return [boxed(scene(180, 320), 30, 30) for _ in range(4)] + [scene(240, 320) for _ in range(2)]


def small_picture():
    return [boxed(scene(80, 100), 80, 80, 110, 110) for _ in range(4)]


def padding_of_an_encoder():
    return [boxed(scene(236, 320), 2, 2) for _ in range(4)]


def all_black():
    return [np.zeros((240, 320, 3), np.uint8)] * 4


@pytest.mark.parametrize(
    "film", [dark_floor, object_on_black, a_film_of_two_shapes, small_picture, padding_of_an_encoder, all_black, list]
)
def test_what_is_not_letterboxed(film):
    assert find_bars(film()) == Bars()


def test_the_camera_is_that_of_the_picture_in_the_frame():
    letterbox = Letterbox((240, 320), Bars(30, 40, 10, 20))
    camera, source = letterbox.camera(None, 60.0)
    assert source == "fov"
    assert (camera.cx, camera.cy) == (10 + 290 / 2, 30 + 170 / 2)
    assert camera.fx == pytest.approx(290 / 2 / np.tan(np.pi / 6))
