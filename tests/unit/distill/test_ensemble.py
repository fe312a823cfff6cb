"""Several teachers as one source of labels."""

import numpy as np
import pytest
import torch

from ccd_cli.config.common import Noise
from ccd_cli.core.errors import TeacherError
from ccd_cli.data.batch import Batch, StudentViews, TeacherViews
from ccd_cli.distill.teaching.ensemble import AVERAGE, TeacherEnsemble
from ccd_cli.distill.teaching.members import Member, reference_for
from ccd_cli.distill.teaching.precomputed import PrecomputedLabels, ground_truth
from ccd_cli.losses.normalize import normalize_map


class Known:
    """A teacher whose map is a known function of the photo: depth = 1 + 9 * red."""

    license, checkpoint_sha256, feature_width = "MIT", "0", 4

    def __init__(self, name, kind, change=lambda depth: depth):
        self.name, self.kind, self.change, self.calls = name, kind, change, 0

    def predict(self, rgb):
        self.calls += 1
        depth = 1 + 9 * rgb[:, 0]
        return self.change(1 / depth if self.kind == "disparity" else depth)

    def predict_with_features(self, rgb):
        return self.predict(rgb), rgb.new_ones(len(rgb), 3, 4)

    def features(self, rgb):
        return rgb.new_full((len(rgb), 3, 4), 2.0)

    def to(self, device):
        return self


@pytest.fixture
def views():
    return torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def test_every_kind_becomes_the_same_disparity_at_unit_scale(views):
    teachers = [
        Known("disparity", "disparity", lambda d: 55 * d),
        Known("depth", "depth", lambda d: 7 * d),
        Known("metric", "metric"),
        Known("affine", "affine-depth", lambda d: (d - 3) / 20),
    ]
    ensemble = TeacherEnsemble([Member(t, 1.0, 1 if t.kind == "affine-depth" else None) for t in teachers])
    labels = [ensemble.label_views(views, i) for i in range(4)]
    for label in labels:
        assert torch.allclose(label.values, labels[0].values, atol=1e-3)
        assert label.valid.all()
        assert normalize_map(label.values, label.valid)[2] == pytest.approx(np.ones(3), abs=0.01)
    assert [label.teacher for label in labels] == ["disparity", "depth", "metric", "affine"]
    assert labels[0].mad / labels[2].mad == pytest.approx(55, rel=1e-3)  # in the teacher's own scale


def test_drawing_follows_the_weights_and_the_seed():
    ensemble = TeacherEnsemble([Member(Known("a", "disparity"), 0.7), Member(Known("b", "disparity"), 0.3)])
    draws = [ensemble.draw(seed) for seed in range(4000)]
    assert np.mean(draws) == pytest.approx(0.3, abs=0.03)
    assert draws == [ensemble.draw(seed) for seed in range(4000)]


def test_features_come_from_the_primary_teacher_whoever_labels(views):
    first, second = Known("a", "disparity"), Known("b", "disparity")
    ensemble = TeacherEnsemble([Member(first, 1.0), Member(second, 1.0)])
    assert (ensemble.label_views(views, 0, feature_views=2).tokens == 1).all()
    assert first.calls == 1  # one pass for map and features
    tokens = ensemble.label_views(views, 1, feature_views=2).tokens
    assert tokens.shape == (2, 3, 4)
    assert (tokens == 2).all()
    assert ensemble.label_views(views, 1).tokens is None


def test_average_is_the_weighted_mean_of_normalized_labels(views):
    flipped = Known("b", "disparity", lambda d: d.flip(-1))
    ensemble = TeacherEnsemble([Member(Known("a", "disparity"), 3.0), Member(flipped, 1.0)], mixing="average")
    assert ensemble.draw(3) == AVERAGE
    label = ensemble.label_views(views, AVERAGE)
    raw = 1 / (1 + 9 * views[:, 0])
    valid = torch.ones_like(raw, dtype=torch.bool)
    a, b = normalize_map(raw, valid)[0], normalize_map(raw.flip(-1), valid)[0]
    want = 0.75 * a + 0.25 * b  # with two teachers both lie equally far from their mean
    got, want = normalize_map(label.values, label.valid)[0], normalize_map(want, valid)[0]
    assert torch.allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("mixing", ["average", "average-raw"])
