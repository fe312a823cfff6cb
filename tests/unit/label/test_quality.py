"""Agreement of teachers, and which photos go."""

import json

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError
from ccd_cli.label.parts import crop_facts
from ccd_cli.label.quality import apply_drop_rules, read_quality, read_scores
from ccd_cli.labels.agreement import comparable, disagreement

RNG = np.random.default_rng(0)


def scene(seed=0):
    """Three views of disparity 0.1 .. 1, as a ramp with steps."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0.1, 0.6, 24)[None, :, None] * np.ones((3, 24, 24))
    ramp[:, :, 12:] += rng.uniform(0.1, 0.4, (3, 1, 1))
    return ramp.astype(np.float32)


def test_scale_and_shift_and_kind_do_not_count():
    d = scene()
    assert disagreement([d, 7 * d + 3], ["disparity", "disparity"]) == pytest.approx(0, abs=1e-5)
    assert disagreement([d, 4 / d], ["disparity", "depth"]) == pytest.approx(0, abs=1e-5)
    assert disagreement([d, 1 / d], ["disparity", "metric"]) == pytest.approx(0, abs=1e-5)
    affine = (1 / d - 0.3) / 11
    assert disagreement([affine, 1 / d], ["affine-depth", "metric"]) == pytest.approx(0, abs=1e-3)
    assert disagreement([d, affine, 1 / d], ["disparity", "affine-depth", "metric"]) == pytest.approx(0, abs=1e-3)


def test_it_grows_with_noise_is_symmetric_and_large_for_the_opposite():
    d = scene()
    noise = RNG.normal(size=d.shape).astype(np.float32)
    values = [disagreement([d, d + s * noise], ["disparity"] * 2) for s in (0.01, 0.05, 0.2)]
    assert 0 < values[0] < values[1] < values[2]
    assert disagreement([d + 0.05 * noise, d], ["disparity"] * 2) == values[1]
    assert disagreement([d, -d], ["disparity"] * 2) > 1 > values[0]
    unrelated = disagreement([d, noise], ["disparity"] * 2)
    assert unrelated > 1


def test_what_cannot_be_compared_is_left_out():
    d = scene()
    flat = np.ones_like(d)
    assert disagreement([d, flat], ["disparity"] * 2) is None
    assert disagreement([d, np.full_like(d, np.nan)], ["disparity"] * 2) is None
    assert disagreement([d, d], ["disparity", "affine-depth"]) is None
    assert comparable(["disparity", "affine-depth"]) == [True, False]
    assert comparable(["metric", "affine-depth"]) == [True, True]
    partly = d.copy()
    partly[0] = 1.0  # the first view is flat: the others still count
    assert disagreement([d, partly], ["disparity"] * 2) == pytest.approx(0, abs=1e-5)
    holes = d.copy()
    holes[:, :4] = np.nan
    assert disagreement([d, 2 * holes], ["disparity"] * 2) == pytest.approx(0, abs=1e-5)


def line(key, value):
    return {"key": f"{key:09d}", "disagreement": value}


def test_rules_that_drop():
    lines = [line(i, v) for i, v in enumerate((0.1, 0.9, None, 0.3, 0.9, 0.2))]
    kept = apply_drop_rules(lines, 0.0, None)
    assert all(one["dropped"] is None for one in kept)
    worst = apply_drop_rules(lines, 0.4, None)  # two of the five that compare
    assert [i for i, one in enumerate(worst) if one["dropped"]] == [1, 4]
    assert "worst 40 %" in worst[1]["dropped"]
    assert [i for i, one in enumerate(apply_drop_rules(lines, 0.2, None)) if one["dropped"]] == [4]
    most = apply_drop_rules(lines, 0.0, 0.25)
    assert [i for i, one in enumerate(most) if one["dropped"]] == [1, 3, 4]
    assert [i for i, one in enumerate(apply_drop_rules(lines, 0.9, 0.95)) if one["dropped"]] == [1, 3, 4, 5]
    assert "dropped" not in lines[0]


def test_facts_of_a_label():
    d = RNG.uniform(0.1, 1.0, (24, 24)).astype(np.float32)
    assert crop_facts(d, "disparity") == {"valid": 1.0, "saturated": 0.0, "flat": False}
    sky = d.copy()
    sky[:6] = 0.0
    assert crop_facts(sky, "disparity")["saturated"] == 0.0, "sky is the farthest, not clipped"
    near = d.copy()
    near[:6] = 1.5
    assert crop_facts(near, "disparity")["saturated"] == pytest.approx(0.25)
    for end in (d.min(), d.max()):  # the end of a normalized range is a finite depth after a fit
        affine = d.copy()
        affine[:6] = end
        assert crop_facts(affine, "affine-depth")["saturated"] == pytest.approx(0.25, abs=0.01)
    clamped = 1 / d
    clamped[clamped > np.quantile(clamped, 0.7)] = clamped.max()
    assert crop_facts(clamped, "metric")["saturated"] > 0.2
    holes = 1 / d
    holes[:12] = -1
    assert crop_facts(holes, "metric")["valid"] == 0.5
    assert crop_facts(holes, "affine-depth")["valid"] == 1.0
    assert crop_facts(np.full((8, 8), 3.0, np.float32), "depth")["flat"]
    assert crop_facts(np.full((8, 8), np.nan, np.float32), "affine-depth") == {
        "valid": 0.0,
        "saturated": 0.0,
        "flat": True,
    }


@pytest.mark.parametrize("kind", ["disparity", "depth", "affine-depth", "metric"])
def test_infinite_depth_is_a_value_of_depth_and_of_nothing_else(kind):
    sky = np.linspace(1.0, 2.0, 144, dtype=np.float32).reshape(12, 12)
    sky[2:4, 1:] = np.inf
    facts = crop_facts(sky, kind)
    has_value = kind in ("depth", "metric")
    assert facts["valid"] == pytest.approx(1.0 if has_value else np.isfinite(sky).mean(), abs=1e-6)
    assert facts["saturated"] == 0.0 if has_value else facts["saturated"] < 0.1
    assert not facts["flat"]
    nothing = crop_facts(np.full((12, 12), np.inf, np.float32), kind)
    assert nothing["flat"] and nothing["valid"] == (1.0 if has_value else 0.0)


@pytest.mark.parametrize("change", [{"disagreement": "0.5"}, {"key": 3}, {"teachers": None}, {"more": 1}])
def test_scores_of_a_shard_that_are_damaged_are_refused(tmp_path, change):
    path, teacher = tmp_path / "scores.json", {"teacher": "a", "valid": 1.0, "saturated": 0.0, "flat": 0.0}
    line = {"key": "000000001", "photo": "a.png", "sha256": "0" * 64, "disagreement": 0.5, "agreement": None}
    line["teachers"] = [teacher]
    path.write_text(json.dumps([line]))
    assert read_scores(path) == [line]
    for content in (json.dumps([line | change]), json.dumps([line])[:-9], ""):
        path.write_text(content)
        with pytest.raises(CcdError, match=r"scores\.json is damaged"):
            read_scores(path)
    lines = tmp_path / "quality.jsonl"
    lines.write_text(json.dumps(line | {"dropped": None}))
    assert read_quality(lines) == [line | {"dropped": None}]
    for wrong in (line, line | {"dropped": 3}, line | {"dropped": None} | change):
        lines.write_text(json.dumps(wrong))
        with pytest.raises(CcdError, match=r"quality\.jsonl is damaged"):
            read_quality(lines)
