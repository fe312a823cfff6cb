"""Predictions made elsewhere: their kind, their place, their size and their sign."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.depth_files import write_depth
from tests.tiny_eval import PERFECT, document, predict, rows, true_depth

SIZE = (60, 80)


def depth(i: int) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return (1 + 2 * y / SIZE[0] + 0.5 * np.sin(x / 20 + i)).astype(np.float32)


@pytest.fixture
def own(ccd_here, tmp_path):
    """`ccd eval` on two pairs of one's own, `rgb/a.png` and `rgb/b.png`; keys of the suite file, then flags."""
    for folder in ("rgb", "gt"):
        (tmp_path / folder).mkdir()
    for i, name in enumerate("ab"):
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(tmp_path / "rgb" / f"{name}.png")
        Image.fromarray(np.round(1000 * depth(i)).astype(np.uint16)).save(tmp_path / "gt" / f"{name}.png")

    def run(*flags, **keys):
        suite = {"name": "mine", "root": ".", "image": "rgb/*.png", "depth": "gt/*.png", "divisor": 1000, **keys}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({k: v for k, v in suite.items() if v is not None}))
        return ccd_here("eval", "--suite", "mine.yaml", "--overwrite", "--json", *flags)

    return run


def put(folder, ending=".npy", make=lambda d: d):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate("ab"):
        write_depth(folder / f"{name}{ending}", np.ascontiguousarray(make(depth(i)), np.float32))
    return folder


def sidecars(folder, kind, ending=".npy"):
    for name in "ab":
        side = {"ccd_sidecar": 1, "kind": kind, "scale": None, "files": {"npy": f"{name}{ending}"}}
        (folder / f"{name}.json").write_text(json.dumps(side))


@pytest.mark.parametrize("kind", PERFECT)
def test_the_kind_comes_from_the_sidecars(own, tmp_path, kind):
    put(tmp_path / "p/mine/rgb", make=PERFECT[kind])
    assert own("--predictions", "p").exit_code == 2, "nobody says the kind"
    sidecars(tmp_path / "p/mine/rgb", kind)
    result = own("--predictions", "p")
    assert result.exit_code == 0, result.output
    assert rows(result)["mine"]["abs_rel"] < 1e-3 and document(result)["protocol"]["models"]["p"]["kind"] == kind
    other = "disparity" if kind != "disparity" else "metric"
    refused = own("--predictions", "p", "--prediction-kind", other)
    assert refused.exit_code == 2 and f"says '{kind}'" in refused.stderr
    (tmp_path / "p/mine/rgb/b.json").write_text(
        json.dumps({"ccd_sidecar": 1, "kind": other, "files": {"npy": "b.npy"}})
    )
    mixed = own("--predictions", "p")
    assert mixed.exit_code == 2 and "several kinds" in mixed.stderr


@pytest.mark.parametrize("place", ["p/mine/rgb", "p/mine", "p/rgb", "p"])
@pytest.mark.parametrize("ending", [".npy", ".tiff", ".NPZ"])
def test_maps_are_found_as_predict_lays_them_out(own, tmp_path, place, ending):
    put(tmp_path / place, ending)
    result = own("--predictions", "p", "--prediction-kind", "metric")
    assert result.exit_code == 0, result.output
    assert rows(result)["mine"]["abs_rel"] < 1e-3 and rows(result)["mine"]["n"] == 2


def test_what_ccd_predict_wrote_is_scored_as_it_lies(own, ccd_here):
    for save in ("npy", "png16"):
        made = ccd_here("predict", "rgb", "--model", "builtin:tiny", "--resolution", 56, "--out", save, "--save", save)
        assert made.exit_code == 0, made.output
    results = [rows(own("--predictions", save))["mine"] for save in ("npy", "png16")]
    assert results[0]["n"] == 2 and results[0]["alignment"] == "least-squares-disparity"
    assert results[1]["abs_rel"] == pytest.approx(results[0]["abs_rel"], rel=1e-3), "16 bits hold the same map"


