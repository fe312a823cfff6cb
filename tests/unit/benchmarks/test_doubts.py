"""Pairs that are odd: each oddity put into good pairs is found and named, and good pairs have none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from ccd_cli.benchmarks.own.doubts import doubts, facts, look
from ccd_cli.benchmarks.suites import open_described
from ccd_cli.metrics.registration import edge_agreement, shift_of
from ccd_cli.scenes.source import SceneSource

COUNT, HEIGHT, WIDTH = 8, 144, 192


@pytest.fixture(scope="module")
def scenes():
    """(image, depth in meters, infinite in the sky) of rendered scenes."""
    source = SceneSource(COUNT, HEIGHT, WIDTH, "room", 0)
    made = []
    for number in range(COUNT):
        image, disparity, _ = source.read(number)
        with np.errstate(divide="ignore"):
            made.append((image, 1.0 / disparity))
    return made


@pytest.fixture
def pairs(scenes, tmp_path):
    """Return a function that writes pairs, changed, and opens the set."""

    def write(change=lambda depths: depths, **keys):
        depths = change([depth for _, depth in scenes])
        for number, ((image, _), depth) in enumerate(zip(scenes, depths, strict=True)):
            Image.fromarray(image).save(tmp_path / f"{number}.png")
            np.save(tmp_path / f"{number}.npy", np.where(np.isfinite(depth), depth, 0).astype(np.float32))
        rules = {"name": "mine", "image": "*.png", "depth": "*.npy", "scale": 1.0, "max": 1e6, **keys}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(rules))
        (found,) = open_described(tmp_path / "mine.yaml")
        return found

    return write


def said(benchmark):
    return " ".join(doubts(benchmark, look(benchmark)))


def moved(depth, right, down):
    made = np.full_like(depth, np.nan)
    made[max(down, 0) : HEIGHT + min(down, 0), max(right, 0) : WIDTH + min(right, 0)] = depth[
        max(-down, 0) : HEIGHT + min(-down, 0), max(-right, 0) : WIDTH + min(-right, 0)
    ]
    return made


def test_good_pairs_have_none(pairs):
    benchmark = pairs()
    seen = look(benchmark)
    assert list(doubts(benchmark, seen)) == []
    assert "median depth" in facts(benchmark, seen) and "edges of image and depth correlate" in facts(benchmark, seen)


@pytest.mark.parametrize(
    ("right", "down", "words"),
    [(6, 0, ("3.1 % of the longer side right",)), (0, -5, ("side up",)), (-4, 4, ("side left and", "side down"))],
)
def test_depth_beside_its_image(pairs, right, down, words):
    text = said(pairs(lambda depths: [moved(depth, right, down) for depth in depths]))
    assert all(word in text for word in ("registered to this camera", *words)), text


def test_a_pixel_beside_is_nobodys_fault(pairs):
    assert said(pairs(lambda depths: [moved(depth, 1, 0) for depth in depths])) == ""


@pytest.mark.parametrize(("step", "words"), [(1, "the image 1 after it"), (-1, "the image 1 before it")])
def test_maps_in_another_order(pairs, step, words):
    text = said(pairs(lambda depths: [*np.roll(np.array(depths), step, 0)]))
    assert words in text and "paired with its map" in text, text


@pytest.mark.parametrize(
    ("factor", "keys", "words"),
    [
        (1000, {}, "divisor: 1000 (millimeters)"),
        (1e-3, {}, "the unit looks wrong"),
        (1, {"scale": 0.001}, "scale: 1 (meters)"),
    ],
)
def test_units_out_of_any_sense(pairs, factor, keys, words):
    text = said(pairs(lambda depths: [depth * factor for depth in depths], min=1e-6, **keys))
    assert words in text and "median depth" in text, text


def test_stereo_with_a_wrong_baseline(pairs):
    stereo = lambda depths: [400 * 0.1 / depth for depth in depths]  # noqa: E731
    good = pairs(stereo, kind="disparity", baseline=0.1, focal=400.0)
    assert said(good) == ""
    text = said(pairs(stereo, kind="disparity", baseline=100.0, focal=400.0))
    assert "are `baseline` (meters), `focal` (pixels) and `divisor` right?" in text


def test_nothing_is_said_of_sparse_points_and_few_images(pairs, scenes):
    rng = np.random.default_rng(0)
    sparse = lambda depths: [np.where(rng.uniform(size=d.shape) < 0.05, moved(d, 9, 0), np.nan) for d in depths]  # noqa: E731
    assert said(pairs(sparse)) == "", "edges of points are no edges"
    image, depth = scenes[0]
    assert edge_agreement(image, np.full_like(depth, 3.0)) is None
    assert edge_agreement(np.full_like(image, 90), depth) is None


def test_the_shift_is_that_of_the_depth(scenes):
    surfaces = [edge_agreement(image, moved(depth, 6, -3)) for image, depth in scenes]
    shift = shift_of(surfaces)
    assert (shift.right, shift.down) == pytest.approx((6 / WIDTH, -3 / WIDTH), abs=1.01 / 256) and shift.certain


def test_data_check_says_it(pairs, ccd_here, tmp_path):
    pairs(lambda depths: [1000 * moved(depth, 8, 0) for depth in depths])
    done = ccd_here("data", "check", "mine.yaml", "--read")
    assert done.exit_code == 0, "a doubt is no error"
    assert "doubtful: half of the images" in done.stdout and "doubtful: ground truth lies about" in done.stdout
    found = json.loads(ccd_here("data", "check", "mine.yaml", "--read", "--json").stdout)
    assert len(found["sets"][0]["doubts"]) == 2


def test_photos_that_are_stored_turned(pairs, tmp_path):
    """Their ground truth has no such note: which of both is upright is for its owner to say."""
    found = pairs()
    assert "turned" not in said(found)
    exif = Image.Exif()
    exif[0x0112] = 3
    for number in range(2):
        with Image.open(tmp_path / f"{number}.png") as image:
            image.save(tmp_path / f"{number}.png", exif=exif)
    assert "2 of 8 images are stored turned or mirrored (0.png, by its EXIF orientation)" in said(found)


def test_photos_of_several_sizes_under_one_camera(pairs, tmp_path):
    camera = {"intrinsics": [110.0, 110.0, WIDTH / 2, HEIGHT / 2]}
    assert "share one camera" not in said(pairs(**camera))
    with Image.open(tmp_path / "3.png") as image:
        image.resize((2 * WIDTH, 2 * HEIGHT)).save(tmp_path / "3.png")
    np.save(tmp_path / "3.npy", np.load(tmp_path / "3.npy").repeat(2, 0).repeat(2, 1))
    (found,) = open_described(tmp_path / "mine.yaml")
    assert f"images of 2 sizes, from {WIDTH}x{HEIGHT} to {2 * WIDTH}x{2 * HEIGHT}, share one camera" in said(found)
