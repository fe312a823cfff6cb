"""A user's own pairs."""

import cv2
import numpy as np
import pytest
import yaml
from ccd_cli.distill.pairs import load_pairs
from PIL import Image

from ccd_cli.core.errors import CcdError, ImageError, RecipeError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    for i in range(3):
        Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)).save(tmp_path / "set" / f"rgb{i}.png")
        cv2.imwrite(str(tmp_path / "set" / f"d{i}.png"), np.full((20, 30), 1000 * i + 500, np.uint16))
    return tmp_path


def write(folder, **keys):
    spec = {"name": "mine", "root": "set", "image": "rgb*.png", "depth": "d*.png", "scale": 0.001, **keys}
    (folder / "pairs.yaml").write_text(yaml.safe_dump(spec))
    return folder / "pairs.yaml"


def test_depth_and_disparity_are_read_in_their_unit(folder):
    pairs = load_pairs(write(folder))
    photo, depth, valid = pairs.read(2)
    assert photo.shape == (20, 30, 3)
    assert depth == pytest.approx(np.full((20, 30), 2.5))
    assert valid.all()
    np.save(folder / "set" / "d0.npy", np.full((20, 30), 0.5, np.float32))
    stereo = load_pairs(write(folder, image="rgb0.png", depth="d0.npy", kind="disparity", scale=1.0))
    assert stereo.read(0)[1] == pytest.approx(np.full((20, 30), 2.0))


def test_problems_are_named(folder):
    with pytest.raises(CcdError, match=r"3 photos .* 0 depth files"):
        load_pairs(write(folder, depth="nothing*"))
    with pytest.raises(RecipeError) as caught:
        load_pairs(write(folder, unit="m", scale=-1.0))
    assert {key for key, _ in caught.value.problems} == {"unit", "scale"}
    pairs = load_pairs(write(folder, max=0.2))
    with pytest.raises(ImageError, match="no valid pixel"):
        pairs.read(0)
    (folder / "set" / "d1.png").write_text("x")
    pairs = load_pairs(write(folder))
    with pytest.raises(ImageError, match=r"d1\.png"):
        pairs.read(1)
