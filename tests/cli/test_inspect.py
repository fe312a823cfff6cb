"""`ccd inspect` from outside: contact sheet, statistics and page of labels and of runs."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from tests.page import HOSTILE, Page
from tests.tiny_eval import make_nyu, predict
from tests.tiny_labels import MARK, content, label, recipe_values

BASELINES = ("mean map", "vertical gradient", "constant")


@pytest.fixture
def values(photos, make_teacher):
    return recipe_values(photos, make_teacher)


def test_inspect_labels(ccd_here, write_recipe, values, tmp_path, photos):
    shutil.copytree(photos, tmp_path / "mine")
    for photo in sorted((tmp_path / "mine").iterdir()):
        photo.rename(photo.with_name(f"{HOSTILE} {photo.name}"))
    assert label(ccd_here, write_recipe({**values, "images": str(tmp_path / "mine")})).exit_code == 0
    folder = tmp_path / "labels/tiny"
    before = content(folder)
    done = ccd_here("inspect", folder, "--json", "--rows", "8")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["what"], document["summary"]["images"]) == ("labels", 8)
    assert [row["labels"] for row in document["teachers"]] == [24, 24]
    assert 0 < document["summary"]["fraction_of_float16_size"] < 1.2
    assert document["summary"]["disagreement_max"] == document["largest_disagreement"][0]["disagreement"]
    page = Page(folder / "inspect.html")
    assert page.needs_nothing_else() and len(page.images) == page.tags.count("img") == 8 * 4
    assert not page.reprs() and "fraction of float16 size" in page.all_words
    for row in document["largest_disagreement"]:
        assert HOSTILE in row["image"] and row["image"] in page.words
    with Image.open(folder / "contact.png") as image:
        width, height = image.size
    assert width > 4 * 192
    assert height > 8 * 192
    assert content(folder) == before
    assert label(ccd_here, write_recipe({**values, "images": str(tmp_path / "mine")})).exit_code == 0
    assert ccd_here("inspect", folder, "--out", "look", "--rows", "1").exit_code == 0
    assert {p.name for p in (tmp_path / "look").iterdir()} == {"contact.png", "inspect.html"}


@pytest.fixture
def train(ccd_here, write_recipe, tiny_recipe):
    def run(out, steps=3, **changes):
        optim = {**tiny_recipe["optim"], "steps": steps, **changes.pop("optim", {})}
        path = write_recipe({**tiny_recipe, "eval": {"scenes": 2, "every": 2}, **changes, "optim": optim})
        done = ccd_here("distill", path, "--device", "cpu", "--out", out)
        assert done.exit_code == 0, done.stderr
        return done

    return run


def test_inspect_a_run(ccd_here, train, tmp_path):
    said = train(HOSTILE).stderr
    assert "On generated scenes, 2 images" in said and "['" not in said and "pairs" not in said
    done = ccd_here("inspect", HOSTILE, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["what"], document["summary"]["state"], document["summary"]["step"]) == ("run", "finished", 3)
    assert (tmp_path / HOSTILE / "contact.png").is_file()
    page = Page(tmp_path / HOSTILE / "inspect.html")
    assert page.needs_nothing_else() and HOSTILE in page.all_words and "License" in page.all_words
    assert page.tags.count("svg") == 3 and len(page.images) == page.tags.count("img") == 1, "curves and samples"
    assert not page.reprs() and "3 of 3" in page.words and "Not finished" not in page.all_words
    best = json.loads((tmp_path / HOSTILE / "eval.json").read_text())["best"]
    assert f"Scored on generated scenes, 2 images; best at step {best['step']:.0f}." in page.all_words
    scores = next(table for table in page.tables if table[0][:3] == ["model", "AbsRel", "RMSE"])
    assert [row[0] for row in scores[3:]] == [
        "student, untrained",
        "student, best checkpoint",
        "mean map",
        "vertical gradient",
        "constant",
    ]
    for word in ("given pairs", "Points, on sets", "has another size than its photo"):
        assert word not in page.all_words, "nothing of that was scored"


def test_inspect_a_run_that_is_under_way(ccd_here, train, tmp_path):
    train("run", steps=3)
    for name in ("card.md", "run.json"):
        (tmp_path / "run" / name).unlink()
    shutil.rmtree(tmp_path / "run" / "plots")
    (tmp_path / "run/plots").mkdir()
    (tmp_path / "run/plots/.samples.png.ccd-1.png").write_bytes(b"")  # a plot that is being written
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run/metrics.jsonl").write_text("".join(lines[:2]))
    assert ccd_here("inspect", "run").exit_code == 0
    page = Page(tmp_path / "run/inspect.html")
    assert "ccd distill run/recipe.yaml --resume --out run" in page.words and "2 of 3" in page.words
    assert page.tags.count("svg") == 3 and not page.images, (
        "curves come from the numbers, also where no plot is drawn yet"
    )


def test_runs_side_by_side(ccd_here, train, tmp_path):
    train("a/run", steps=2)
    train("b/run", steps=4, optim={"lr": 5e-4})
    done = ccd_here("inspect", "a/run", "b/run", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["what"] == "runs" and document["files"] == {"page": "inspect-out/compare.html"}
    settings = {row["setting"]: (row["a/run"], row["b/run"]) for row in document["settings"]}
    assert settings == {"optim.lr": (0.001, 0.0005), "optim.steps": (2, 4)}, "a setting that is alike is not named"
    page = Page(tmp_path / "inspect-out/compare.html")
    assert page.needs_nothing_else() and not page.reprs()
    tables = {tuple(table[0]): table[1:] for table in page.tables}
    assert tables["setting", "a/run", "b/run"] == [["optim.steps", "2", "4"], ["optim.lr", "0.001", "0.0005"]]
    (scores,) = [rows for head, rows in tables.items() if head[0] == "run"]
    assert [row[:2] for row in scores] == [["a/run", "finished, step 2 of 2"], ["b/run", "finished, step 4 of 4"]]
    assert f"{document['scores'][0]['abs_rel']:.4f}" in scores[0]
    assert page.text.count('class="best"') == 3 and "cannot be compared" not in page.all_words
    assert page.tags.count("svg") == 4 and len(page.images) == 2, "loss, two scores and drift; a sample grid of each"
    assert not any((tmp_path / each).exists() for each in ("a/run/inspect.html", "a/run/compare.html"))


@pytest.mark.slow
def test_runs_that_were_scored_on_different_images_have_no_best(ccd_here, train, tmp_path):
    train("a", steps=2)
    train("b", steps=2, eval={"scenes": 3, "every": 2})
    assert ccd_here("inspect", "a", "b", "--out", "look").exit_code == 0
    page = Page(tmp_path / "look/compare.html")
    assert "their scores cannot be compared" in page.all_words and 'class="best"' not in page.text


def test_what_cannot_be_compared(ccd_here, train, tmp_path):
    train("a", steps=2)
    (tmp_path / "other").mkdir()
    done = ccd_here("inspect", "a", "other")
    assert done.exit_code == 2 and "other is no run" in done.stderr
    done = ccd_here("inspect", "a", "./a")
    assert done.exit_code == 2 and "given twice" in done.stderr


def test_an_evaluation_has_its_page(ccd_here, tmp_path):
    root = make_nyu(tmp_path / "data")
    maps = predict(tmp_path / "maps", "disparity", noise=0.1)
    assert ccd_here("eval", "--data-root", root, "--predictions", maps, "--prediction-kind", "disparity").exit_code == 0
    done = ccd_here("inspect", "eval-out", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["what"] == "evaluation" and document["files"] == {"page": "eval-out/report.html"}
    assert (
        document["scores"][0]["abs_rel"]
        == json.loads((tmp_path / "eval-out/results.json").read_text())["results"][0]["abs_rel"]
    )
    assert "AbsRel" in done.stderr
    (tmp_path / "eval-out/report.html").unlink()
    done = ccd_here("inspect", "eval-out")
    assert done.exit_code == 1 and "ccd eval again" in done.stderr


def test_inspect_what_is_neither_unfinished_or_damaged(ccd_here, write_recipe, values, tmp_path):
    (tmp_path / "empty").mkdir()
    done = ccd_here("inspect", "empty")
    assert done.exit_code == 2
    assert "neither" in done.stderr
    assert label(ccd_here, write_recipe(values)).exit_code == 0
    folder = tmp_path / "labels/tiny"
    data = (folder / MARK).read_bytes()
    (folder / MARK).write_bytes(data[:-2000])
    done = ccd_here("inspect", folder)
    assert done.exit_code == 1
    assert "the index says" in done.stderr
    (folder / "index.json").unlink()
    done = ccd_here("inspect", folder)
    assert done.exit_code == 1
    assert "not finished" in done.stderr