def test_a_teacher_of_weight_0_is_no_part_of_a_mean(views, mixing):
    flipped, silent = (
        Known("b", "disparity", lambda d: d.flip(-1)),
        Known("c", "disparity", lambda d: torch.full_like(d, torch.nan)),
    )
    pair = [Member(Known("a", "disparity"), 3.0), Member(flipped, 1.0)]
    want = TeacherEnsemble(pair, mixing=mixing).label_views(views, AVERAGE, feature_views=2)
    more = TeacherEnsemble([*pair, Member(silent, 0.0)], mixing=mixing)
    got = more.label_views(views, AVERAGE, feature_views=2)
    assert more.needed(AVERAGE) == [0, 1] and silent.calls == 0
    assert torch.equal(got.values, want.values) and torch.equal(got.valid, want.valid)
    first = TeacherEnsemble([Member(Known("a", "disparity"), 0.0), *pair[1:]], mixing=mixing)
    assert (first.label_views(views, AVERAGE, feature_views=2).tokens == 2).all(), (
        "a pass of the primary teacher's encoder"
    )


def test_a_flat_label_is_no_part_of_a_mean_of_normalized_ones(views):
    noise = 1e-4 * torch.rand(views[:, 0].shape, generator=torch.Generator().manual_seed(2))
    wall = Known("wall", "disparity", lambda d: 5 + noise.to(d))
    clear = Member(Known("a", "disparity"), 1.0)
    got = TeacherEnsemble([clear, Member(wall, 1.0)], mixing="average").label_views(views, AVERAGE)
    alone = TeacherEnsemble([clear], mixing="average").label_views(views, AVERAGE)
    assert got.valid.all() and torch.allclose(got.values, alone.values, atol=1e-5)
    walls = TeacherEnsemble([Member(wall, 1.0), Member(wall, 1.0)], mixing="average").label_views(views, AVERAGE)
    assert not walls.valid.any()


def test_of_a_flat_region_patches_have_no_unit():
    values = torch.full((3, 64, 64), 5.0) + 1e-4 * torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(3))
    values[1:, :8] = 1.0  # what is a small part of the region is a large one of its patches
    views = values[:, None].expand(-1, 3, -1, -1)
    teacher = Known("a", "disparity", lambda d: values.to(d))
    found = TeacherEnsemble([Member(teacher, 1.0)], region_unit=True).label_views(views, 0, regions=1)
    assert not found.valid.any()
    assert TeacherEnsemble([Member(teacher, 1.0)]).label_views(views, 0).valid[1:].any()


def test_saturated_and_flat_labels_are_masked(views):
    views[0, 0, :12] = 1.0  # half the first map at one depth: a plateau at its end
    views[1] = 0.5  # a wall
    label = TeacherEnsemble([Member(Known("a", "depth"), 1.0)]).label_views(views, 0)
    assert not label.valid[0, :12].any()
    assert label.valid[0, 12:].all()
    assert not label.valid[1].any()
    assert label.valid[2].all()
    kept = TeacherEnsemble([Member(Known("a", "depth"), 1.0)], saturated_fraction=None, drop_flat=False).label_views(
        views, 0
    )
    assert kept.valid.all()
    assert torch.isfinite(kept.values).all()


def test_sky_supervises_as_the_farthest(views):
    views[0, 0, :12] = 0.8  # half the first map
    far = torch.zeros_like(views[:, 0], dtype=torch.bool)
    far[0, :12] = True
    teachers = [
        Known("clips", "disparity", lambda d: torch.where(far, 0.0, d)),
        Known("endless", "metric", lambda d: torch.where(far, torch.inf, d)),
        Known("ends", "metric", lambda d: torch.where(far, 100.0, d)),
        Known("shifted", "disparity", lambda d: torch.where(far, 0.0, d) + 3),
    ]
    ensemble = TeacherEnsemble([Member(teacher, 1.0) for teacher in teachers])
    clips, endless, ends, shifted = (ensemble.label_views(views, i) for i in range(4))
    for label in (clips, endless, shifted):
        assert label.valid.all()
        assert (label.values[0, :12] == label.values[0].min()).all() and label.values[0, 12:].min() > label.values[
            0, 0, 0
        ]
    assert torch.allclose(clips.values, endless.values, atol=1e-5), "both say the same"
    assert torch.equal(ends.valid, ~far), "100 m is where that teacher's range ends"


