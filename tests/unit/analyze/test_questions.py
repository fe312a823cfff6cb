"""The three questions before a training run, on cases whose answers are known."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from ccd_cli.analyze import closeups, landing, second
from ccd_cli.analyze.estimate import MIN_IMAGES, Estimate, estimate, judge, student_t, too_few
from ccd_cli.analyze.labels import Label, make_label
from ccd_cli.analyze.verdicts import closeup_lines, landing_lines, second_lines, verdict_lines, verdicts
from ccd_cli.benchmarks import Prediction, Sample, Spec
from ccd_cli.core.errors import CcdError
from ccd_cli.data.crops import Region

SPEC = Spec("own", "own", (1e-3, 80.0), None, None, True, "", floor="image")
SIZE = (60, 80)
BOX = (slice(10, 22), slice(20, 40))
CPU = torch.device("cpu")


def sample_of(disparity: np.ndarray, rgb: np.ndarray | None = None, mask: np.ndarray | None = None) -> Sample:
    depth = (1.0 / disparity).astype(np.float32)
    mask = np.ones(depth.shape, bool) if mask is None else mask
    return Sample("a.png", np.zeros((*depth.shape, 3), np.uint8) if rgb is None else rgb, depth, mask)


def ramp() -> np.ndarray:
    """Disparity from 1 to 2, every pixel another value."""
    return np.random.default_rng(0).permutation(np.linspace(1.0, 2.0, SIZE[0] * SIZE[1])).reshape(SIZE)


def label_of(disparity: np.ndarray, sample: Sample) -> Label:
    depth = 1.0 / disparity
    return Label(disparity, depth, sample.mask, np.where(sample.mask, np.abs(depth / sample.depth - 1), np.nan))


@pytest.fixture
def gross() -> tuple[Sample, Label, np.ndarray]:
    """The ground truth with a gross error in a box, all of it nearer than anything else; and the box."""
    sample, box = sample_of(ramp()), np.zeros(SIZE, bool)
    box[BOX] = True
    true, wrong = 1.0 / sample.depth.astype(np.float64), np.random.default_rng(1).uniform(9, 10, SIZE)
    return sample, label_of(np.where(box, wrong, true), sample), box


def by_scheme(rows: list[dict], threshold: float = 0.2) -> dict:
    return {(r["label"], r["normalization"], r["unit_scale"]): r for r in rows if r["threshold"] == threshold}


def test_a_gross_error_in_a_box_is_kept_there_by_local_contexts_and_spread_by_global_ones(gross):
    sample, label, box = gross
    found = by_scheme(landing.measure(label, sample, CPU))
    true, made = 1.0 / sample.depth.astype(np.float64), label.disparity
    student, target = ((d - np.sort(d.ravel())[(d.size - 1) // 2]) / mad(d) for d in (true, made))
    loss = np.abs(student - target)
    for kind in landing.LABELS:  # all errors are gross: both labels are the same
        row = found[kind, "global", False]
        assert row["wrong_pixels"] == pytest.approx(box.mean())
        assert row["loss_on_clean"] == pytest.approx(loss[~box].sum() / loss.sum(), rel=1e-4)
        assert row["clean_loss"] / row["wrong_loss"] == pytest.approx(loss[~box].mean() / loss[box].mean(), rel=1e-4)
        assert found[kind, "none", False]["loss_on_clean"] < 1e-6
        assert found[kind, "none", False]["gradient_on_clean"] == pytest.approx(0, abs=1e-6)
        assert found[kind, "local", False]["loss_on_clean"] < 1e-6  # the box has a segment of its own
        assert found[kind, "local", False]["loss_on_clean"] < found[kind, "hybrid", False]["loss_on_clean"] < 0.9
        assert row["loss_on_clean"] > 0.3 and row["gradient_on_clean"] > 0.5


def mad(values: np.ndarray) -> float:
    return float(np.abs(values - np.sort(values.ravel())[(values.size - 1) // 2]).sum() / (values.size + 1))


def test_errors_under_the_threshold_are_taken_away_from_the_label_with_gross_errors_alone(gross):
    sample, label, box = gross
    small = np.where(box, label.disparity, label.disparity * np.where(np.arange(SIZE[1]) % 2, 1.05, 1 / 1.05))
    found = by_scheme(landing.measure(label_of(small, sample), sample, CPU))
    assert found["as it is", "none", False]["loss_on_clean"] > 0.02
    assert found["gross errors only", "none", False]["loss_on_clean"] < 1e-6


def test_a_label_that_is_right_everywhere_has_no_row_and_no_verdict():
    sample = sample_of(ramp())
    with pytest.raises(CcdError, match="at every threshold"):
        landing.measure(label_of(ramp(), sample), sample, CPU)
    (said,) = verdicts({"landing": [], "closeups": [], "second": []}, ["good"])
    assert said["verdict"] == "not shown" and "no image" in said["sentence"]


def test_a_model_of_which_every_image_is_skipped_is_told_why_and_no_number():
    why = "the map is constant or runs against the ground truth"
    entry = {"dataset": "mine", "image": "1", "stage": "landing", "reason": f"odd: {why}."}
    other = {**entry, "stage": "closeups", "reason": "odd: another reason"}
    skipped = [entry, entry, other]
    said = verdicts({"landing": [], "closeups": [], "second": []}, ["odd", "good"], skipped)
    assert [(row["question"], row["subject"]) for row in said] == [
        ("landing", "odd"),
        ("landing", "good"),
        ("closeups", "odd"),
        ("second", "odd, good"),
    ]
    assert said[0]["sentence"] == f"odd: NO ANSWER: 2 times an image was skipped, 2 times because: {why}."
    assert "another reason" in said[2]["sentence"] and why in said[3]["sentence"]
    assert {line["mean [95 % interval]"] for line in verdict_lines(said)} == {"-"}


@pytest.mark.parametrize("corner", [0, 1])
def test_ground_truth_on_a_lattice_is_subsampled_on_that_lattice(corner, monkeypatch):
    monkeypatch.setattr(landing, "MAX_PIXELS", 400)
    mask = np.zeros(SIZE, bool)
    mask[corner::2, corner::2] = True
    sample = sample_of(ramp(), mask=mask)
    wrong = np.where(np.arange(SIZE[1]) < SIZE[1] // 3, 2.0, 1.0) * ramp()
    assert landing.measure(label_of(wrong, sample), sample, CPU)


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("disparity", lambda d: 3 * d + 2),
        ("depth", lambda d: 5 / d),
        ("metric", lambda d: 1 / d),
        ("affine-depth", lambda d: 2 / d + 1),
    ],
)
def test_a_map_of_any_kind_is_its_ground_truth_after_the_fit(kind, made):
    sample = sample_of(ramp())
    values = made(ramp()).astype(np.float32)
    label = make_label(Prediction(values, kind, np.isfinite(values)), sample, SPEC)
    assert np.allclose(label.disparity, ramp(), atol=1e-5) and label.error.max() < 1e-5


def test_what_is_no_label_is_refused():
    sample = sample_of(ramp())
    known = np.ones(SIZE, bool)
    against, flat = (values.astype(np.float32) for values in (-ramp(), np.ones(SIZE)))
    for values in (against, flat):
        with pytest.raises(CcdError, match="runs against"):
            make_label(Prediction(values, "disparity", known), sample, SPEC)
    few = sample_of(ramp(), mask=np.arange(SIZE[1])[None, :] + np.zeros((SIZE[0], 1)) < 3)
    with pytest.raises(CcdError, match="180 pixels have ground truth, 500 are needed"):
        make_label(Prediction(ramp().astype(np.float32), "disparity", known), few, SPEC)


def noisy(seed: int, size: float = 0.1) -> np.ndarray:
    return ramp() * np.exp(size * np.random.default_rng(seed).standard_normal(SIZE))


def test_two_identical_models_correlate_by_one_and_their_mean_is_no_better():
    sample = sample_of(ramp())
    label = make_label(Prediction(noisy(1).astype(np.float32), "disparity", np.ones(SIZE, bool)), sample, SPEC)
    (row,) = second.measure({"a": label, "b": label}, sample, SPEC)
    assert row["correlation"] == pytest.approx(1) and row["both_wrong"] == row["first_wrong"] == row["second_wrong"] > 0
    assert row["mean_abs_rel"] == pytest.approx(row["first_abs_rel"], rel=1e-4)


def test_independent_errors_do_not_correlate_and_their_mean_is_better():
    sample = sample_of(ramp())
    known = np.ones(SIZE, bool)
    labels = {
        name: make_label(Prediction(noisy(seed, 0.04).astype(np.float32), "disparity", known), sample, SPEC)
        for name, seed in (("a", 1), ("b", 2), ("c", 3))
    }
    rows = second.measure(labels, sample, SPEC)
    assert [(r["model"], r["other"]) for r in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert abs(rows[0]["correlation"]) < 0.1  # the fit of a noisy map is a little too flat, which is common to both
    assert rows[0]["mean_abs_rel"] < 0.8 * min(rows[0]["first_abs_rel"], rows[0]["second_abs_rel"])
    (raw,) = second.measure({n: label_of(noisy(seed, 0.15), sample) for n, seed in (("a", 1), ("b", 2))}, sample, SPEC)
    assert abs(raw["correlation"]) < 4 / math.sqrt(ramp().size)
    assert (
        raw["both_wrong"] == pytest.approx(raw["first_wrong"] * raw["second_wrong"], abs=0.01)
        and raw["both_wrong"] > 0.02
    )


class Eye:
    """A teacher that sees a photo as `side` pixels and reads disparity from its brightness; None: as it is."""

    label = "eye"

    def __init__(self, side: int | None) -> None:
        self.side = side

    def see(self, rgb: np.ndarray) -> Prediction:
        values = rgb[..., 0].astype(np.float32) / 100
        if self.side is not None:
            small = cv2.resize(values, (self.side, self.side), interpolation=cv2.INTER_AREA)
            values = cv2.resize(small, values.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return Prediction(values, "disparity", np.isfinite(values))

    def predict_parts(self, benchmark, sample, parts):
        return [self.see(part) for part in parts]


class Set:
    spec = SPEC


def steps(size: int, number: int) -> tuple[np.ndarray, Sample]:
    """A photo whose brightness is its disparity: a slope with boxes in front."""
    rng = np.random.default_rng(number)
    gray = np.repeat(np.linspace(60, 90, size)[:, None], size, 1).round()
    for _ in range(25):
        top, left = rng.integers(0, size - 20, 2)
        gray[top : top + 14, left : left + 10] = rng.integers(100, 200)
    return gray, sample_of(gray / 100, np.repeat(gray[..., None], 3, 2).astype(np.uint8))


def asked(side: int | None, images: int = 8) -> list[dict]:
    found = []
    for number in range(images):
        sample = steps(160, number)[1]
        eye = Eye(side)
        boxes = closeups.draw(sample, f"set {number}", 3, 0)
        assert all(0.5 * 160 - 1 <= box.side <= 0.9 * 160 + 1 for box in boxes)
        row = closeups.measure(eye, Set(), sample, eye.see(sample.rgb), boxes)
        found.append({"dataset": "own", "image": f"{number}", "model": "eye", **row})
    return found


def test_a_teacher_with_few_pixels_is_sharper_in_closeups():
    rows = closeups.summarize(asked(40))
    (row,) = rows
    assert row["alone_abs_rel"] < 0.9 * row["cut_abs_rel"] and row["alone_boundary_f1"] > row["cut_boundary_f1"]
    assert row["images"] == row["boundary_images"] == 8 and row["patches"] == 24
    (said,) = verdicts({"landing": [], "closeups": rows, "second": []}, [])
    assert said["verdict"] == "shown" and "SHOWN that a patch predicted alone is more accurate" in said["sentence"]
    assert "(shown)" in said["sentence"] and len(closeup_lines(rows)) == 3


def test_a_teacher_that_sees_all_gains_nothing():
    (row,) = closeups.summarize(asked(None))
    assert row["alone_abs_rel"] < 1e-5 and row["cut_abs_rel"] < 1e-5
    (said,) = verdicts({"landing": [], "closeups": [row], "second": []}, [])
    assert said["verdict"] == "not shown"


def test_patches_are_compared_where_they_lie_also_with_ground_truth_of_another_size():
    gray, sample = steps(160, 1)
    small = cv2.resize(gray, (80, 80), interpolation=cv2.INTER_AREA)
    other = Sample("a.png", sample.rgb, (100 / small).astype(np.float32), np.ones((80, 80), bool))
    eye, box = Eye(None), Region(31, 12, 97)
    (alone,) = closeups.predict(eye, Set(), other, [box])
    assert np.array_equal(np.argwhere(alone.known)[[0, -1]], [[31, 12], [31 + 96, 12 + 96]])
    row = closeups.score(eye.see(sample.rgb), alone, box, other, SPEC)
    assert row["alone_abs_rel"] == pytest.approx(row["cut_abs_rel"], rel=1e-6) and row["alone_abs_rel"] < 0.05


def test_a_map_that_runs_against_the_ground_truth_has_no_patches():
    """Least squares would turn it around, and score it as if it had been right."""
    _, sample = steps(160, 1)
    eye = Eye(None)
    right = eye.see(sample.rgb)
    wrong = Prediction(3 - right.values, "disparity", right.known)
    (box,) = closeups.draw(sample, "own", 1, 0)
    (alone,) = closeups.predict(eye, Set(), sample, [box])
    turned = Prediction(3 - alone.values, "disparity", alone.known)
    for whole, patch in ((wrong, alone), (right, turned)):
        with pytest.raises(CcdError, match="runs against the ground truth"):
            closeups.score(whole, patch, box, sample, SPEC)
    with pytest.raises(CcdError, match="runs against the ground truth"):
        closeups.measure(eye, Set(), sample, wrong, [box])


def test_all_ways_of_a_patch_are_scored_on_the_same_pixels():
    """A depth of 0 is unknown, and must not take the hard pixels out of one way alone."""
    _, sample = steps(160, 1)
    rng = np.random.default_rng(0)
    depth = (sample.depth * rng.uniform(0.8, 1.2, sample.depth.shape)).astype(np.float32)
    whole = Prediction(depth, "depth", np.ones(depth.shape, bool))
    box = Region(30, 30, 80)
    inside = np.full(depth.shape, np.nan, np.float32)
    inside[30:110, 30:110] = depth[30:110, 30:110]
    alone = Prediction(inside.copy(), "depth", np.isfinite(inside))
    bad = alone.known & (np.abs(depth / sample.depth - 1) > 0.1)
    alone.values[bad] = 0.0
    row = closeups.score(whole, alone, box, sample, SPEC)
    assert row["alone_abs_rel"] == pytest.approx(row["cut_abs_rel"], rel=1e-6)


@pytest.mark.parametrize("kind", ["depth", "metric", "affine-depth"])
def test_depth_so_near_that_training_masks_it_is_no_part_of_a_label(kind):
    sample = sample_of(ramp())
    depth = sample.depth.copy()
    if kind == "affine-depth":
        depth[0, :8] = -2.0  # behind the camera after the fit
    else:
        depth[0, :8] = 1e-5
    label = make_label(Prediction(depth, kind, np.ones(depth.shape, bool)), sample, SPEC)
    assert not label.known[0, :8].any() and label.known.sum() == depth.size - 8
    assert label.disparity[label.known].max() < 1e3
    if kind != "affine-depth":
        assert label.error[label.known].max() < 1e-5


def test_intervals_of_few_images_see_no_difference_where_there_is_none():
    rng = np.random.default_rng(0)
    for n in (6, 12):
        said = [judge(estimate(list(rng.normal(0, 1, n))), "lower") for _ in range(300)]
        assert 0.01 < np.mean([word != "not shown" for word in said]) < 0.09, (
            "about 1 in 20; plain percentiles: 1 in 7 of 6"
        )
    assert [student_t(n) for n in (5, 11, 1000)] == pytest.approx([2.5706, 2.2010, 1.9623], rel=2e-3)


def test_intervals_and_what_may_be_said():
    rng = np.random.default_rng(1)
    values = list(rng.normal(-1, 1, 400))
    made = estimate(values)
    assert made.low < made.mean < made.high and made.n == 400
    assert made.high - made.low == pytest.approx(2 * 1.96 * np.std(values) / 20, rel=0.05)
    assert estimate(values) == made and judge(made, "lower") == "shown" and judge(made, "higher") == "contradicted"
    assert judge(estimate(list(rng.normal(0, 1, 400))), "lower") == "not shown"
    assert judge(estimate([1e-7] * 10), "higher") == "not shown"  # rounding
    assert estimate([1.0, math.nan, 3.0]).n == 2 and math.isnan(estimate([1.0]).low) and math.isnan(estimate([]).mean)
    few = estimate([-1.0] * (MIN_IMAGES - 1))
    assert judge(few, "lower") == "not shown" and "5 images" in too_few(few) and not too_few(made)
    assert too_few(Estimate(1.0, math.nan, math.nan, 1)).startswith("; 1 image,")


def test_tables_and_sentences_say_what_the_rows_say(gross):
    sample, label, _ = gross
    images = [
        {"dataset": "own", "image": f"{i}", "model": model, **row}
        for i in range(MIN_IMAGES)
        for model in ("a", "b")
        for row in landing.measure(label, sample, CPU)
    ]
    fitted = make_label(Prediction(noisy(1).astype(np.float32), "disparity", np.ones(SIZE, bool)), sample, SPEC)
    pairs = [
        {"dataset": "own", "image": "x", **row} for row in second.measure({"a": fitted, "b": fitted}, sample, SPEC)
    ]
    rows = {"landing": landing.summarize(images), "closeups": [], "second": second.summarize(pairs * MIN_IMAGES)}
    said = verdicts(rows, ["a", "b"])
    assert [(s["question"], s["subject"], s["verdict"]) for s in said] == [
        ("landing", "a", "shown"),
        ("landing", "b", "shown"),
        ("second", "a, b", "not shown"),
    ]
    answers = verdict_lines(said)
    assert [(line["question"][:2], line["model"]) for line in answers] == [("1.", "a"), ("1.", "b"), ("3.", "a, b")]
    assert all(line["images"] == str(MIN_IMAGES) for line in answers) and answers[0]["verdict"] == "shown"
    assert answers[2]["mean [95 % interval]"] == "+0.000 [+0.000, +0.000]" and "correlate 1.000" in said[2]["sentence"]
    table = landing_lines(rows["landing"])
    assert len(table) == 2 * 2 * 3 and table[0]["none"] == "0.0 %" and table[0]["wrong\nif over"] == "10 %"
    assert rows["landing"][0]["images"] == MIN_IMAGES and len(second_lines(rows["second"])) == 1
