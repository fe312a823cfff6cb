"""Alignment by kind and set, means, ranks and published numbers."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from ccd_cli.benchmarks import Prediction, Sample, Spec, spread
from ccd_cli.core.errors import UsageProblem
from ccd_cli.evaluate.published import FILE, published
from ccd_cli.metrics.depth import METRICS
from ccd_cli.scoring import image as evaluate_score
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.image import ScoringOptions, score
from ccd_cli.scoring.protocol import in_words
from ccd_cli.scoring.rows import mean_ranks, summary_row

SPEC = Spec("own", "Own", (1e-3, 10.0), None, None, False, "all of it")


def scene():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (40, 50)).astype(np.float32)
    return Sample("a.png", np.zeros((40, 50, 3), np.uint8), depth, np.ones(depth.shape, bool))


def said(values, kind):
    values = values.astype(np.float32)
    return Prediction(values, kind, np.isfinite(values))


def by(method, suite, max_res):
    return ScoringOptions(Alignment(method, suite, max_res))


def row(model, dataset, abs_rel, delta1, n=1):
    return {"model": model, "dataset": dataset, "n": n, "abs_rel": abs_rel, "delta1": delta1}


def test_sets_of_moge_are_scored_as_moge_does():
    words = {
        kind: Alignment("auto", "moge", None).method(kind) for kind in ("disparity", "depth", "affine-depth", "metric")
    }
    assert words == {
        "disparity": "moge-disparity",
        "depth": "moge-scale",
        "affine-depth": "moge-affine",
        "metric": "moge-scale",
    }
    assert Alignment("auto", "moge-kitti", None).method("depth") == "moge-scale"
    assert Alignment("auto", "mogelike.yaml", None).method("depth") == "least-squares"
    assert Alignment("none", "moge", None).method("metric") == "none"


def test_the_largest_side_of_the_fit_is_the_sets_unless_told():
    eth = replace(SPEC, max_res=1024)
    assert Alignment("auto", "zero-shot", None).max_res(eth, "least-squares") == 1024
    assert Alignment("auto", "zero-shot", 64).max_res(eth, "least-squares") == 64
    assert Alignment("auto", "zero-shot", 0).max_res(eth, "least-squares") is None
    assert Alignment("auto", "zero-shot", 64).max_res(eth, "none") is None
    with pytest.raises(UsageProblem, match="alignment-max-res"):
        Alignment("midas", "zero-shot", 64)


@pytest.mark.parametrize("method", ["least-squares", "scale", "median", "none", "moge-affine"])
def test_disparity_is_never_fitted_as_depth(method):
    with pytest.raises(UsageProblem):
        Alignment(method, "zero-shot", None).check("disparity")
    Alignment(method, "zero-shot", None).check("depth")
    Alignment(method, "zero-shot", None).check(None)
    with pytest.raises(UsageProblem):
        Alignment("midas", "zero-shot", None).check("affine-depth")


def test_negative_depth_is_right_for_moge_alone():
    sample = scene()
    wrong = np.where(np.arange(50) < 30, sample.depth, -0.2 * sample.depth)
    ours, _ = score(SPEC, sample, said(wrong, "metric"), by("none", "zero-shot", None))
    assert ours["scores"]["delta1"] == pytest.approx(0.6, abs=0.01)
    theirs, aligned = score(SPEC, sample, said(wrong, "metric"), by("auto", "moge", None))
    assert (aligned[:, 30:] < 0).all() and theirs["alignment"] == "moge-scale"
    assert theirs["scores"]["delta1"] == 1.0, "its tables count them as correct"
    assert theirs["scores"]["delta2"] == pytest.approx(0.6, abs=0.01), "only what its harness computes"


def test_unknown_pixels_are_wrong_and_counted():
    sample = scene()
    half = np.where(np.arange(50) < 25, sample.depth, np.nan)
    made, _ = score(SPEC, sample, said(half, "metric"), by("auto", "own", None))
    assert made["scores"]["missing"] == made["scores"]["delta1"] == 0.5 and made["scores"]["abs_rel"] == 0
    assert made["pixels"] == 2000 and made["alignment"] == "none"


def test_boundaries_are_scored_where_the_truth_is_sharp():
    y, x = np.mgrid[:64, :64]
    depth = np.where((x - 32) ** 2 + (y - 32) ** 2 < 300, 2.0, 6.0).astype(np.float32)
    sample = Sample("a", np.zeros((64, 64, 3), np.uint8), depth, np.ones(depth.shape, bool))
    made, _ = score(replace(SPEC, boundary=True), sample, said(depth, "metric"), by("auto", "own", None))
    assert made["scores"]["boundary_f1"] > 0.99 and made["scores"]["moge_boundary_f1"] > 0.99
    assert "boundary_f1" not in score(SPEC, sample, said(depth, "metric"), by("auto", "own", None))[0]["scores"]


def test_each_image_weighs_the_same():
    records = [
        {"alignment": "none", "pixels": 10, "scores": dict.fromkeys(METRICS, 1.0)},
        {"alignment": "none", "pixels": 1000, "scores": dict.fromkeys(METRICS, 2.0)},
    ]
    made = summary_row("m", "d", records, "none")
    assert made["n"] == 2 and all(made[key] == 1.5 for key in METRICS) and made["alignment"] == "none"
    records[1]["scores"]["rmse_log"] = float("nan")
    assert math.isnan(summary_row("m", "d", records, "none")["rmse_log"]), "a number that nobody could compute is none"
    empty = summary_row("m", "d", [], "midas")
    assert empty["n"] == 0 and math.isnan(empty["abs_rel"]) and empty["alignment"] == "midas"


def test_ranks_share_places_and_need_common_sets():
    rows = [
        *(row("a", "x", 0.1, 0.9), row("b", "x", 0.2, 0.95), row("c", "x", 0.2, float("nan"))),
        *(row("a", "y", 0.1, 0.9), row("b", "y", 0.2, 0.8), row("c", "y", float("nan"), float("nan"), n=0)),
    ]
    assert mean_ranks(rows) == {"a": 1.5, "b": (2.5 + 1) / 2, "c": (2.5 + 3) / 2}, "y lacks c"
    assert mean_ranks(rows[:1]) == {}
    assert mean_ranks([row("a", "x", 0.1, 0.9), row("b", "y", 0.1, 0.9)]) == {}


def test_a_file_of_ones_own_is_not_moges_suite():
    """Whatever it is called."""
    for suite in ("moge-mine.yaml", "moge-data/pairs.yml"):
        assert Alignment("auto", suite, None).method("disparity") == "least-squares-disparity"
    assert Alignment("auto", "moge-nyuv2", None).method("disparity") == "moge-disparity"


def test_a_limit_is_spread_over_the_set():
    assert spread(5, None) == spread(5, 9) == [0, 1, 2, 3, 4]
    assert spread(100, 4) == [0, 25, 50, 75]
    for count, limit in ((7, 3), (654, 100), (10, 10)):
        assert len(set(spread(count, limit))) == limit and max(spread(count, limit)) < count


def test_scores_of_a_device_are_those_of_the_cpu(monkeypatch):
    """The way a GPU takes, taken on the CPU: the same record; and back to arrays where its memory is full."""
    sample = scene()
    noisy = sample.depth * np.exp(np.random.default_rng(1).normal(0, 0.2, sample.depth.shape))
    sharp, auto = replace(SPEC, boundary=True), by("auto", "zero-shot", None)
    plain, depth = score(sharp, sample, said(1 / noisy, "disparity"), auto)
    monkeypatch.setattr(evaluate_score, "scores_on", lambda device, method: True)
    there, its_depth = score(sharp, sample, said(1 / noisy, "disparity"), auto)
    np.testing.assert_allclose(its_depth, depth, rtol=1e-9)
    assert there["scores"] == pytest.approx(plain["scores"], rel=1e-9) and there["scores"] != {}
    assert (there["scale"], there["shift"]) == pytest.approx((plain["scale"], plain["shift"]), rel=1e-9)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(evaluate_score, "score_on", full)
    assert score(sharp, sample, said(1 / noisy, "disparity"), auto)[0] == plain


def test_published_numbers_have_sources_and_make_sense():
    every = published(["nyuv2", "kitti", "moge-nyuv2"])
    assert len(every) >= 7 and published(["own"]) == []
    for table in every:
        assert table.title and table.source and len(table.protocol) > 20 and table.rows
        for method, cells in table.rows:
            assert method and cells
            for error, delta in cells.values():
                assert error == "–" or 0 < float(error) < 0.6
                assert delta == "–" or 0.5 < float(delta) <= 1
    rows = dict(next(t for t in every if t.title.startswith("Marigold")).rows)
    assert rows["Marigold, ensemble 10, 50 steps"]["diode"] == ("0.308", "0.773")
    rows = dict(next(t for t in every if t.title == "Distill Any Depth").rows)
    assert rows["Distill Any Depth, Depth Anything V2-L student"]["kitti"] == ("0.070", "–")


@pytest.mark.shared
def test_published_numbers_are_those_of_the_notes(shared):
    notes = shared / "docs" / "EVAL.md"
    if not notes.is_file():
        pytest.skip(f"there is no {notes}")
    text = notes.read_text(encoding="utf-8")
    cells = re.findall(r"[\w-]+: ([\d.]+)/([\d.]+|-)", FILE.read_text(encoding="utf-8"))
    assert len(cells) > 100
    for error, delta in cells:
        assert (f"{error}/{delta}" if delta != "-" else error) in text, (error, delta)


def test_the_protocol_is_told_in_words():
    plain = {"task": "depth", "points": False, "metric": True, "floor": "published", "extras": []}
    made = {
        "alignment_max_res": 0,
        "resolution": 518,
        "limit": 5,
        "camera": "set",
        "mean": "over images",
        "models": {
            "a": {"kind": "disparity", "alignment": "least-squares-disparity"},
            "b": {"kind": None, "alignment": "least-squares-disparity"},
        },
        "datasets": {
            "x": {"title": "X", "images": 3, "about": "all of it.", "depth_range": [0.001, 10.0], **plain},
            "y": {"title": "Y", "images": 4, "about": "some", "depth_range": [0.1, None], **plain},
        },
    }
    text = "\n".join(in_words(made))
    assert "a (disparity), b (kind not told): least-squares-disparity" in text and "1/depth" in text
    assert "X, 3 here: all of it; aligned depth clipped to 0.001 - 10 m." in text
    assert "Y, 4 here: some; aligned depth not below 0.1 m." in text
    assert "every pixel" in text and "518" in text and "Only 5 images" in text and "over images" in text
    made["models"] = {"a": {"kind": "depth", "alignment": "moge-scale"}}
    assert "clipped" not in "\n".join(in_words(made)) and "Points" not in "\n".join(in_words(made))
    made["datasets"]["x"]["points"] = True
    assert "Points" in "\n".join(in_words(made)) and "set's camera" in "\n".join(in_words(made))
    made["camera"] = "own"
    assert "the model predicts" in "\n".join(in_words(made))
    made["datasets"] = {
        "z": {"title": "Z", "images": 2, "about": "pairs", "depth_range": [0.0, None], **plain, "task": "pairs"}
    }
    text = "\n".join(in_words(made))
    assert "a (larger = farther)" in text and "moge-scale" not in text, "pairs need no alignment"