def test_a_mean_leaves_out_what_one_teacher_has_clipped(views):
    views[0, 0, :12] = 0.8
    clipped = torch.zeros_like(views[:, 0], dtype=torch.bool)
    clipped[0, :12] = True
    plain = Known("a", "disparity")
    other = Known("b", "metric", lambda d: torch.where(clipped, 100.0, d))
    ensemble = TeacherEnsemble([Member(plain, 1.0), Member(other, 1.0)], mixing="average")
    label = ensemble.label_views(views, AVERAGE)
    assert label.valid.all(), "the first teacher knows those pixels"
    alone = ensemble.label_views(views, 0)
    got, want = (normalize_map(one.values, clipped)[0] for one in (label, alone))
    assert torch.allclose(got, want, atol=1e-3)


def test_affine_depth_needs_a_teacher_of_depth():
    names = ["a", "b", "c"]
    assert reference_for(["disparity", "affine-depth", "depth"], 1, names, None) == 2
    assert reference_for(["metric", "affine-depth", "depth"], 1, names, "c") == 2
    assert reference_for(["disparity", "depth", "depth"], 0, names, None) is None
    with pytest.raises(TeacherError, match="the recipe has none"):
        reference_for(["disparity", "affine-depth"], 1, names, None)
    with pytest.raises(TeacherError, match="'a' has kind disparity"):
        reference_for(["disparity", "affine-depth", "depth"], 1, names, "a")
    with pytest.raises(TeacherError, match="needs no `fit_to`"):
        reference_for(["disparity", "depth"], 0, names, "b")


