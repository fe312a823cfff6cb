"""What a student is scored on while it trains, by the rules of `ccd eval`."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from ccd_cli.benchmarks import Sample
from ccd_cli.benchmarks.generated import HeldOutScenes
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.errors import CcdError, ImageError, RecipeError
from ccd_cli.distill.results import is_better
from ccd_cli.distill.validation import Validation, open_validation
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.scenes.source import SceneSource
from ccd_cli.scoring.baselines import SIDE, MeanMap, baseline


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    for i in range(3):
        Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)).save(tmp_path / "set" / f"rgb{i}.png")
        ramp = np.linspace(500, 1000 * i + 1500, 20)[:, None].repeat(30, 1)
        cv2.imwrite(str(tmp_path / "set" / f"d{i}.png"), ramp.round().astype(np.uint16))
    return tmp_path


def opened(folder, max_images=200, **keys):
    spec = {"name": "mine", "root": "set", "image": "rgb*.png", "depth": "d*.png", "scale": 0.001, **keys}
    (folder / "pairs.yaml").write_text(yaml.safe_dump(spec))
    return open_validation(
        DistillRecipe.model_validate(
            {
                "name": "x",
                "images": "builtin:photos",
                "student": {"arch": "timm", "encoder": "mobilenetv4_conv_small"},
                "teachers": ["builtin:tiny"],
                "crops": {"size": 64},
                "eval": {"pairs": str(folder / "pairs.yaml"), "max_images": max_images},
            }
        )
    )


class Knows:
    """A teacher that knows the depth of its photos, by their gray, up to scale and shift of disparity."""

    kind = "disparity"

    def predict_photos(self, photos, resolution=None, focals=None):
        self.asked = (resolution, list(focals))
        return [DepthMap(self._map(int(photo[0, 0, 0])), "disparity") for photo in photos]

    def _map(self, gray):
        depth = np.linspace(0.5, gray / 40 + 1.5, 20)[:, None].repeat(30, 1)
        return (4.0 / depth - 1).astype(np.float32)


def test_a_perfect_teacher_and_the_trivial_baselines(folder):
    validation = opened(folder, intrinsics=[40.0, 40.0, 15.0, 10.0])
    teacher = Knows()
    scores = validation.score(teacher, 64)
    assert scores["abs_rel"] < 1e-3 and scores["delta1"] == 1 and scores["images"] == len(validation) == 3
    assert teacher.asked == (64, [40.0]), "as ccd eval: the focal length goes along"
    rows = validation.baselines()
    assert [row["model"] for row in rows] == ["mean map", "vertical gradient", "constant"]
    assert set(rows[0]) == {"model", "abs_rel", "rmse", "delta1", "delta2", "delta3"}
    assert rows[0]["abs_rel"] < 0.1 < rows[2]["abs_rel"], "every photo is a slope: their mean knows most of it"
    assert opened(folder, resolution=32).score(teacher, 64)["abs_rel"] < 1e-3 and teacher.asked[0] == 32


def test_what_was_done_is_told(folder):
    validation = opened(folder, max_images=2)
    made = validation.protocol
    assert validation.name == "mine" and len(validation) == 2 and made["limit"] == 2
    assert made["alignment"] == "least-squares-disparity" and made["datasets"]["mine"]["floor"] == "image"
    text = " ".join(made["in_words"])
    assert "largest ground truth of the image" in text and "Marigold" not in text and "MiDaS" not in text


def test_a_constant_is_what_least_squares_makes_of_it(folder):
    """By hand: a constant map is fitted to the mean of 1 / depth."""
    errors = []
    for i in range(3):
        true = np.round(np.linspace(500, 1000 * i + 1500, 20)) / 1000
        errors.append(np.mean(np.abs(1 / np.mean(1 / true) - true) / true))
    row = opened(folder).baselines()[2]
    assert row["abs_rel"] == pytest.approx(np.mean(errors), rel=1e-6)


def test_problems_are_named(folder):
    with pytest.raises(CcdError, match=r"mine: nothing matches"):
        opened(folder, depth="nothing*")
    with pytest.raises(CcdError, match=r"3 match .* 2 match"):
        opened(folder, depth="d[01].png")
    with pytest.raises(RecipeError) as caught:
        opened(folder, unit="m", scale=-1.0)
    assert {key for key, _ in caught.value.problems} == {"unit", "scale"}
    with pytest.raises(ImageError, match="left to score"):
        opened(folder, max=0.2).score(Knows(), None)
    (folder / "set" / "d1.png").write_text("x")
    validation = opened(folder)
    assert validation.score(Knows(), None)["images"] == 2, "a damaged file is left out"
    assert "d1.png" in next(iter(validation.unreadable.values())).message
    with pytest.raises(ImageError, match=r"d1\.png"):
        opened(folder, image="rgb1.png", depth="d1.png").score(Knows(), None)


def test_every_mean_is_over_the_same_images(folder):
    validation, whole = opened(folder), (folder / "set" / "d1.png").read_bytes()
    (folder / "set" / "d1.png").write_text("x")
    first = validation.score(Knows(), None)
    (folder / "set" / "d1.png").write_bytes(whole)
    assert validation.score(Knows(), None) == first, "back again it does not change the mean"
    (folder / "set" / "d2.png").write_text("x")
    with pytest.raises(CcdError, match=r"d2\.png.*could be read .* before"):
        validation.score(Knows(), None)


class KnowsButOne(Knows):
    """Gives no number for the photo of gray 40."""

    def _map(self, gray):
        return super()._map(gray) * (np.float32(np.nan) if gray == 40 else 1)


def test_a_network_that_fails_on_an_image_has_no_mean(folder):
    for first in (True, False):
        validation = opened(folder)
        if not first:
            validation.score(Knows(), None)
        scores = validation.score(KnowsButOne(), None)
        assert np.isnan(scores["abs_rel"]) and scores["images"] == 3, "no mean over the images that it can do"
        assert not validation.unreadable
        assert validation.score(Knows(), None)["abs_rel"] < 1e-3


def test_nan_never_replaces_a_number_as_best():
    nan, good, better = ({"abs_rel": value} for value in (float("nan"), 0.2, 0.1))
    assert is_better(nan, None) and is_better(good, nan) and is_better(better, good)
    assert not is_better(nan, good) and not is_better(good, better) and not is_better(good, good)


def test_generated_scenes_go_through_the_same_evaluator():
    scenes = HeldOutScenes(SceneSource(2, 48, 64, "mixed", 2**40))
    validation = Validation("scenes", [scenes])
    true = {scenes.read(i).rgb.tobytes(): scenes.read(i) for i in range(2)}

    def predict_photos(photos, resolution=None, focals=None):
        maps = (np.where(true[p.tobytes()].mask, 1 / true[p.tobytes()].depth, 0) for p in photos)
        return [DepthMap(values.astype(np.float32), "disparity") for values in maps]

    assert validation.score(SimpleNamespace(predict_photos=predict_photos), None)["abs_rel"] < 1e-5
    assert validation.protocol["datasets"]["scenes"]["floor"] == "image"


def sample(name, depth, mask=None):
    depth = np.asarray(depth, np.float32)
    return Sample(name, np.zeros((*depth.shape, 3), np.uint8), depth, np.isfinite(depth) if mask is None else mask)


def test_the_mean_map_is_of_the_others():
    """By hand: disparity 1, 2, 3 from top to bottom has the median 2 and MAD (1 + 1) * n / (3 n + 1)."""
    rise = 1 / np.repeat([1.0, 2.0, 3.0], SIDE)[:, None].repeat(3 * SIDE, 1)
    first, same, turned = sample("a", rise), sample("b", rise), sample("c", rise[::-1])
    mean = MeanMap()
    mean.add(first)
    with pytest.raises(CcdError, match="no other image"):
        mean.without(first)
    mean.add(same)
    third = 3 * SIDE * SIDE
    steps = mean.without(first)[[0, SIDE // 2, -1], 0]
    assert steps == pytest.approx(np.array([-1, 0, 1]) * (3 * third + 1) / (2 * third), rel=1e-6)
    mean.add(turned)
    assert mean.count == 3 and np.abs(mean.without(first)).max() < 1e-5, "one up and one down"
    assert np.allclose(mean.without(sample("another", rise)), mean.without(turned) / 3, atol=1e-5)
    mean.add(sample("empty", np.full((3 * SIDE, 3 * SIDE), np.nan)))
    assert mean.count == 3
    shown = baseline("mean map", turned, mean)
    assert (
        shown.kind == "disparity"
        and shown.values.min() == pytest.approx(1)
        and shown.values[-1, 0] > shown.values[0, 0]
    )


def test_cells_that_no_other_image_knows_get_the_mean():
    half = np.repeat([np.nan, 1.0, 0.5, 0.25], SIDE)[:, None].repeat(SIDE, 1)
    mean = MeanMap("affine-depth")
    mean.add(sample("a", half))
    mean.add(sample("b", half))
    made = mean.without(sample("a", half))
    assert np.isfinite(made).all() and made[0, 0] == pytest.approx(made[SIDE // 4 :].mean(), rel=1e-4)
    assert made[SIDE // 4 + 1, 0] > made[-1, 0], "larger is farther"
    down = baseline("vertical gradient", sample("a", half), mean)
    assert down.kind == "affine-depth" and (np.diff(down.values, axis=0) <= 0).all(), "nearer to the bottom"


def test_a_single_pair_has_no_mean_map(folder):
    rows = opened(folder, image="rgb1.png", depth="d1.png").baselines()
    assert [row["model"] for row in rows] == ["vertical gradient", "constant"]
