"""Labels lie where live training looks: same photo, same boxes, same pixels, position for position."""

import shutil

import numpy as np
import pytest
from PIL import Image

from ccd_cli.config.load import check_label_recipe
from ccd_cli.data.augment import Augmentation
from ccd_cli.data.source import Source
from ccd_cli.data.views import PhotoStream, ViewConfig
from ccd_cli.label.plan import Plan, Unreadable, key_of
from ccd_cli.media.find import list_photos


def recipe(**changes):
    values = {
        "task": "label",
        "name": "t",
        "seed": 4,
        "images": "p",
        "teachers": ["a"],
        "crops": {"size": 56, "min_side": 60, "patches": 3},
        "shard": 5,
        "epochs": 3,
    }
    return check_label_recipe({**values, **changes}, "t")


@pytest.fixture
def plan(photos):
    return Plan(recipe(), Source(list_photos([str(photos)])))


def test_photo_boxes_and_pixels_are_those_of_a_distillation_run(plan):
    rule = ViewConfig(56, 60, 3, 0.5, 0.9, own_region=False, shared=True, local_global=True)
    stream = PhotoStream(plan.source, 4, rule, Augmentation(0.4, 0.8, 0.05, 0.2), lambda *_: None)
    for position in range(plan.count):
        live, (seen, views) = stream[position], plan.read(position)
        assert seen.path == live.path
        assert np.array_equal(views, np.concatenate([live.teacher.shared[None], live.teacher.patches]))
        region = seen.boxes[0]
        patches = [
            ((b.top - region.top) / region.side, (b.left - region.left) / region.side, b.side / region.side)
            for b in seen.boxes[1:]
        ]
        assert np.allclose(patches, live.boxes)


def test_shards_cover_every_position_once(plan):
    assert plan.count == 24
    assert plan.shards == 5
    assert [p for s in range(plan.shards) for p in plan.positions(s)] == list(range(24))
    assert sorted(map(str, map(plan.image, range(8, 16)))) == sorted(map(str, plan.images))
    assert [plan.epoch(p) for p in (0, 7, 8, 23)] == [0, 0, 1, 2]
    assert key_of(12) == "000000012"
    assert plan.read(0)[0].boxes != plan.read(8)[0].boxes


def test_boxes_depend_on_seed_and_position_alone(photos, plan):
    same, other = Plan(recipe(), plan.source), Plan(recipe(seed=5), plan.source)
    assert [same.boxes(p, 100, 120) for p in (3, 1)] == [plan.boxes(p, 100, 120) for p in (3, 1)]
    assert same.boxes(3, 100, 120) != other.boxes(3, 100, 120)
    for position in range(50):
        region, *patches = plan.boxes(position, 90, 200)
        assert region.top + region.side <= 90
        assert region.left + region.side <= 200
        assert all(region.top <= p.top and p.top + p.side <= region.top + region.side for p in patches)


def test_unreadable_photos_come_back_with_the_reason(photos, tmp_path):
    shutil.copy(photos / "1.png", tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((photos / "1.png").read_bytes()[:900])
    (tmp_path / "empty.jpg").touch()
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    plan = Plan(recipe(epochs=1), Source(list_photos([str(tmp_path)])))
    found = {plan.image(p).name: plan.read(p) for p in range(plan.count)}
    reasons = {name: one.reason for name, one in found.items() if isinstance(one, Unreadable)}
    assert set(reasons) == {"cut.png", "empty.jpg", "small.png"}
    assert "damaged" in reasons["cut.png"]
    plan.image(0).unlink()
    assert "no such file" in plan.read(0).reason
