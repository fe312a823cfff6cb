"""Horizontal flips: an image, everything cut out of it, and everything known of it, in one and the same direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ccd_cli.config.distill import Loss
from ccd_cli.data.augment import Augmentation
from ccd_cli.data.batch import collate, network_input
from ccd_cli.data.source import Source
from ccd_cli.data.views import PhotoStream, ViewConfig
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.members import Member
from ccd_cli.distill.teaching.precomputed import ground_truth
from ccd_cli.labels.shards import ShardReader
from ccd_cli.labels.stream import LabelChoice, LabelStream
from ccd_cli.losses.distillation import Prediction, distillation_loss
from ccd_cli.media.find import list_photos
from ccd_cli.scenes.source import SceneSource
from tests.unit.labels.conftest import labels  # noqa: F401

SIZE, PATCHES = 64, 3
COUNT = 4


def config(own=False, **more):
    return ViewConfig(
        SIZE, 48, PATCHES, 0.5, 0.8, own_region=own, shared=True, local_global=True, features=True, **more
    )


def augmentation(probability):
    return Augmentation(0.4, 0.8, 0.2, 0.5, probability)


def stream(source, probability, rule=None, seed=5):
    return PhotoStream(source, seed, rule or config(), augmentation(probability), lambda *_: None)


@pytest.fixture
def source(photos):
    return Source(list_photos([str(photos)]))


class Equivariant:
    """A teacher whose map of a mirrored view is the mirrored map: a product of local means, nowhere constant."""

    name, kind, license, checkpoint_sha256, feature_width = "equivariant", "disparity", "MIT", "", 3

    def predict(self, rgb):
        smooth = torch.nn.functional.avg_pool2d(rgb, 5, 1, 2)
        return smooth[:, 0] + smooth[:, 1] * smooth[:, 2] + 0.1

    def predict_with_features(self, rgb):
        return self.predict(rgb), torch.nn.functional.avg_pool2d(rgb, 16).flatten(2).transpose(1, 2)


def same(one, other):
    for name in ("student", "own", "boxes"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None and b is None) or np.array_equal(a, b), name
    pairs = [(one.teacher, other.teacher)] if one.teacher is not None else []
    pairs += [(one.precomputed[key], other.precomputed[key]) for key in one.precomputed]
    for a, b in pairs:
        assert np.array_equal(a.shared, b.shared, equal_nan=True) and np.array_equal(
            a.patches, b.patches, equal_nan=True
        )


def mirrored(plain, flipped, own=False, boxes=True):
    """Whether an example is another's mirror image in every part, and its boxes lie where the patches then are."""
    assert np.array_equal(flipped.student, plain.student[:, ::-1])
    assert (flipped.own is None) != own and (not own or np.array_equal(flipped.own, plain.own[:, ::-1]))
    pairs = [(flipped.teacher, plain.teacher)] if plain.teacher is not None else []
    pairs += [(flipped.precomputed[key], plain.precomputed[key]) for key in plain.precomputed]
    for a, b in pairs:
        assert np.array_equal(a.shared, b.shared[:, ::-1], equal_nan=True)
        assert np.array_equal(a.patches, b.patches[:, :, ::-1], equal_nan=True)
    if not boxes:
        return
    top, left, side = plain.boxes.T
    assert np.allclose(flipped.boxes.T, [top, 1 - left - side, side], atol=1e-6)
    assert (flipped.boxes >= 0).all() and (flipped.boxes[:, 1] + flipped.boxes[:, 2] <= 1 + 1e-6).all()


@pytest.mark.parametrize("own", [False, True])
def test_all_of_an_example_is_mirrored_and_nothing_else_is_drawn_otherwise(source, own):
    plain, flipped = (stream(source, probability, config(own)) for probability in (0.0, 1.0))
    for position in range(COUNT):
        mirrored(plain[position], flipped[position], own)
    assert (plain[0].boxes != flipped[0].boxes).any()


