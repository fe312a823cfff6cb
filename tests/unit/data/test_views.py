"""Crops, augmentation and the seeded stream of views."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ccd_cli.core.errors import CcdError
from ccd_cli.data.augment import Augmentation, augment
from ccd_cli.data.batch import StudentViews, TeacherViews, collate
from ccd_cli.data.crops import Region, crop_image, draw_patches, draw_region, footprint, inside
from ccd_cli.data.source import Source
from ccd_cli.data.truth import MeasuredTruth
from ccd_cli.data.views import PhotoStream, ViewConfig, batches
from ccd_cli.media.find import list_photos
from ccd_cli.scenes.source import SceneSource

CONFIG = ViewConfig(
    size=32, min_side=60, patches=3, patch_min=0.5, patch_max=0.9, own_region=False, shared=True, local_global=True
)
NO_CHANGE = Augmentation(0.0, 0.0, 0.0, 0.0)


def stream(photos, config=CONFIG, augmentation=NO_CHANGE, seed=0):
    bad = []
    return PhotoStream(Source(photos), seed, config, augmentation, lambda path, reason: bad.append((path, reason))), bad


def test_regions_stay_inside_and_cover_the_range():
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(2000):
        region = draw_region(rng, 100, 160, 60)
        assert 0 <= region.top <= 100 - region.side
        assert 0 <= region.left <= 160 - region.side
        sides.append(region.side)
        for patch in draw_patches(rng, 3, 0.5, 0.9):
            part = inside(region, patch)
            assert 0.48 * region.side <= part.side <= 0.92 * region.side
            assert region.top <= part.top <= region.top + region.side - part.side
            assert region.left <= part.left <= region.left + region.side - part.side
            box = footprint(region, part)
            assert box.top * region.side == pytest.approx(part.top - region.top)
    assert (min(sides), max(sides)) == (60, 100)
    assert np.mean(sides) == pytest.approx(80, abs=1)  # uniform
    assert draw_region(rng, 50, 70, 60).side == 50  # a smaller photo gives its whole shorter side


def test_cut_averages_when_it_shrinks():
    image = np.zeros((64, 64, 3), np.uint8)
    image[::2] = 200
    assert (crop_image(image, Region(0, 0, 64), 32) == 100).all()  # neither aliased nor silently bilinear on one row
    assert (crop_image(image, Region(0, 0, 64), 64) == image).all()


def test_augmentation_changes_color_only_and_follows_the_generator():
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    strong = Augmentation(0.4, 1.0, 0.0, 0.0)
    a, b = (augment(image, np.random.default_rng(5), strong) for _ in range(2))
    assert (a == b).all()
    assert (a != image).any()
    assert a.shape == image.shape
    assert (augment(image, np.random.default_rng(5), NO_CHANGE) == image).all()
    gray = augment(image, np.random.default_rng(5), Augmentation(0.0, 0.0, 1.0, 0.0))
    assert (gray[..., 0] == gray[..., 2]).all()


def test_views_are_a_function_of_seed_and_position(photos):
    files = list_photos([str(photos)])
    (a, _), (b, _), (c, _) = stream(files), stream(files), stream(files, seed=1)
    for position in (0, 3, 11):
        one, other = a[position].teacher, b[position].teacher
        assert (one.shared == other.shared).all()
        assert (one.patches == other.patches).all()
    assert any(a[p].path != c[p].path for p in range(8))
    assert sorted(a[p].path for p in range(8)) == files  # an epoch shows each photo once
    assert [a[p].path for p in range(8)] != [a[p].path for p in range(8, 16)]


def test_patches_show_what_their_boxes_say(photos):
    config = ViewConfig(
        size=96,
        min_side=1000,
        patches=4,
        patch_min=0.5,
        patch_max=0.5,
        own_region=False,
        shared=True,
        local_global=True,
    )
    views = stream(list_photos([str(photos)]), config)[0][0]
    whole = torch.from_numpy(views.student).permute(2, 0, 1)[None].float()
    for patch, (top, left, side) in zip(views.teacher.patches, views.boxes, strict=True):
        y, x, s = (round(float(v) * 96) for v in (top, left, side))
        again = torch.nn.functional.interpolate(whole[..., y : y + s, x : x + s], size=(96, 96), mode="bilinear")
        assert (again[0].permute(1, 2, 0) - torch.from_numpy(patch).float()).abs().mean() < 6


def test_own_region_is_a_second_view(photos):
    config = ViewConfig(
        size=32, min_side=40, patches=2, patch_min=0.5, patch_max=0.9, own_region=True, shared=True, local_global=True
    )
    views = stream(list_photos([str(photos)]), config)[0][0]
    assert views.student.shape == views.own.shape == (32, 32, 3)
    assert (views.student != views.own).any()
    assert views.teacher.shared.shape == (32, 32, 3)
    assert views.teacher.patches.shape == (2, 32, 32, 3)


@pytest.mark.parametrize(("shared", "local"), [(True, False), (False, True), (True, True)])
def test_batches_come_in_order_whatever_the_threads(photos, shared, local):
    config = ViewConfig(
        size=32,
        min_side=60,
        patches=2,
        patch_min=0.5,
        patch_max=0.9,
        own_region=False,
        shared=shared,
        local_global=local,
    )
    files = list_photos([str(photos)])
    groups = [[0, 1], [2, 3], [4, 5]]
    one = list(batches(stream(files, config)[0], iter(groups), workers=1, prefetch=0))
    many = list(batches(stream(files, config)[0], iter(groups), workers=4, prefetch=3))
    assert len(one) == len(many) == 3
    for a, b in zip(one, many, strict=True):
        assert torch.equal(a.student.shared, b.student.shared)
        assert torch.equal(a.teacher.stack(), b.teacher.stack())
        assert a.paths == b.paths
    assert one[0].student.shared.shape == (2, 3, 32, 32)
    assert one[0].student.own is None
    assert (one[0].teacher.shared is not None) == shared
    assert one[0].teacher.patches.shape == (2, 2 if local else 0, 3, 32, 32)
    assert one[0].teacher.stack().shape[0] == (2 if shared else 0) + (4 if local else 0)
    assert one[0].precomputed == {}
    assert one[0].boxes.shape == (2, 2 if local else 0, 3)


def test_unreadable_photos_are_replaced_and_named_once(photos, tmp_path):
    files = list_photos([str(photos)])
    broken = tmp_path / "0.jpg"
    broken.write_text("no image")
    views, bad = stream([broken, *files])
    shown = [views[p].path for p in range(27)]
    assert broken not in shown
    assert [path for path, _ in bad] == [broken]
    other, _ = stream([broken, *files])
    assert [other[p].path for p in range(20, 27)] == shown[20:]  # the same without having seen the first ones
    with pytest.raises(CcdError, match="None of the photos"):
        stream([broken])[0][0]


def test_scenes_bring_their_true_disparity_for_every_clean_view():
    config = ViewConfig(
        size=32,
        min_side=40,
        patches=2,
        patch_min=0.5,
        patch_max=0.9,
        own_region=False,
        shared=True,
        local_global=True,
        ground_truth_teacher=3,
    )
    source = Source([], SceneSource(count=4, height=48, width=64))
    views = PhotoStream(source, 0, config, NO_CHANGE, lambda *_: None)
    batch = next(batches(views, iter([[0, 1]]), workers=1, prefetch=0))
    ground_truth = batch.precomputed[3]
    assert ground_truth.shared.shape == (2, 32, 32)
    assert ground_truth.patches.shape == (2, 2, 32, 32)
    assert batch.teacher.stack().shape == (6, 3, 32, 32)
    assert (ground_truth.stack() >= 0).all()
    assert ground_truth.patches[0].std() > 0
    for number, one in enumerate((views[0], views[1])):
        assert np.array_equal(ground_truth.shared[number].numpy(), one.precomputed[3].shared)
        assert np.array_equal(ground_truth.patches[number].numpy(), one.precomputed[3].patches)
        assert np.array_equal(batch.teacher.shared[number].permute(1, 2, 0).numpy(), one.teacher.shared)
        assert np.array_equal(batch.teacher.patches[number].permute(0, 2, 3, 1).numpy(), one.teacher.patches)


def test_a_stack_has_all_shared_views_first_and_comes_apart_again():
    shared, patches = torch.arange(2.0), torch.arange(10.0, 16.0).view(2, 3)
    views = TeacherViews(shared, patches)
    assert views.stack().tolist() == [0, 1, 10, 11, 12, 13, 14, 15]
    for made in (views, TeacherViews(None, patches), TeacherViews(shared, patches[:, :0])):
        again = TeacherViews.split(made.stack(), *made.patches.shape)
        assert (again.shared is None) == (made.shared is None)
        assert made.shared is None or torch.equal(again.shared, made.shared)
        assert torch.equal(again.patches, made.patches)
    pixels = torch.arange(4.0).view(4, 1, 1, 1)
    both = StudentViews(pixels[:2], pixels[2:])
    assert [each.flatten().tolist() for each in both.split(both.stack())] == [[0, 1], [2, 3]]
    alone = StudentViews(pixels[:2])
    assert [each.flatten().tolist() for each in alone.split(alone.stack())] == [[0, 1], [0, 1]]


def test_photos_come_before_scenes_and_the_sequence_has_a_hash(photos):
    files = list_photos([str(photos)])
    both = Source(files, SceneSource(count=3, height=48, width=64, first=7))
    assert len(both) == len(files) + 3
    assert both.name(0) == files[0]
    assert str(both.name(len(files))) == "scene-7"
    assert both.read(0)[1] is None
    truth = both.read(len(files))[1]
    assert truth.disparity.shape == (48, 64) and truth.metric and truth.focal > 30
    hashes = {
        Source(files).digest,
        both.digest,
        Source(files[1:]).digest,
        Source(files, SceneSource(4, 48, 64, first=7)).digest,
    }
    assert len(hashes) == 4


class TwoPairs:
    """Two images of 40 x 60 with depth at half their size, known on the left; the second has no unit and no camera."""

    paths = names = (Path("a.png"), Path("b.png"))
    digest = "two"

    def read(self, number):
        depth = np.full((20, 30), 2.0 + number, np.float32)
        depth[:, 15:] = np.nan
        image = np.full((40, 60, 3), 100 + number, np.uint8)
        return image, MeasuredTruth(depth, (40, 60), number == 0, 50.0 if number == 0 else None)


def test_pairs_bring_their_measured_disparity_and_their_focal_length():
    config = ViewConfig(32, 16, 2, 0.3, 0.6, False, shared=True, local_global=True, ground_truth_teacher=0)
    source = Source([], SceneSource(count=1, height=48, width=64), TwoPairs())
    assert [str(source.name(i)) for i in range(len(source))] == ["a.png", "b.png", "scene-0"]
    views = PhotoStream(source, 0, config, NO_CHANGE, lambda *_: None)
    seen = {str(views[i].path): views[i] for i in range(30)}
    for name, value in (("a.png", 0.5), ("b.png", 1 / 3)):
        maps = seen[name].precomputed[0]
        there = np.concatenate([maps.shared.ravel(), maps.patches.ravel()])
        assert set(np.unique(there[~np.isnan(there)]).tolist()) == {np.float32(value)}
    assert np.isnan(seen["b.png"].focal) and seen["scene-0"].focal > 0
    sides = {round(50.0 * 32 / views[i].focal) for i in range(30) if str(views[i].path) == "a.png"}
    assert min(sides) >= 16 and max(sides) <= 40, "the focal length grows with the crop that is enlarged"
    batch = collate([seen["a.png"], seen["b.png"]])
    assert batch.focal.shape == (2,) and batch.to(torch.device("cpu")).focal[0] == np.float32(seen["a.png"].focal)
    assert Source([], None, TwoPairs()).digest != Source([]).digest


def test_the_scene_cache_changes_nothing_but_time(photos):
    plain, cached = (Source([], SceneSource(3, 48, 64, cache_bytes=size)) for size in (0, 2 * 48 * 64 * 7))
    for index in (0, 1, 2, 1, 0, 2):
        a, b = plain.read(index), cached.read(index)
        assert np.array_equal(a[0], b[0])
        assert np.array_equal(a[1].disparity, b[1].disparity) and a[1].focal == b[1].focal
    assert cached.scenes.kept == 2
    assert cached.read(0)[0] is cached.read(0)[0]
    assert plain.read(0)[0] is not plain.read(0)[0]
    assert plain.digest == cached.digest


def test_photo_threads_leave_this_threads_tensor_threads_alone(photos):
    before = torch.get_num_threads()
    list(batches(stream(list_photos([str(photos)]))[0], iter([[0, 1], [2]]), workers=2, prefetch=1))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("own", [False, True])
def test_the_teacher_sees_the_students_region_for_features_alone(photos, own):
    config = ViewConfig(32, 60, 2, 0.5, 0.9, own_region=own, shared=False, local_global=True, features=True)
    views = stream(list_photos([str(photos)]), config)[0][1]
    assert views.teacher.patches.shape[0] == 2
    assert views.own is None
    assert np.array_equal(views.teacher.shared, views.student)  # no augmentation here: the very same pixels