def test_a_batch_is_labelled_view_by_view_under_its_names():
    teacher = Known("a", "disparity")
    pixels = torch.randint(0, 256, (2, 4, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    shared, patches, boxes = pixels[:, 0], pixels[:, 1:], torch.zeros(2, 3, 3)
    for views in (TeacherViews(shared, patches), TeacherViews(None, patches)):
        batch = Batch(views, StudentViews(shared), boxes, {}, [])
        ensemble = TeacherEnsemble([Member(teacher, 1.0)])
        labels = ensemble.label(batch, 0, features=views.shared is not None)
        for i in range(2):
            for j in range(3):
                alone = ensemble.label_views(patches[i, j][None].float() / 255, 0)
                assert torch.equal(labels.patches.values[i, j], alone.values[0])
                assert torch.equal(labels.patches.valid[i, j], alone.valid[0])
            if labels.shared is not None:
                alone = ensemble.label_views(shared[i][None].float() / 255, 0)
                assert torch.equal(labels.shared.values[i], alone.values[0])
        assert (labels.shared is None) == (views.shared is None)
        assert (labels.tokens is None) == (views.shared is None)
        assert labels.tokens is None or len(labels.tokens) == 2


def test_precomputed_maps_of_a_batch_take_the_place_of_the_teacher():
    maps = TeacherViews(torch.rand(2, 24, 24) + 1, torch.rand(2, 3, 24, 24) + 1)
    batch = Batch(None, StudentViews(torch.zeros(2, 3, 24, 24)), torch.zeros(2, 3, 3), {0: maps}, [])
    ensemble = TeacherEnsemble([Member(ground_truth(), 1.0)])
    labels = ensemble.label(batch, 0)
    assert torch.equal(
        labels.patches.values[1, 2], ensemble.label_views(None, 0, precomputed={0: maps.patches[1, 2:]}).values[0]
    )
    assert labels.shared.values.shape == (2, 24, 24)
    with pytest.raises(TeacherError, match="not known"):
        ensemble.label(Batch(None, batch.student, batch.boxes, {}, []), 0)


def test_the_raw_mean_is_that_of_the_teachers_own_scales(views):
    members = [Member(Known("a", "disparity"), 1.0), Member(Known("b", "disparity", lambda d: 5 * d + 1), 3.0)]
    found = TeacherEnsemble(members, "average-raw").label_views(views, AVERAGE)
    disparity = 1 / (1 + 9 * views[:, 0])
    raw = 0.25 * disparity + 0.75 * (5 * disparity + 1)
    assert torch.allclose(found.values, raw / normalize_map(raw, found.valid)[2][:, None, None], rtol=1e-4)
    kind = TeacherEnsemble(members, "average").label_views(views, AVERAGE)
    assert not torch.allclose(kind.values, found.values, rtol=1e-2)


def test_labels_of_patches_keep_the_unit_of_their_region():
    regions = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    patches = regions[:, None, :, :12, :12].repeat(1, 2, 1, 2, 2) * torch.tensor([0.2, 1.0]).view(1, 2, 1, 1, 1)
    batch = Batch(
        TeacherViews((255 * regions).byte(), (255 * patches).byte()),
        StudentViews(regions),
        torch.zeros(2, 2, 3),
        {},
        [],
    )
    member = Member(Known("a", "disparity"), 1.0)
    shared = TeacherEnsemble([member], region_unit=True).label(batch, 0)
    own = TeacherEnsemble([member]).label(batch, 0)
    assert torch.equal(shared.shared.values, own.shared.values)
    raw = 1 / (1 + 9 * (batch.teacher.patches[:, :, 0].float() / 255))  # in bytes 9 * 255 would overflow
    whole = 1 / (1 + 9 * (batch.teacher.shared[:, 0].float() / 255))
    scale = normalize_map(whole, own.shared.valid)[2]
    assert torch.allclose(shared.patches.values, raw / scale[:, None, None, None], rtol=1e-4)
    assert not torch.allclose(own.patches.values, shared.patches.values, rtol=1e-2)


def test_a_networks_errors_are_part_of_the_label(views):
    wrong = Known("wrong", "disparity", lambda d: torch.where(d > 0.3, 0 * d, d))
    truth = Known("truth", "depth")
    noise = Noise(errors_of="wrong", errors_over=0.4)
    noisy = TeacherEnsemble([Member(truth, 1.0, noise=noise, errors=wrong)]).label_views(views, 0)
    clean = TeacherEnsemble([Member(truth, 1.0)]).label_views(views, 0)
    again = TeacherEnsemble([Member(truth, 1.0, noise=noise, errors=wrong)]).label_views(views, 0, noise_seed=9)
    assert torch.equal(noisy.values, again.values)  # of the view alone, not of the step
    ratio = (noisy.values / clean.values).flatten(1)  # one number a map, its unit, where the label is kept
    kept = (ratio / ratio.mode(1, keepdim=True).values - 1).abs() < 1e-4
    assert ((kept.float().mean(1) > 0.3) & (kept.float().mean(1) < 0.95)).all()


def test_stored_ground_truth_is_learned_as_that_beside_its_images_and_only_meters_are_meters():
    depth = 2 + 3 * torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(0))
    depth[:, :6], depth[:, 6:8] = 9.0, 1.0  # the farthest wall, and what was clipped near
    stored, network = (PrecomputedLabels(name, "metric", "MIT", "") for name in ("ground-truth", "far"))
    members = [Member(each, 1.0) for each in (ground_truth(), stored, network)]
    maps = {0: 1 / depth, 1: depth, 2: depth}
    live, late, other = (TeacherEnsemble(members).label_views(None, i, precomputed=maps) for i in range(3))
    assert torch.equal(live.valid, late.valid) and torch.allclose(live.values, late.values, atol=1e-5)
    assert late.valid[:, :6].all() and late.valid[:, 8:].all() and not late.valid[:, 6:8].any()
    assert not other.valid[:, :6].any(), "a network's largest depth is an end of its range"
    kinds = [PrecomputedLabels("ground-truth", kind, "MIT", "") for kind in ("disparity", "metric", "depth")]
    assert [Member(each, 1.0).metric for each in kinds] == [True, True, False], (
        "beside images, in meters, without a unit"
    )
