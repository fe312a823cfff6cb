"""`ccd.metrics` and `ccd.evaluate`: published numbers, and those of `ccd eval`."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

import ccd_cli as ccd
from tests.tiny_eval import make_nyu, predict, rows
from tests.unit.metrics.test_vectors import MARIGOLD, NAMES, mask_of, material


def test_every_marigold_vector():
    vectors, arrays, _, _ = material()
    cases = {k: v for k, v in vectors["marigold"].items() if "metrics" in v}
    methods = {"none": "none", "depth LS": "least-squares", "disparity LS": "least-squares-disparity"}
    for name, case in cases.items():
        gt = arrays[case["gt"]]
        mode, _, option = case["mode"].partition(", alignment_max_res=")
        low, high = case["range"]
        scores = ccd.metrics(
            arrays[case["pred"]],
            gt,
            kind="disparity" if mode == "disparity LS" else "depth",
            alignment=methods[mode],
            valid=mask_of(case, arrays, gt),
            min_depth=0 if case["mask"] == "all" else low,
            max_depth=float("inf") if case["mask"] == "all" else high,
            cap=high,
            floor="published",
            alignment_max_res=int(option) if option.isdigit() else None,
        )
        wanted = {key: case["metrics"][theirs] for key, theirs in NAMES.items() if theirs in case["metrics"]}
        if case["mask"] != "all" or low == 0:
            assert {key: scores[key] for key in wanted} == pytest.approx(wanted, rel=MARIGOLD), name


def test_numbers_by_hand():
    gt = np.array([[1.0, 2.0], [4.0, np.nan]])
    scores = ccd.metrics(np.array([[1.1, 2.0], [5.2, 3.0]]), gt, kind="metric")
    assert scores["abs_rel"] == pytest.approx((0.1 + 0 + 0.3) / 3) and scores["delta1"] == pytest.approx(2 / 3)
    assert scores["rmse"] == pytest.approx(np.sqrt((0.01 + 1.44) / 3)) and scores["missing"] == 0
    assert ccd.metrics(np.array([[np.nan, 2.0], [4.0, 3.0]]), gt, kind="metric")["missing"] == pytest.approx(1 / 3)
    capped = ccd.metrics(np.array([[1.0, 2.0], [9.0, 3.0]]), gt, kind="metric", cap=5)
    assert capped["abs_rel"] == pytest.approx(0.25 / 3)
    assert ccd.metrics(ccd.DepthMap(gt, "metric"), ccd.DepthMap(gt, "metric"), valid=gt < 3)["abs_rel"] == 0


def own_set(folder, image, depth, scale, **more):
    path = folder / "mine.yaml"
    values = {"name": "mine", "root": str(folder), "image": image, "depth": depth, "scale": scale, **more}
    path.write_text(yaml.safe_dump({"sets": [values]}))
    return path


@pytest.mark.shared
def test_the_numbers_of_ccd_eval_on_real_pairs(here, model, shared, ccd_here):
    """Three real pairs, disparity and least squares in it: the mean of `ccd.metrics` is the row of `ccd eval`."""
    index = shared / "data/real/index.json"
    if not index.is_file():
        pytest.skip(f"no real pairs in {shared}")
    pairs = [p for p in json.loads(index.read_text())["pairs"] if p["gt_kind"] == "depth" and p["gt"].endswith(".png")]
    pairs = [p for p in pairs if p["image_size"][0] <= 700][:3]
    assert len(pairs) == 3
    scores = []
    for number, pair in enumerate(pairs):
        codes = np.asarray(Image.open(shared / "data/real" / pair["gt"])).astype(np.float64)
        meters = codes / pair["gt_scale"]
        meters[codes == pair.get("invalid", 0)] = np.nan
        (here / "set").mkdir(exist_ok=True)
        rgb = Image.open(shared / "data/real" / pair["rgb"]).convert("RGB")
        rgb.save(here / f"set/{number}.png")
        np.save(here / f"set/{number}.npy", meters.astype(np.float32))
        depth = model.predict(here / f"set/{number}.png")
        scores.append(ccd.metrics(depth, meters, min_depth=0.2, max_depth=60))
    suite = own_set(here, "set/*.png", "set/*.npy", 1.0, min=0.2, max=60)
    result = ccd_here("eval", "--suite", suite, "--model", "builtin:tiny", "--json")
    assert result.exit_code == 0, result.output
    row = rows(result)["mine"]
    assert row["n"] == 3 and row["alignment"] == "least-squares-disparity"
    for key in scores[0]:
        if key != "missing":
            assert np.mean([one[key] for one in scores]) == pytest.approx(row[key], rel=1e-6), key
    python = ccd.evaluate("builtin:tiny", suite=suite, out="mine", device="cpu").rows
    assert python[0]["abs_rel"] == row["abs_rel"]


def test_rows_are_those_of_the_command(here, ccd_here, tmp_path):
    data, maps = make_nyu(tmp_path / "data"), predict(tmp_path / "maps", "disparity", noise=0.05)
    flags = ("--data-root", data, "--predictions", maps, "--prediction-kind", "disparity")
    result = ccd_here("eval", *flags, "--json")
    assert result.exit_code == 0, result.output
    found = ccd.evaluate(data_root=data, predictions=maps, prediction_kind="disparity", out="python")
    assert len(found.rows) == 1 and found.left_out == [] and (found.folder / "report.html").is_file()
    told = rows(result)["nyuv2"]
    for key, value in found.rows[0].items():
        assert told[key] == (None if value != value else value), key
    assert found.protocol["models"]


def test_the_environment_names_the_data(here, tmp_path, monkeypatch):
    data, maps = make_nyu(tmp_path / "data"), predict(tmp_path / "maps", "metric")
    monkeypatch.setenv("CCD_DATA", str(data))
    assert ccd.evaluate(predictions=maps, prediction_kind="metric", limit=1).rows[0]["n"] == 1


GT = np.linspace(1, 5, 48).reshape(6, 8)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ccd.metrics(GT, GT), "Give kind"),
        (lambda: ccd.metrics(GT, GT, kind="inverse"), "not of kind 'inverse'"),
        (lambda: ccd.metrics(ccd.DepthMap(GT, "depth"), GT, kind="metric"), "not of kind 'metric'"),
        (lambda: ccd.metrics(GT[None], GT, kind="depth"), "pred is a map HxW"),
        (lambda: ccd.metrics(GT, "gt.png", kind="depth"), "gt is a map HxW"),
        (lambda: ccd.metrics(GT, GT, kind="depth", alignment="best"), "alignment best: no such method"),
        (lambda: ccd.metrics(GT, GT, kind="disparity", alignment="least-squares"), "disparity"),
        (lambda: ccd.metrics(GT, GT, kind="depth", valid=np.ones((2, 2), bool)), "valid is bool and of the size"),
        (lambda: ccd.metrics(GT, GT, kind="depth", max_depth=0.5), "is left to score"),
        (lambda: ccd.metrics(GT, GT, kind="depth", min_depth=5, max_depth=1), "min_depth and max_depth"),
        (lambda: ccd.metrics(GT, GT, kind="depth", maximum=5), "no argument 'maximum'"),
        (lambda: ccd.metrics(GT * np.nan, GT, kind="depth"), "no finite value"),
        (lambda: ccd.evaluate("builtin:none"), "Unknown built-in model"),
        (lambda: ccd.evaluate(5), "models is a list of texts"),
        (lambda: ccd.evaluate("builtin:tiny", suite="nothing"), "nothing"),
        (lambda: ccd.evaluate("builtin:tiny", limt=3), "Did you mean limit"),
        (lambda: ccd.evaluate("builtin:tiny", prediction_scale=3.0), "prediction-scale|prediction_scale"),
        (lambda: ccd.analyze(draws=0), "draws is at least 1"),
        (lambda: ccd.analyze(arch="x"), "need a model"),
    ],
)
def test_mistakes_are_one_plain_error(here, call, words):
    with pytest.raises(ccd.CcdError, match=words) as error:
        call()
    assert "--" not in error.value.message
