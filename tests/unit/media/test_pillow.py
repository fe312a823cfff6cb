"""Pillow's global limit is as the program around set it, whatever threads read photos."""

import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from ccd_cli.media.exif import read_focal_35mm
from ccd_cli.media.map_read import Meaning, read_map
from ccd_cli.media.photos import read_photo
from ccd_cli.media.pillow import without_pillow_limit


@pytest.fixture
def tiny_limit(monkeypatch):
    """A limit of Pillow under which it would refuse every photo of these tests."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)


def test_photos_and_maps_over_pillows_limit_are_read(tmp_path, tiny_limit):
    Image.fromarray(np.full((40, 30, 3), 7, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((40, 30), 500, np.uint16)).save(tmp_path / "d.png")
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").shape == (40, 30, 3)
    assert read_map(tmp_path / "d.png", Meaning(depth_scale=1000)).depth_map.values[0, 0] == pytest.approx(0.5)
    read_focal_35mm(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS == 100


def test_limit_and_warnings_come_back_whatever_the_order_of_threads(tiny_limit):
    filters = list(warnings.filters)
    first, second = without_pillow_limit(), without_pillow_limit()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is None, "the second is still inside"
    second.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert warnings.filters == filters


def test_many_threads(tmp_path, tiny_limit):
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(tmp_path / "a.jpg")
    filters, failed = list(warnings.filters), []

    def work():
        try:
            for _ in range(50):
                read_photo(tmp_path / "a.jpg")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert Image.MAX_IMAGE_PIXELS == 100
    assert warnings.filters == filters


def test_the_limit_comes_back_after_an_error(tmp_path, tiny_limit):
    with pytest.raises(ValueError, match="x"), without_pillow_limit():
        raise ValueError("x")
    assert Image.MAX_IMAGE_PIXELS == 100