def test_seed_and_position_decide_and_half_of_the_images_are_flipped(source):
    half, plain, flipped = (stream(source, probability) for probability in (0.5, 0.0, 1.0))
    choices = [augmentation(0.5).flips(5, position) for position in range(2000)]
    assert np.mean(choices) == pytest.approx(0.5, abs=0.05)
    assert choices != [augmentation(0.5).flips(6, position) for position in range(2000)]
    assert not any(augmentation(0.0).flips(5, position) for position in range(200))
    resumed = stream(source, 0.5)  # which has not seen the first positions
    assert {True, False} == set(choices[4:12])
    for position in range(4, 12):
        same(half[position], (flipped if choices[position] else plain)[position])
        same(half[position], resumed[position])


def test_true_disparity_of_a_scene_is_mirrored_with_it():
    scenes = Source([], SceneSource(count=2, height=48, width=64))
    plain, flipped = (stream(scenes, probability, config(ground_truth_teacher=0)) for probability in (0.0, 1.0))
    for position in range(2):
        assert plain[position].precomputed[0].shared.std() > 0
        mirrored(plain[position], flipped[position])


def test_labels_of_a_folder_are_mirrored_with_their_photo(labels):  # noqa: F811
    reader = ShardReader(labels)
    rule = ViewConfig(reader.index.size, 8, 1, 0.5, 1.0, False, True, True)
    plain, flipped, half = (
        LabelStream(reader, 0, True, rule, augmentation(p), LabelChoice([0, 1], lambda _: [0, 1]), lambda *_: None)
        for p in (0.0, 1.0, 0.5)
    )
    for position in range(4):
        mirrored(plain[position], flipped[position], boxes=False)  # some of this folder lie outside of their region
        same(half[position], (flipped if augmentation(0.5).flips(0, position) else plain)[position])
    reader.close()


def labeled(batch, *members):
    return TeacherEnsemble([Member(each, 1.0) for each in members], saturated_fraction=None).label(batch, 0, True)


def test_a_live_teacher_labels_the_flipped_view_with_the_flipped_label(source):
    plain, flipped = (
        labeled(collate([stream(source, p)[position] for position in range(COUNT)]), Equivariant()) for p in (0.0, 1.0)
    )
    for one, other in ((plain.shared, flipped.shared), (plain.patches, flipped.patches)):
        assert one.values.std() > 0.1 and torch.equal(other.valid, one.valid.flip(-1))
        torch.testing.assert_close(other.values, one.values.flip(-1), rtol=1e-5, atol=1e-5)
    cells = SIZE // 16
    grids = [each.tokens.unflatten(1, (cells, cells)) for each in (plain, flipped)]
    torch.testing.assert_close(grids[1], grids[0].flip(2), rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_student_that_is_equivariant_does_not_change(source):
    """Boxes of the unflipped image would compare patches with other places: their term changes."""
    rule = Loss.model_validate({"feature": {"weight": 0.0}})
    student, losses = Equivariant(), []
    batches = [collate([stream(source, p)[position] for position in range(COUNT)]) for p in (0.0, 1.0)]
    for batch, boxes in ((batches[0], None), (batches[1], None), (batches[1], batches[0].boxes)):
        made = student.predict(network_input(batch.student.stack()))
        found = distillation_loss(
            Prediction(made, made), labeled(batch, Equivariant()), batch.boxes if boxes is None else boxes, rule
        )
        losses.append({name: float(value) for name, value in found.items()})
    for term in ("shared", "local_global"):  # the gradient term takes every second pixel from the left
        assert losses[1][term] == pytest.approx(losses[0][term], rel=1e-4)
    assert abs(losses[2]["local_global"] / losses[0]["local_global"] - 1) > 0.05


def test_ground_truth_labels_are_those_of_the_unflipped_scene():
    scenes = Source([], SceneSource(count=2, height=48, width=64))
    made = [
        labeled(collate([stream(scenes, p, config(ground_truth_teacher=0))[i] for i in range(2)]), ground_truth())
        for p in (0.0, 1.0)
    ]
    torch.testing.assert_close(made[1].shared.values, made[0].shared.values.flip(-1), rtol=1e-5, atol=1e-5)
