"""`ccd label` on a user's own pairs: the teacher `ground-truth`, its holes filled or not, and what learns from it."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from ccd_cli.benchmarks.own.training import open_training_pairs
from ccd_cli.cli.main import cli
from ccd_cli.config.load import check_label_recipe
from ccd_cli.config.pairs import Pairs
from ccd_cli.core.report import Silent
from ccd_cli.core.shard import Shard
from ccd_cli.data.crops import Region, crop_image
from ccd_cli.label.images import open_images
from ccd_cli.label.labelers import TruthLabels
from ccd_cli.label.plan import Plan
from ccd_cli.label.run import EngineOptions, run
from ccd_cli.label.stages import Predict
from ccd_cli.labels.shards import ShardReader
from ccd_cli.teachers.load import load_teacher
from tests.own_pairs import write_pairs
from tests.tiny_labels import content

SIDE = 64
HOLES = slice(0, 20)
"""Rows of the images without a measurement."""


def write_ramps(folder, clips=3, frames=2, **changes):
    """Pairs whose every pixel is known by hand: depth in mm rises by 10 a column and 3 a row, from 1000 mm and 100 a frame on."""
    rng = np.random.default_rng(0)
    for number in range(clips * frames):
        clip = folder / f"clip-{number // frames}"
        clip.mkdir(parents=True, exist_ok=True)
        name = f"{number % frames}.png"
        (folder / "depth" / clip.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(clip / name)
        Image.fromarray(millimeters(number)).save(folder / "depth" / clip.name / name)
    rule = {
        "name": "ramps",
        "root": ".",
        "image": "clip-*/*.png",
        "depth": "depth/clip-*/*.png",
        "divisor": 1000,
        "max": 20,
    }
    path = folder / "pairs.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in {**rule, **changes}.items() if value is not None}))
    return path


def millimeters(number):
    rows, columns = np.indices((SIDE, SIDE))
    depth = 1000 + 100 * number + 3 * rows + 10 * columns
    depth[HOLES] = 0
    return depth.astype(np.uint16)


def measured(path, box):
    """The depth in meters of a crop, NaN in holes, as the pixels say that the centers of its pixels fall into."""
    number = 2 * int(path.parent.name[-1]) + int(path.stem)
    depth = millimeters(number) / 1000
    depth[depth == 0] = np.nan
    top, left, side = box
    places = (np.arange(SIDE) + 0.5) * side / SIDE
    return depth[np.floor(top + places).astype(int)[:, None], np.floor(left + places).astype(int)]


def values_of(pairs, *teachers, **changes):
    return {
        "task": "label",
        "name": "own",
        "seed": 3,
        "images": {"pairs": str(pairs), "max_skipped": 0.5},
        "teachers": list(teachers) or ["ground-truth"],
        "crops": {"size": SIDE, "min_side": SIDE, "patches": 2},
        "shard": 3,
        "threads": 1,
        **changes,
    }


def label(ccd_here, path, *words):
    made = ccd_here("label", path, "--device", "cpu", "--json", *words)
    assert made.exit_code == 0, made.output
    return made


def sample_path(sample):
    return Path(sample.facts.photo.path)


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    return write_ramps(tmp_path_factory.mktemp("ramps"))


@pytest.fixture(scope="module")
def filled(ramps, make_teacher, tmp_path_factory):
    """(recipe, folder, result) of labels by ground truth with filled holes, and by a network."""
    filler = {"model": str(make_teacher("filler", 4, kind="metric")), "max_error": 5.0}
    truth = {"model": "ground-truth", "fill": filler, "batch": 4}
    values = values_of(ramps, truth, str(make_teacher("first", 1)), epochs=2)
    folder = tmp_path_factory.mktemp("filled")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    words = ["label", str(folder / "recipe.yaml"), "--out", str(folder / "labels"), "--device", "cpu", "--json"]
    made = CliRunner().invoke(cli, words)
    assert made.exit_code == 0, made.output
    return values, folder / "labels", made


def test_ground_truth_is_stored_as_it_was_measured_and_held_out_pairs_are_not(ccd_here, write_recipe, ramps, tmp_path):
    made = label(ccd_here, write_recipe(values_of(ramps, photos="path")))
    assert "4 images with ground truth; 2 more are held out" in made.stderr
    result = json.loads(made.stdout)
    assert (result["samples"], result["filled"], result["refused"], result["license"]) == (4, None, None, "CC0-1.0")
    reader = ShardReader(tmp_path / "labels/own")
    index = json.loads((tmp_path / "labels/own/index.json").read_text())
    assert (index["teachers"][0]["kind"], index["teachers"][0]["unit"]) == ("metric", "meter")
    seen = set()
    for sample in reader.epoch():
        path = sample_path(sample)
        seen.add(path.parent.name)
        assert sample.facts.photo.file is None and sample.photo().shape == (SIDE, SIDE, 3)
        for number, crop in enumerate(sample.facts.labels[0].crops):
            got, valid = sample.label(0, number)
            want = measured(path, crop.box)
            assert np.array_equal(valid, np.isfinite(want)) and crop.valid == pytest.approx(valid.mean(), abs=1e-6)
            assert np.abs(1 / got - 1 / want)[valid].max() <= crop.scale / 2 + 1e-6
        assert sample.facts.labels[0].crops[0].valid == pytest.approx(1 - 20 / 64), (
            "the whole image: its holes are known"
        )
        assert b'"fill"' not in reader._shard(0)._bytes(reader._shard(0).keys[0], f"{reader._shard(0).keys[0]}.json")
    live = open_training_pairs(Pairs.model_validate(str(ramps)), 3)
    assert seen == {path.parent.name for path in live.train.paths} and len(seen) == 2


def test_holes_hold_the_fitted_network_and_every_crop_says_so(filled):
    values, folder, made = filled
    network = load_teacher(values["teachers"][0]["fill"]["model"])
    fractions, reader = [], ShardReader(folder)
    for sample in reader.epoch():
        about, plain = sample.facts.labels
        assert (about.teacher, about.kind, about.fill, about.license) == ("ground-truth", "metric", "filler", "MIT")
        assert about.checkpoint_sha256 == network.checkpoint_sha256 and plain.fill is None
        for number, crop in enumerate(about.crops):
            want = measured(sample_path(sample), crop.box)
            known = np.isfinite(want)
            view = (
                torch.from_numpy(crop_image(sample.photo().copy(), Region(*crop.box), SIDE)).permute(2, 0, 1)[None]
                / 255
            )
            depth = network.predict(view)[0].numpy()
            scale = np.sort((depth / want)[known])[
                (known.sum() - 1) // 2
            ]  # the median of measured over predicted disparity
            error = np.sort(np.abs(scale * want / depth - 1)[known])[(known.sum() - 1) // 2]
            want = np.where(known, want, depth / scale)
            got, valid = sample.label(0, number)
            assert valid.all() and not crop.fill.refused
            assert crop.fill.filled == pytest.approx(1 - known.mean(), abs=1e-6)
            assert crop.fill.error == pytest.approx(error, rel=1e-3)
            assert np.abs(1 / got - 1 / want).max() <= crop.scale / 2 + 2e-4 * (1 / want).max()
            fractions.append(crop.fill.filled)
    assert len(fractions) == 24 and min(fractions) < 0.4 < max(fractions) + 0.2
    result, index = json.loads(made.stdout), json.loads((folder / "index.json").read_text())
    assert result["filled"] == pytest.approx(np.mean(fractions), abs=1e-5) and result["refused"] == 0
    assert index["teachers"][0]["filled"] == result["filled"] and "filled" not in index["teachers"][1]
    assert "of the pixels were filled; 0 of 24 crops" in made.stderr
    lines = [json.loads(line)["teachers"] for line in (folder / "quality.jsonl").read_text().splitlines()]
    assert np.mean([line[0]["fill"]["filled"] for line in lines]) == pytest.approx(result["filled"], abs=1e-5)
    assert all("fill" not in line[1] for line in lines)


def test_a_folder_of_an_earlier_version_is_still_finished(ccd_here, write_recipe, filled, tmp_path):
    values, folder, _ = filled
    shutil.copytree(folder, tmp_path / "out")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    del recipe["teachers"][1]["fill"], recipe["images"]["scenes"]  # keys that did not exist
    (tmp_path / "out/recipe.yaml").write_text(yaml.safe_dump(recipe))
    made = label(ccd_here, write_recipe(values), "--out", "out")
    assert "nothing to do" in made.stderr and "24 crops" in made.stderr


def test_a_fit_that_is_too_bad_is_refused_and_counted(ramps, make_teacher, tmp_path):
    strict = {"model": str(make_teacher("filler", 4, kind="metric")), "max_error": 1e-6}
    values = values_of(ramps, {"model": "ground-truth", "fill": strict})
    result = run(check_label_recipe(values, "t"), out=str(tmp_path / "out"), device="cpu", report=Silent())
    assert (result.filled, result.refused) == (0.0, 12)
    crops = [crop for sample in ShardReader(tmp_path / "out").epoch() for crop in sample.facts.labels[0].crops]
    assert all(crop.fill.refused and crop.fill.error > 1e-6 and crop.fill.filled == 0 for crop in crops)
    assert min(crop.valid for crop in crops) < 0.7, "holes stay"


def test_units_travel_alone_and_shards_of_several_processes_are_the_same_bytes(filled, tmp_path, monkeypatch):
    values, folder, _ = filled
    units = []

    def elsewhere(self, unit, threads, progress):
        sent, data = pickle.loads(pickle.dumps((self.for_worker(), unit))), pickle.dumps(unit)
        units.append((sent[1], len(data)))
        return here(sent[0], sent[1], threads, progress)

    here = Predict.run
    monkeypatch.setattr(Predict, "run", elsewhere)
    recipe = check_label_recipe(values, "t")
    for number in (1, 2):
        run(
            recipe,
            out=str(tmp_path / "out"),
            device="cpu",
            engine=EngineOptions(only=Shard(number, 2)),
            report=Silent(),
        )
    run(recipe, out=str(tmp_path / "out"), device="cpu", report=Silent())
    assert content(tmp_path / "out") == content(folder)
    assert len(units) == 6, "two teachers, three shards"
    for unit, size in units:
        files = [name for each in unit.images.pairs.sets for name, _, _ in each.files]
        assert len(files) <= 3 and size < 10_000, "a unit holds the files of its own images alone"


def test_a_student_sees_the_same_from_labels_as_beside_them(ccd_here, write_recipe, filled, tiny_recipe, tmp_path):
    values, folder, _ = filled
    truth = {key: values["teachers"][0][key] for key in ("model", "fill")}
    both = {
        "seed": 3,
        "loss": {"depth": {"weight": 1.0}, "feature": {"weight": 0.0}},
        "student": {**tiny_recipe["student"], "kind": "metric"},
        "optim": {**tiny_recipe["optim"], "steps": 2, "batch": 2},
        "log": {"samples": 0, "tensorboard": False},
        "name": "tiny",
    }
    live = {**both, "images": {"pairs": values["images"]["pairs"]}, "crops": values["crops"], "teachers": [truth]}
    late = {**both, "labels": str(folder), "teachers": ["ground-truth"]}
    rows = {}
    for name, recipe in (("live", live), ("late", late)):
        made = ccd_here("distill", write_recipe(recipe), "--out", name, "--device", "cpu", "--threads", 1)
        assert made.exit_code == 0, made.output
        rows[name] = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
    for key in ("loss", "depth", "label_median", "label_mad"):
        assert rows["late"][0][key] == pytest.approx(rows["live"][0][key], rel=3e-4), key
        assert rows["late"][0][key] != pytest.approx(rows["live"][1][key], rel=3e-4), "another step differs"
    assert rows["late"][1]["label_median"] == pytest.approx(rows["live"][1]["label_median"], rel=3e-4)
    assert {row["teacher"] for row in rows["late"]} == {"ground-truth"}
    scores = [json.loads((tmp_path / name / "eval.json").read_text()) for name in rows]
    assert [(each["pairs"], each["best"]["images"]) for each in scores] == [("ramps (held out)", 2)] * 2
    leaking = {**late, "eval": {"pairs": values["images"]["pairs"]}}
    made = ccd_here("distill", write_recipe(leaking), "--out", "leaking", "--device", "cpu")
    assert made.exit_code == 2 and "4 images validate and are trained on" in made.stderr


def test_pairs_that_have_changed_since_do_not_validate(ccd_here, write_recipe, tiny_recipe, tmp_path):
    mine = write_ramps(tmp_path / "mine")
    label(ccd_here, write_recipe(values_of(mine)))
    write_ramps(tmp_path / "mine", clips=4)
    plain = {key: tiny_recipe[key] for key in ("name", "optim", "student")} | {"labels": "labels/own"}
    words = ["--out", "run", "--device", "cpu", "--dry-run"]
    made = ccd_here("distill", write_recipe(plain), *words)
    assert made.exit_code == 0, made.output
    assert "those held out do not validate" in made.stderr and "have changed" in made.stderr


def test_truth_without_a_unit_is_depth_and_no_student_of_meters_learns_from_it(
    ccd_here, write_recipe, tiny_recipe, tmp_path
):
    stereo = write_ramps(tmp_path / "stereo", kind="disparity", divisor=None, scale=1, max=5000, min=0.5)
    label(ccd_here, write_recipe(values_of(stereo)))
    assert json.loads((tmp_path / "labels/own/index.json").read_text())["teachers"][0]["kind"] == "depth"
    sample = ShardReader(tmp_path / "labels/own").sample(0)
    ratio = sample.label(0, 0)[0] * measured(sample_path(sample), (0, 0, SIDE))
    assert np.nanstd(ratio) / np.nanmean(ratio) < 1e-3, "depth is 1 / disparity"
    student = {**tiny_recipe["student"], "kind": "metric"}
    plain = {key: tiny_recipe[key] for key in ("name", "optim")} | {
        "labels": "labels/own",
        "loss": {"depth": {"weight": 1}},
    }
    made = ccd_here("distill", write_recipe({**plain, "student": student}), "--out", "run", "--device", "cpu")
    assert made.exit_code == 2 and "ground-truth (depth)" in made.stderr and not (tmp_path / "run/recipe.yaml").exists()
    weighted = {**plain, "student": tiny_recipe["student"], "loss": {}}
    weighted["teachers"] = [{"model": "ground-truth", "full_weight_to": 3.0}]
    made = ccd_here("distill", write_recipe(weighted), "--out", "run", "--device", "cpu")
    assert made.exit_code == 2 and "full_weight_to is in meters" in made.stderr


def test_pairs_that_cannot_be_read_are_listed_and_have_no_label(ccd_here, write_recipe, tmp_path):
    mine = write_ramps(tmp_path / "mine")
    everywhere = {"files": [{"file": str(mine), "repeat": 2}], "validation": {"fraction": 0.0}}
    (mine.parent / "depth/clip-0/1.png").write_bytes(b"no picture")
    (mine.parent / "clip-1/0.png").write_bytes(b"\x89PNG cut")
    recipe, broken = (
        check_label_recipe(values_of(mine, images={"pairs": everywhere}), "t"),
        mine.parent / "depth/clip-2/1.png",
    )
    pairs = open_images(recipe).source
    broken.rename(mine.parent / "away.png")
    gone = Plan(recipe, pairs).views(0, pairs, pairs.paths.index(mine.parent / "clip-2/1.png"))
    assert "depth/clip-2/1.png" in gone.reason, "the file that is gone, not its image"
    (mine.parent / "away.png").rename(broken)
    images = {"pairs": everywhere, "max_skipped": 0.5}
    result = json.loads(label(ccd_here, write_recipe(values_of(mine, images=images))).stdout)
    assert (result["samples"], result["skipped"]) == (8, 2)
    listed = {
        json.loads(line)["photo"]: line for line in (tmp_path / "labels/own/skipped.jsonl").read_text().splitlines()
    }
    assert {name.split("mine/")[1] for name in listed} == {"clip-0/1.png", "clip-1/0.png"}
    assert "depth/clip-0/1.png" in listed[next(name for name in listed if "clip-0" in name)], "the file that is damaged"


def test_what_makes_no_sense_is_said_and_nothing_is_written(
    ccd_here, write_recipe, ramps, photos, make_teacher, tmp_path
):
    first = str(make_teacher("first", 1))

    def refused(values, *words):
        made = ccd_here("label", write_recipe(values), "--out", "out", "--device", "cpu")
        assert made.exit_code and not (tmp_path / "out").exists(), made.output
        assert all(word in made.output for word in words), made.output

    truth = {"model": "ground-truth"}
    refused(values_of(ramps, first), "images.pairs", "ground-truth", "images.paths")
    refused(values_of(ramps, images=str(photos)), "teachers.0.model", "images.pairs")
    refused(values_of(ramps, images={"pairs": str(ramps), "paths": [str(photos)]}), "exclude each other")
    refused(values_of(ramps, images={"pairs": str(ramps), "scenes": {"count": 3}}), "images.scenes")
    refused(values_of(ramps, truth, {"model": first, "fill": first}), "teachers.1.fill", "is for `ground-truth`")
    refused(values_of(ramps, {**truth, "fill": {"model": first, "weight": 0.5}}), "teachers.0.fill.weight", "must be 1")
    refused(values_of(ramps, {**truth, "resolution": 56}), "teachers.0.resolution", "fill.resolution")
    refused(values_of(ramps, {**truth, "fill": "nowhere.safetensors"}), "nowhere.safetensors")
    refused(values_of("none.yaml"), "none.yaml")
    one = write_pairs(tmp_path / "one", clips=1)
    refused(values_of(one), "all images lie in one folder")


def test_the_keys_are_known_to_the_other_commands(ccd_here, write_recipe, filled, tmp_path):
    values, folder, _ = filled
    path = write_recipe(values)
    assert ccd_here("recipes", "check", path).exit_code == 0
    broken = write_recipe(values_of("none.yaml", {"model": "ground-truth", "fill": "no-such-model"}), "broken.yaml")
    made = ccd_here("recipes", "check", broken)
    assert made.exit_code and "teachers.0.fill" in made.output and "no-such-model" in made.output, made.output
    short = {"model": "ground-truth", "fill": str(values["teachers"][0]["fill"]["model"])}
    schema = json.loads(ccd_here("recipes", "schema", "--task", "label").stdout)
    jsonschema.validate(values_of("own.yaml", short), schema)
    changes = ["--set", "images.pairs.validation.by=image", "--set", "teachers.0.fill.max_error=0.5", "--dry-run"]
    made = ccd_here("label", write_recipe(values_of(values["images"]["pairs"], short)), *changes)
    resolved = yaml.safe_load(made.stdout)
    assert resolved["images"]["pairs"]["files"][0]["file"] == values["images"]["pairs"], (
        "a short form stays what it was"
    )
    assert resolved["images"]["pairs"]["validation"]["by"] == "image"
    assert (resolved["teachers"][0]["fill"]["model"], resolved["teachers"][0]["fill"]["max_error"]) == (
        short["fill"],
        0.5,
    )
    made = ccd_here("inspect", folder, "--out", tmp_path / "page", "--json")
    assert made.exit_code == 0, made.output
    summary, index = json.loads(made.stdout)["summary"], json.loads((folder / "index.json").read_text())
    assert summary["filled_fraction"] == pytest.approx(index["teachers"][0]["filled"], abs=1e-5)
    assert summary["crops_not_filled"] == 0 and 0 < summary["fit_error_median"] < 5
    explained = ccd_here("recipes", "explain", "teachers.0.fill.max_error")
    assert "ccd distill and ccd label" in explained.stdout and "default  0.2" in explained.stdout


def test_ground_truth_alone_needs_no_network():
    disparity = np.array([[[1.0, 0.5], [np.nan, 0.0]]], np.float32)
    made, fills = TruthLabels("metric", {}, 1).label([np.zeros((2, 2, 3), np.uint8)], list(disparity))
    assert made.tolist()[0][0] == [1.0, 2.0] and np.isnan(made[0, 1, 0]) and np.isposinf(made[0, 1, 1])
    assert fills == [None]
