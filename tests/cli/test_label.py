"""`ccd label` and `ccd inspect` from outside: shards, kills, signals, kinds, bad inputs, and what is seen in them."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from html import escape
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch
from PIL import Image

from ccd_cli.core.recipe import check_label_recipe, load_label_recipe, shipped
from ccd_cli.core.report import Silent
from ccd_cli.data.shards import ShardReader
from ccd_cli.pipelines.label import run
from ccd_cli.teachers.cards import CARDS
from ccd_cli.teachers.load import load_teacher, resolve_model

MARK = "shard-000000.tar"


def recipe_values(photos, make_teacher, **changes):
    """A label recipe: two tiny random teachers with settings of their own, eight photos in four shards."""
    return {
        "task": "label",
        "name": "tiny",
        "seed": 3,
        "images": str(photos),
        "teachers": [
            {"model": str(make_teacher("first", 1)), "batch": 4},
            {"model": str(make_teacher("second", 2, encoder="test_vit")), "batch": 3, "resolution": 48},
        ],
        "crops": {"size": 64, "min_side": 70, "patches": 2},
        "shard": 2,
        "threads": 1,
        **changes,
    }


@pytest.fixture
def values(photos, make_teacher):
    return recipe_values(photos, make_teacher)


def label(ccd_here, path, *args):
    return ccd_here("label", path, "--device", "cpu", "--json", *args)


def content(folder: Path) -> dict[str, bytes]:
    """Everything that must be the same every time."""
    names = ["index.json", "quality.jsonl", "skipped.jsonl"]
    paths = [folder / name for name in names if (folder / name).exists()]
    return {path.name: path.read_bytes() for path in (*paths, *sorted(folder.glob("shard-*.tar")))}


def start(tmp_path, *args):
    return subprocess.Popen(
        [sys.executable, "-m", "ccd_cli.cli.main", "label", *args, "--device", "cpu"],
        cwd=tmp_path,
        env={**os.environ, "CCD_HOME": str(tmp_path / "home"), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process, path: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists():
            return
        time.sleep(0.001)
    pytest.fail(f"{path} did not appear: {process.communicate(timeout=60)[0]}")


def test_end_to_end_and_readable_with_tarfile_pillow_and_json_alone(ccd_here, write_recipe, values, tmp_path, photos):
    done = label(ccd_here, write_recipe(values))
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    folder = tmp_path / "labels/tiny"
    assert (result["samples"], result["shards"], result["skipped"], result["dropped"]) == (8, 4, 0, 0)
    kept = {
        "index.json",
        "label.json",
        "quality.jsonl",
        "recipe.yaml",
        ".lock",
        *(f"shard-00000{i}.tar" for i in range(4)),
    }
    assert {p.name for p in folder.iterdir()} == kept
    index = json.loads((folder / "index.json").read_text())
    assert result["bytes"] == sum(shard["bytes"] for shard in index["shards"])
    seen = set()
    teachers = [load_teacher(t["model"], resolution=t.get("resolution")) for t in values["teachers"]]
    for shard in index["shards"]:
        with tarfile.open(folder / shard["file"]) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        for name in [n for n in files if n.endswith(".json")]:
            facts = json.loads(files[name])
            original = Path(facts["photo"]["path"])
            seen.add(original.name)
            assert files[facts["photo"]["file"]] == original.read_bytes()
            picture = np.asarray(Image.open(io.BytesIO(files[facts["photo"]["file"]])).convert("RGB"))
            assert len(facts["labels"]) == 2
            for labels, teacher in zip(facts["labels"], teachers, strict=True):
                assert (labels["kind"], labels["license"]) == ("disparity", "MIT")
                assert labels["checkpoint_sha256"] == teacher.checkpoint_sha256
                assert len(labels["crops"]) == 3
                for crop in labels["crops"]:
                    top, left, side = crop["box"]
                    assert picture[top : top + side, left : left + side].shape == (side, side, 3)
                    codes = np.asarray(Image.open(io.BytesIO(files[crop["file"]]))).astype(np.float64)
                    assert codes.shape == (64, 64)
                    assert codes.min() == 1
                    assert codes.max() == 65535
    assert seen == {p.name for p in photos.iterdir()}
    lines = [json.loads(line) for line in (folder / "quality.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    assert all(line["disagreement"] > 0 and len(line["teachers"]) == 2 for line in lines)


def test_labels_are_the_teachers_own_values_of_the_crops(ccd_here, write_recipe, values, tmp_path):
    assert label(ccd_here, write_recipe(values)).exit_code == 0
    from ccd_cli.data.crops import Region, cut
    from ccd_cli.data.photos import read_photo

    teachers = [load_teacher(t["model"], resolution=t.get("resolution")) for t in values["teachers"]]
    for sample in ShardReader(tmp_path / "labels/tiny").epoch():
        pixels = read_photo(Path(sample.facts.photo.path))
        assert np.array_equal(sample.photo(), pixels)
        for t, teacher in enumerate(teachers):
            boxes = [Region(*crop.box) for crop in sample.facts.labels[t].crops]
            views = torch.from_numpy(np.stack([cut(pixels, box, 64) for box in boxes])).permute(0, 3, 1, 2) / 255
            for c, want in enumerate(teacher.predict(views).numpy()):
                got, valid = sample.label(t, c)
                step = sample.facts.labels[t].crops[c].scale
                assert valid.all()
                assert np.abs(got - want).max() <= step / 2 + 2e-5 * np.abs(want).max()


def test_made_twice_it_is_the_same_and_a_lost_shard_comes_back(ccd_here, write_recipe, values, tmp_path):
    path = write_recipe(values)
    assert label(ccd_here, path).exit_code == 0
    first = content(tmp_path / "labels/tiny")
    assert label(ccd_here, path, "--out", "again", "--set", "images.workers=3").exit_code == 0
    assert content(tmp_path / "again") == first
    done = label(ccd_here, path)
    assert done.exit_code == 0
    assert "nothing to do" in done.stderr
    (tmp_path / "again/shard-000002.tar").unlink()
    assert label(ccd_here, path, "--out", "again").exit_code == 0
    assert content(tmp_path / "again") == first


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
        ".lock",
        "label.json",
        "recipe.yaml",
        "parts/teacher-0/part-000003.tar",
        "parts/teacher-1/part-000005.tar",
        "parts/quality",
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


def test_ctrl_c_saves_and_exits_130(ccd_here, write_recipe, values, tmp_path, whole):
    path = write_recipe({**values, "epochs": 6})
    process = start(tmp_path, str(path), "--out", "stopped")
    wait_for(process, tmp_path / "stopped/parts/teacher-0/part-000002.tar")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "Go on with the same command" in output
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
    assert "list of photos has changed" in done.stderr
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
    assert "3.png has changed since labelling began" in done.stderr
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
    for limit, words in (("0.15", "2 of 10 photos"), ("0.01", "1 of 10 photos")):  # damage within, then a bad header
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
    assert "None of the photos can be read" in done.stderr


def test_kinds_are_kept_and_compared(ccd_here, write_recipe, values, tmp_path, make_teacher):
    models = {
        kind: str(make_teacher(f"k-{kind}", i, kind=kind)) for i, kind in enumerate(("affine-depth", "metric"), 5)
    }
    values["teachers"] = [{"model": model, "batch": 5} for model in models.values()]
    assert label(ccd_here, write_recipe(values)).exit_code == 0
    reader = ShardReader(tmp_path / "labels/tiny", verify=True)
    assert [teacher["kind"] for teacher in reader.index.teachers] == list(models)
    for sample in reader.epoch():
        affine, metric = sample.facts.labels
        assert (affine.direction, affine.unit) == ("larger = farther", "relative, unknown scale and shift")
        assert (metric.direction, metric.unit) == ("larger = farther", "metre")
        for crop in metric.crops:
            assert crop.offset == 0
            assert crop.scale % 0.001 == pytest.approx(0, abs=1e-9) or crop.scale == 0.001
        for t in range(2):
            values_, valid = sample.label(t, 0)
            assert valid.mean() == pytest.approx(sample.facts.labels[t].crops[0].valid, abs=1e-5)
            if t == 1:
                assert (values_[valid] > 0).all()
    alone = {**values, "teachers": [values["teachers"][0]], "name": "alone"}
    assert label(ccd_here, write_recipe(alone, "alone.yaml")).exit_code == 0
    assert all(facts.quality.disagreement is None for facts, _ in ShardReader(tmp_path / "labels/alone").sidecars())


def test_the_worst_photos_are_dropped(ccd_here, write_recipe, values, tmp_path):
    path = write_recipe({**values, "photos": "path"})
    done = label(ccd_here, path, "--set", "drop.worst=0.25")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["dropped"] == 2
    folder = tmp_path / "labels/tiny"
    lines = [json.loads(line) for line in (folder / "quality.jsonl").read_text().splitlines()]
    apart = sorted(line["disagreement"] for line in lines)
    gone = {line["key"] for line in lines if line["dropped"]}
    assert {line["disagreement"] for line in lines if line["key"] in gone} == set(apart[-2:])
    samples = list(ShardReader(folder, verify=True).epoch())
    assert {s.key for s in samples} == {line["key"] for line in lines} - gone
    for sample in samples:
        assert sample.facts.photo.file is None
        assert sample.photo().shape == (sample.facts.photo.height, sample.facts.photo.width, 3)
    middle = (apart[3] + apart[4]) / 2
    done = label(ccd_here, path, "--out", "most", "--set", f"drop.disagreement={middle}")
    assert json.loads(done.stdout)["samples"] == 4
    done = label(ccd_here, path, "--out", "all", "--set", "drop.disagreement=1e-6")
    assert json.loads(done.stdout)["samples"] == 0
    assert ccd_here("inspect", "all").exit_code == 1


def test_two_runs_do_not_write_one_folder(ccd_here, write_recipe, values, tmp_path):
    folder = tmp_path / "labels/tiny"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".lock"):
        done = label(ccd_here, write_recipe(values))
    assert done.exit_code == 1
    assert "Another process is writing" in done.stderr


def test_a_full_disk_is_seen_before_any_work(ccd_here, write_recipe, values, tmp_path):
    size = {"size": 2048, "min_side": 70, "patches": 64}
    done = label(ccd_here, write_recipe({**values, "crops": size, "epochs": 1000, "photos": "path"}))
    assert done.exit_code == 1
    assert "MB are free" in done.stderr
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["images.scenes.count=3"], "images.scenes"),
        (["crops.region=own"], "crops.region"),
        (["teachers=truth"], "generated scenes only"),
        (["teachers=[a, a]"], "listed twice"),
        (["teachers=a", "drop.worst=0.1"], "needs two teachers"),
        (["crops.patch_min=0.9", "crops.patch_max=0.5"], "crops.patch_min"),
        (["teachers.0.bach=3"], "did you mean 'batch'"),
        (["student=x"], "unknown key"),
        (["task=distill"], "ccd distill RECIPE"),
    ],
)
def test_contradictions_and_typing_errors(ccd_here, write_recipe, values, changes, words):
    done = label(ccd_here, write_recipe(values), *(part for change in changes for part in ("--set", change)))
    assert done.exit_code == 2
    assert words in done.stderr


def test_recipes_of_the_other_task_and_engines_are_refused(ccd_here, write_recipe, values):
    path = write_recipe(values)
    done = ccd_here("distill", path)
    assert done.exit_code == 2
    assert "ccd label RECIPE" in done.stderr
    assert "ccd distill RECIPE" in ccd_here("label", "indoor").stderr
    assert ccd_here("label", path, "--engine", "ray").exit_code == 2


def test_dry_run_prints_every_key_and_does_nothing(ccd_here, write_recipe, values, tmp_path):
    path = write_recipe(values)
    done = ccd_here("label", path, "--dry-run", "--threads", "3", "--precision", "fp32", "--set", "shard=7")
    assert done.exit_code == 0
    (tmp_path / "again.yaml").write_text(done.stdout)
    again = load_label_recipe(str(tmp_path / "again.yaml"))
    assert (again.shard, again.threads, again.teachers[1].precision) == (7, 3, "fp32")
    assert not (tmp_path / "labels").exists()


LABELS = [recipe for recipe in shipped() if recipe.name.startswith("label/")]


@pytest.mark.parametrize("recipe", LABELS, ids=lambda r: r.name)
def test_shipped_label_recipes(recipe):
    loaded = load_label_recipe(recipe.name)
    assert recipe.about.endswith(".")
    assert recipe.launch.startswith(f"ccd label recipes/{recipe.name}.yaml")
    assert loaded.name == recipe.name.replace("/", "-")
    for teacher in loaded.teachers:
        assert teacher.model in CARDS or resolve_model(teacher.model).path.is_file()


def test_the_quick_start_of_labels_works(ccd_here, tmp_path):
    assert {recipe.name for recipe in LABELS} >= {"label/quickstart", "label/indoor"}
    done = ccd_here("label", "label/quickstart", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    done = ccd_here("inspect", "labels/label-quickstart", "--rows", "2")
    assert done.exit_code == 0, done.stderr


def test_inspect_labels(ccd_here, write_recipe, values, tmp_path, photos):
    shutil.copytree(photos, tmp_path / "mine")
    for photo in sorted((tmp_path / "mine").iterdir()):
        photo.rename(photo.with_name(f"<img src=x onerror=alert(1)> {photo.name}"))
    assert label(ccd_here, write_recipe({**values, "images": str(tmp_path / "mine")})).exit_code == 0
    folder = tmp_path / "labels/tiny"
    before = content(folder)
    done = ccd_here("inspect", folder, "--json", "--rows", "8")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["what"], document["summary"]["photos"]) == ("labels", 8)
    assert [row["labels"] for row in document["teachers"]] == [24, 24]
    assert 0 < document["summary"]["of_float16"] < 1.2
    assert document["summary"]["disagreement_most"] == document["least_agreement"][0]["disagreement"]
    page = (folder / "inspect.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert page.count("default-src 'none'") == 1
    assert "http" not in page.replace("http-equiv", "")
    for row in document["least_agreement"]:
        assert escape(row["photo"]) in page
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
    assert ccd_here("distill", path, "--device", "cpu", "--out", "run").exit_code == 0
    done = ccd_here("inspect", "run", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["what"], document["summary"]["state"], document["summary"]["step"]) == ("run", "finished", 3)
    assert (tmp_path / "run/contact.png").is_file()
    assert "Licence" in (tmp_path / "run/inspect.html").read_text(encoding="utf-8")


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
