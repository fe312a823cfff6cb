"""`ccd label` stopped, killed, begun with something else, or with photos that break: what is kept and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import filelock
import numpy as np
import pytest
from PIL import Image

from ccd_cli.config.load import check_label_recipe
from ccd_cli.core.report import Silent
from ccd_cli.label.run import run
from ccd_cli.labels.shards import ShardReader
from tests.tiny_labels import MARK, content, label, recipe_values, start, wait_for


@pytest.fixture
def values(photos, make_teacher):
    return recipe_values(photos, make_teacher)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, photos, make_teacher):
    """What a run of 24 shards that nothing stops leaves: bytes by file, and the names of all files."""
    folder = tmp_path_factory.mktemp("whole")
    run(
        check_label_recipe(recipe_values(photos, make_teacher, epochs=6), "t"),
        out=str(folder),
        device="cpu",
        report=Silent(),
    )
    return content(folder), {p.name for p in folder.iterdir()}


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(".lock", marks=pytest.mark.slow),
        pytest.param("label.json", marks=pytest.mark.slow),
        pytest.param("recipe.yaml", marks=pytest.mark.slow),
        pytest.param("parts/teacher-0/part-000003.tar", marks=pytest.mark.slow),
        pytest.param("parts/teacher-1/part-000005.tar", marks=pytest.mark.slow),
        pytest.param("parts/quality", marks=pytest.mark.slow),
        MARK,
    ],
)
def test_killed_anywhere_it_goes_on_and_ends_in_the_same_bytes(ccd_here, write_recipe, values, tmp_path, whole, moment):
    path = write_recipe({**values, "epochs": 6})  # 24 shards
    process = start(tmp_path, str(path), "--out", "killed")
    wait_for(process, tmp_path / "killed" / moment)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    killed = tmp_path / "killed"
    assert not (killed / "index.json").exists()
    for half in (
        (".shard-000001.tar.abc.tar", ".index.json.x.json")
        if (killed / "recipe.yaml").exists()
        else (".label.json.x.json",)
    ):
        (killed / half).write_bytes(b"half")  # what a kill inside a write leaves
    early = {p: p.stat().st_mtime_ns for p in killed.glob("shard-*.tar")}
    assert label(ccd_here, path, "--out", "killed").exit_code == 0
    assert content(killed) == whole[0]
    assert all(p.stat().st_mtime_ns == then for p, then in early.items()), "finished shards are not made again"
    assert {p.name for p in killed.iterdir()} == whole[1]


@pytest.mark.slow
def test_ctrl_c_saves_and_exits_130(ccd_here, write_recipe, values, tmp_path, whole):
    path = write_recipe({**values, "epochs": 6})
    process = start(tmp_path, str(path), "--out", "stopped")
    wait_for(process, tmp_path / "stopped/parts/teacher-0/part-000002.tar")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "Continue with: ccd label stopped/recipe.yaml --out stopped" in output
    assert (tmp_path / "stopped/parts/teacher-0/part-000002.tar").exists()
    assert label(ccd_here, path, "--out", "stopped").exit_code == 0
    assert content(tmp_path / "stopped") == whole[0]


def test_another_recipe_is_refused_with_the_difference(ccd_here, write_recipe, values, tmp_path):
    path = write_recipe(values)
    assert label(ccd_here, path).exit_code == 0
    before = content(tmp_path / "labels/tiny")
    done = label(ccd_here, path, "--set", "crops.patches=1", "--set", "teachers.0.batch=2")
    assert done.exit_code == 2
    assert "crops.patches: 2 then, 1 now" in done.stderr
    assert "batch" in done.stderr
    done = label(ccd_here, path, "--threads", "2")
    assert done.exit_code == 2
    assert "threads: 1 then, 2 now" in done.stderr
    assert content(tmp_path / "labels/tiny") == before
    done = label(ccd_here, path, "--set", "crops.patches=1", "--overwrite")
    assert done.exit_code == 0
    assert ShardReader(tmp_path / "labels/tiny").index.crops == 2
    assert content(tmp_path / "labels/tiny") != before


def test_other_weights_photos_and_folders_are_refused(ccd_here, write_recipe, values, tmp_path, photos, make_teacher):
    shutil.copytree(photos, tmp_path / "mine")
    weights = tmp_path / "weights.safetensors"
    shutil.copy(values["teachers"][0]["model"], weights)
    values["teachers"][0]["model"], values["images"] = str(weights), str(tmp_path / "mine")
    path = write_recipe(values)
    assert label(ccd_here, path).exit_code == 0
    folder = tmp_path / "labels/tiny"
    (folder / MARK).unlink()
    shutil.copy(make_teacher("third", 3), weights)
    done = label(ccd_here, path)
    assert done.exit_code == 2
    assert "weights of weights have changed" in done.stderr
    shutil.copy(make_teacher("first", 1), weights)
    shutil.copy(photos / "1.png", tmp_path / "mine/more.png")
    done = label(ccd_here, path)
    assert done.exit_code == 2
    assert "list of images has changed" in done.stderr
    (tmp_path / "mine/more.png").unlink()
    assert label(ccd_here, path).exit_code == 0
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("precious")
    for args in (
        ["--out", "full"],
        ["--out", "full", "--overwrite"],
        ["--out", "weights.safetensors"],
        ["--out", "mine"],
    ):
        assert label(ccd_here, path, *args).exit_code == 2, args
    assert (tmp_path / "full/thesis.txt").read_text() == "precious"


def test_a_photo_that_changes_between_teachers_is_noticed(ccd_here, write_recipe, values, tmp_path, photos):
    shutil.copytree(photos, tmp_path / "mine")
    path = write_recipe({**values, "images": str(tmp_path / "mine"), "epochs": 6, "photos": "path"})
    process = start(tmp_path, str(path), "--out", "o")
    wait_for(process, tmp_path / "o/parts/teacher-0/part-000002.tar")
    process.kill()
    process.communicate(timeout=60)
    changed = tmp_path / "mine/3.png"
    Image.fromarray(np.zeros((90, 90, 3), np.uint8)).save(changed)
    done = label(ccd_here, path, "--out", "o")
    assert done.exit_code == 1
    assert "3.png has changed since labeling began" in done.stderr
    shutil.copy(photos / "3.png", changed)


def test_broken_photos_are_listed_and_too_many_stop(ccd_here, write_recipe, values, tmp_path, photos):
    shutil.copytree(photos, tmp_path / "mine")
    (tmp_path / "mine/cut.png").write_bytes((photos / "1.png").read_bytes()[:900])
    (tmp_path / "mine/no.jpg").write_text("no image")
    values["images"] = {"paths": [str(tmp_path / "mine")], "max_skipped": 0.2}
    path = write_recipe({**values, "epochs": 2})
    done = label(ccd_here, path)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["samples"], result["skipped"]) == (16, 2)
    folder = tmp_path / "labels/tiny"
    listed = {Path(x["photo"]).name: x["reason"] for x in map(json.loads, (folder / "skipped.jsonl").open())}
    assert set(listed) == {"cut.png", "no.jpg"}
    assert "damaged" in listed["cut.png"]
    photos_seen = {Path(facts.photo.path).name for facts, _ in ShardReader(folder).sidecars()}
    assert photos_seen == {p.name for p in photos.iterdir()}
    for limit, words in (("0.15", "2 of 10 images"), ("0.01", "1 of 10 images")):  # damage within, then a bad header
        done = label(ccd_here, path, "--out", f"strict{limit}", "--set", f"images.max_skipped={limit}")
        assert done.exit_code == 1
        assert words in done.stderr
        assert str(tmp_path / "mine") in done.stderr  # names one
    before = content(folder)
    assert label(ccd_here, path, "--overwrite", "--set", "images.max_skipped=0.01").exit_code == 1
    assert content(folder) == before, "what is there is removed only when nothing speaks against new labels"
    for photo in photos.iterdir():
        (tmp_path / "mine" / photo.name).write_bytes(b"")
    done = label(ccd_here, path, "--out", "none", "--set", "images.max_skipped=1.0")
    assert done.exit_code == 1
    assert "None of the images can be read" in done.stderr


def test_two_runs_do_not_write_one_folder(ccd_here, write_recipe, values, tmp_path):
    folder = tmp_path / "labels/tiny"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".lock"):
        done = label(ccd_here, write_recipe(values))
    assert done.exit_code == 1
    assert "Another process is writing" in done.stderr
