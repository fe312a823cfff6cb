"""`ccd inspect` from outside: contact sheet, statistics and page of labels and of runs."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from tests.page import HOSTILE, Page
from tests.tiny_labels import MARK, content, label, recipe_values


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
    assert page.needs_nothing_else() and len(page.images) == page.tags.count("img") == 1
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


def test_inspect_a_run(ccd_here, write_recipe, tiny_recipe, tmp_path):
    path = write_recipe({**tiny_recipe, "optim": {**tiny_recipe["optim"], "steps": 3}})
    assert ccd_here("distill", path, "--device", "cpu", "--out", HOSTILE).exit_code == 0
    done = ccd_here("inspect", HOSTILE, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["what"], document["summary"]["state"], document["summary"]["step"]) == ("run", "finished", 3)
    assert (tmp_path / HOSTILE / "contact.png").is_file()
    page = Page(tmp_path / HOSTILE / "inspect.html")
    assert page.needs_nothing_else() and HOSTILE in page.all_words and "License" in page.all_words
    plots = sorted((tmp_path / HOSTILE / "plots").glob("*.png"))
    assert len(page.images) == page.tags.count("img") == len(plots) >= 3


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