def test_a_folder_without_the_maps_says_how_to_lay_them_out(own, tmp_path):
    put(tmp_path / "p/elsewhere/deep")
    result = own("--predictions", "p", "--prediction-kind", "metric")
    assert result.exit_code == 1 and "DIR/mine/rgb/a.npy" in result.stderr


def test_maps_of_two_folders_are_never_mixed_up(own, tmp_path):
    """With left.png in two folders, a bare left.npy could be of either."""
    for i, scene in enumerate("st"):
        for kind, image in (
            ("rgb", np.full((*SIZE, 3), 90, np.uint8)),
            ("gt", np.round(1000 * depth(i)).astype(np.uint16)),
        ):
            (tmp_path / "s" / scene / kind).mkdir(parents=True)
            Image.fromarray(image).save(tmp_path / "s" / scene / kind / "left.png")
    (tmp_path / "p").mkdir()
    np.save(tmp_path / "p/left.npy", depth(0))
    result = own("--predictions", "p", "--prediction-kind", "metric", root="s", image="*/rgb/*.png", depth="*/gt/*.png")
    assert result.exit_code == 1 and "no map under the names" in result.stderr


def test_other_sizes_are_resized_and_said_or_refused(own, tmp_path):
    put(tmp_path / "half/mine/rgb", make=lambda d: d[::2, ::2])
    result = own("--predictions", "half", "--prediction-kind", "metric")
    assert result.exit_code == 0 and rows(result)["mine"]["abs_rel"] < 0.02
    assert result.stderr.count("another size (40x30 for 80x60) are resized bilinearly") == 1
    put(tmp_path / "crop/mine/rgb", make=lambda d: d[2:-2, 2:-2])
    refused = own("--predictions", "crop", "--prediction-kind", "metric")
    assert refused.exit_code == 1 and "76x56" in refused.stderr and "cropped or stretched" in refused.stderr


def test_ground_truth_in_whole_numbers_needs_its_unit_and_65535_is_none(own, tmp_path):
    put(tmp_path / "p/mine/rgb")
    refused = own("--predictions", "p", "--prediction-kind", "metric", divisor=None)
    assert refused.exit_code == 1 and "divisor: 1000" in refused.stderr
    codes = np.round(1000 * depth(0)).astype(np.uint16)
    codes[20:40] = 65535
    Image.fromarray(codes).save(tmp_path / "gt/a.png")
    result = own("--predictions", "p", "--prediction-kind", "metric")
    assert rows(result)["mine"]["abs_rel"] < 1e-3 and result.stderr.count("65535 is taken for no depth") == 1
    told = rows(own("--predictions", "p", "--prediction-kind", "metric", unknown=[]))["mine"]
    assert told["abs_rel"] == pytest.approx(0.5 * (1 - depth(0)[20:40] / 65.535).mean() / 3, rel=1e-2)


@pytest.mark.parametrize(("kind", "turned"), [("disparity", -1), ("affine-depth", -1), ("disparity", 1)])
def test_a_direction_that_is_turned_is_said(own, tmp_path, kind, turned):
    put(tmp_path / "p/mine/rgb", make=lambda d: turned * PERFECT[kind](d))
    result = own("--predictions", "p", "--prediction-kind", kind)
    assert ("the other way round" in result.stderr) == (turned < 0)
    assert rows(result)["mine"]["abs_rel"] < 1e-3, "the shift of the values is no matter"


def test_where_the_published_fit_has_no_pixel_the_one_that_works_is_named(evaluate, tmp_path):
    maps = predict(tmp_path / "maps", "disparity")
    for path in maps.rglob("*.npy"):
        np.save(path, np.load(path) - 100)
    flags = ("--predictions", maps, "--prediction-kind", "disparity", "--json")
    refused = evaluate(*flags)
    assert refused.exit_code == 1 and "--alignment midas" in refused.stderr and rows(refused)["nyuv2"]["n"] == 0
    assert rows(evaluate(*flags, "--alignment", "midas"))["nyuv2"]["abs_rel"] < 1e-4
    for i, path in enumerate(sorted(maps.rglob("*.npy"))):
        values = PERFECT["disparity"](true_depth(i))
        np.save(path, values - np.quantile(values, 0.25))
    partly = evaluate(*flags)
    assert partly.exit_code == 0 and "not predicted > 0" in partly.stderr


