"""Published or not: counts, names, checksums; and the suite that is generated."""

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

from ccd_cli.benchmarks import check, open_suite
from ccd_cli.benchmarks.check import check_set, check_suite, digest
from ccd_cli.benchmarks.generated import COUNT, GeneratedSet
from ccd_cli.benchmarks.layouts import LAYOUTS, ZERO_SHOT
from ccd_cli.benchmarks.moge.bundle import BUNDLE
from ccd_cli.benchmarks.sources import SOURCES
from ccd_cli.config.common import HELD_OUT
from ccd_cli.core.errors import UsageProblem
from ccd_cli.scenes import render
from tests.tiny_sets import WRITERS, write_diode, write_moge


def test_the_digest_is_over_sorted_names():
    assert digest(["b", "a"]) == hashlib.sha256(b"a\nb").hexdigest()


def test_every_set_has_its_published_count_and_digest():
    counts = {"nyuv2": 654, "kitti": 652, "eth3d": 454, "scannet": 800, "diode": 771}
    starts = {"nyuv2": "507e5cc8", "kitti": "f9b578d8", "eth3d": "2eaec364", "scannet": "4ee072e1", "diode": "8c1093e7"}
    for name in ZERO_SHOT:
        layout = LAYOUTS[name]
        assert (layout.count, layout.digest[:8], len(layout.digest)) == (counts[name], starts[name], 64)
        assert not layout.groups or sum(count for _, count in layout.groups) == layout.count
        assert SOURCES[name].samples == layout.count
    assert SOURCES["moge"].samples == sum(entry.count for entry in BUNDLE.values())
    assert SOURCES["builtin"].samples == COUNT


@pytest.mark.parametrize("name", ZERO_SHOT)
def test_a_part_of_a_set_is_not_the_published_split(tmp_path, name):
    WRITERS[name](tmp_path / name)
    (checked,) = check_suite(name, tmp_path)
    assert not checked.good and not checked.proven and checked.published == LAYOUTS[name].count
    assert "are published" in checked.problems[0]


@pytest.mark.parametrize("name", ZERO_SHOT)
def test_the_published_names_are_proven(tmp_path, name, monkeypatch):
    """With a set's own digest as the published one the check passes; one other name and it fails."""
    WRITERS[name](tmp_path / name)
    (found,), _ = open_suite(name, tmp_path)
    groups = tuple((start, sum(n.startswith(start) for n in found.names())) for start, _ in found.layout.groups)
    layout = replace(found.layout, count=len(found), digest=digest(found.names()), groups=groups)
    good = check_set(replace(found, layout=layout))
    assert good.good and good.proven
    other = replace(found.entries[0], rgb=found.entries[0].rgb.replace("0", "1"))
    bad = check_set(replace(found, layout=layout, entries=[other, *found.entries[1:]]))
    assert not bad.good and not bad.proven and bad.found == len(found)
    assert not check_set(found).proven


def test_diodes_other_spelling_counts_as_the_same(tmp_path):
    write_diode(tmp_path / "diode")
    (usual,), _ = open_suite("diode", tmp_path)
    (tmp_path / "diode/outdoor").rename(tmp_path / "diode/outdoors")
    (other,), _ = open_suite("diode", tmp_path)
    assert other.names() != usual.names()
    assert check_set(other).digest == check_set(usual).digest


def test_photos_without_depth_are_said(tmp_path):
    WRITERS["kitti"](tmp_path / "kitti")
    WRITERS["scannet"](tmp_path / "scannet")
    (tmp_path / "scannet/scene0011_00/depth/000100.png").unlink()
    (kitti,), (scannet,) = check_suite("kitti", tmp_path), check_suite("scannet", tmp_path)
    assert any("1 photos have no depth" in note for note in kitti.notes), "they belong to KITTI's split"
    assert any("1 photos have no depth" in problem for problem in scannet.problems)