def test_damaged_predictions_fail_by_name_and_the_others_are_scored(own, ccd_here, tmp_path):
    """A flipped bit in a map or its sidecar never becomes another score."""
    made = ccd_here("predict", "rgb", "--model", "builtin:tiny", "--resolution", 56, "--out", "p", "--save", "png16")
    assert made.exit_code == 0, made.output
    before = rows(own("--predictions", "p"))["mine"]
    side, path = tmp_path / "p/a.json", tmp_path / "p/b.depth.png"
    whole, scale = side.read_text(), json.loads(side.read_text())["scale"]
    side.write_text(whole.replace(str(scale), str(scale * 2)))
    result = own("--predictions", "p")
    assert result.exit_code == 1 and rows(result)["mine"]["n"] == 1
    assert "a.json was changed or damaged" in result.stderr and "Traceback" not in result.stderr
    side.write_text(whole)
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    result = own("--predictions", "p")
    assert result.exit_code == 1 and rows(result)["mine"]["n"] == 1 and "b.depth.png was changed" in result.stderr
    path.write_bytes(content)
    assert rows(own("--predictions", "p"))["mine"] == before
    for name in "ab":
        (tmp_path / f"p/{name}.json").write_text("{")
    result = own("--predictions", "p")
    assert result.exit_code == 1 and "a.json: not a readable sidecar" in result.stderr, "and not: give a kind"


def test_whole_numbers_are_meters_by_the_scale_that_is_given(own, tmp_path):
    (tmp_path / "p").mkdir()
    for i, name in enumerate("ab"):
        Image.fromarray(np.round(1000 * depth(i)).astype(np.uint16)).save(tmp_path / f"p/{name}.png")
    flags = ("--predictions", "p", "--prediction-kind", "metric")
    refused = own(*flags)
    assert (
        refused.exit_code == 1 and "--prediction-scale S" in refused.stderr and "1000 for millimeters" in refused.stderr
    )
    result = own(*flags, "--prediction-scale", 1000)
    assert result.exit_code == 0 and rows(result)["mine"]["abs_rel"] < 1e-3
    assert document(result)["protocol"]["models"]["p"]["scale"] == 1000
    alone = own("--predictions", "p", "--prediction-scale", 1000)
    assert alone.exit_code == 0 and rows(alone)["mine"]["abs_rel"] < 1e-3, "a scale alone says meters"
    wrong = own(*flags, "--prediction-scale", 500)
    assert rows(wrong)["mine"]["abs_rel"] == pytest.approx(1, abs=1e-3), "twice as far"


def test_stored_scores_are_of_one_scale(own, ccd_here, tmp_path):
    put(tmp_path / "p/mine/rgb", make=lambda d: 100 * d)
    own("--predictions", "p", "--prediction-scale", 100)
    again = ccd_here("eval", "--suite", "mine.yaml", "--json", "--predictions", "p", "--prediction-scale", 200)
    assert rows(again)["mine"]["abs_rel"] == pytest.approx(0.5, abs=1e-3)


def test_where_a_prediction_scale_does_not_apply(own, tmp_path):
    lone = own("--prediction-scale", 1000)
    assert lone.exit_code == 2 and "--prediction-scale is for precomputed predictions" in lone.stderr
    put(tmp_path / "p/mine/rgb")
    for value in (0, -1, "nan"):
        assert own("--predictions", "p", "--prediction-scale", value).exit_code == 2
    sidecars(tmp_path / "p/mine/rgb", "metric")
    told = own("--predictions", "p", "--prediction-scale", 1000)
    assert told.exit_code == 2 and "--prediction-scale 1000: the sidecar of" in told.stderr