def test_lists_are_compared_with_the_files(tmp_path):
    WRITERS["scannet"](tmp_path / "scannet")
    lines = [f"scene0011_00/color/{n:06d}.jpg scene0011_00/depth/{n:06d}.png" for n in (0, 200, 0)]
    (tmp_path / "scannet.txt").write_text("\n".join(lines))
    (checked,) = check_suite("scannet", tmp_path)
    text = " ".join(checked.problems)
    assert (
        "2 files of scannet.txt are missing: scene0011_00/color/000200.jpg" in text
        and "1 samples are listed twice" in text
    )
    assert "color/000100.jpg" in checked.notes[0]


def test_reading_finds_damaged_files(tmp_path):
    WRITERS["scannet"](tmp_path / "scannet")
    (tmp_path / "scannet/scene0011_00/depth/000100.png").write_bytes(b"x")
    assert "cannot be scored" not in " ".join(check_suite("scannet", tmp_path)[0].problems)
    problem = check_suite("scannet", tmp_path, read=True)[0].problems[-1]
    assert problem.startswith("1 sample cannot be scored: ") and "000100.png: " in problem


def test_a_reason_of_many_samples_is_said_once(tmp_path):
    names = [f"{place}/{i}" for place in "ab" for i in range(4)]
    for name in names:
        depth = np.full((24, 32), 0 if name[0] == "b" else 2000, np.uint16)
        for kind, values in (("rgb", np.full((24, 32, 3), 90, np.uint8)), ("depth", depth)):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / kind / f"{name}.png"), values)
    rule = {"name": "own", "image": "rgb/*/*.png", "depth": "depth/*/*.png", "pair": "match", "divisor": 1000}
    (tmp_path / "pairs.yaml").write_text(yaml.safe_dump(rule))
    (problem,) = check_suite(str(tmp_path / "pairs.yaml"), tmp_path, read=True)[0].problems
    assert problem.startswith("4 samples cannot be scored: no pixel") and problem.endswith(
        ": rgb/b/0.png, rgb/b/1.png, rgb/b/2.png, rgb/b/3.png"
    )


def test_every_set_of_a_suite_is_answered_for(tmp_path):
    WRITERS["diode"](tmp_path / "diode")
    checked = check_suite("zero-shot", tmp_path)
    assert [one.name for one in checked] == list(ZERO_SHOT)
    assert all(one.problems for one in checked) and sum(one.found > 0 for one in checked) == 1
    with pytest.raises(UsageProblem):
        check_suite("nonsense", tmp_path)


def test_the_bundle_is_counted(tmp_path):
    write_moge(tmp_path / "moge/GSO")
    (tmp_path / "moge/GSO/a/b/depth.png").unlink()
    (checked,) = check_suite("moge-gso", tmp_path)
    assert checked.problems == ["1 samples, 1030 are published", "1 files of the index are missing: a/b/depth.png"]


def test_generated_scenes():
    (found,), missing = open_suite("builtin", None)
    assert (len(found), missing, found.spec.boundary) == (60, [], True)
    assert found.names()[0] == f"scene-{HELD_OUT}" and len(set(found.names())) == 60
    small = GeneratedSet(count=4, size=(48, 64))
    for index in range(4):
        sample = small.read(index)
        made = render([HELD_OUT + index], 48, 64)
        np.testing.assert_array_equal(sample.rgb, made.rgb[0].permute(1, 2, 0).numpy())
        assert sample.mask.any() and sample.depth[sample.mask].max() < 80
        assert np.isnan(sample.depth[~np.isfinite(made.depth[0].numpy())]).all()
        assert sample.camera is not None and (sample.camera.cx, sample.camera.cy) == (32, 24)
        assert sample.camera.fx == pytest.approx(float(made.intrinsics[0, 0]))
    assert small.prediction_names(1) == [f"pred_scene-{HELD_OUT + 1}.npy", f"scene-{HELD_OUT + 1}.npy"]
    assert check.check_suite("builtin", None)[0].good
