"""`--shard I/N`: several processes into one folder, then the same command without it: the bytes of one process."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import yaml

import ccd_cli as package
from ccd_cli.core.errors import UsageProblem
from tests.cli import test_eval_clips as clips
from tests.cli.test_predict import photo, video
from tests.tiny_eval import files_of, make_nyu
from tests.tiny_eval import predict as predict_maps
from tests.tiny_labels import content, label, recipe_values, wait_for
from tests.unit.core.test_shard import WRONG

FINISH = "Finish with the same command without --shard."


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, without locks."""
    paths = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".lock"))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


@pytest.mark.parametrize("text", WRONG[:5])
@pytest.mark.parametrize("command", [("predict", "x.png"), ("label", "label/quickstart"), ("eval",)])
def test_what_is_no_shard_is_one_line(ccd_here, command, text):
    done = ccd_here(*command, "--shard", text)
    assert done.exit_code == 2
    lines = done.stderr.strip().splitlines()
    assert f"--shard {text}: unknown shard" in lines[0] and "I/N with I from 1 to N" in done.stderr
    assert "Traceback" not in done.output
    done = ccd_here(*command, "--shard", "1/2", "--overwrite")
    assert done.exit_code == 2 and "--shard contradicts --overwrite" in done.stderr


def test_python_takes_it_and_speaks_of_arguments(tmp_path):
    with pytest.raises(UsageProblem, match=r"^shard 9/4: unknown shard"):
        package.evaluate(suite="builtin", out=tmp_path, shard="9/4")
    with pytest.raises(UsageProblem, match=r"^shard divides many inputs"):
        package.predict_video("x.mp4", shard="1/2")
    made = package.evaluate("builtin:tiny", suite="builtin", limit=2, out=tmp_path, shard="2/2", threads=1)
    assert made.rows == [] and not (tmp_path / "results.json").exists()


@pytest.fixture
def recipe(write_recipe, photos, make_teacher):
    """12 shards of labels, an image that is dropped by a limit, one that cannot be read."""
    folder = write_recipe({}, "x").parent / "photos"
    shutil.copytree(photos, folder)
    (folder / "5.png").write_bytes((photos / "5.png").read_bytes()[:400])  # its header is whole
    values = recipe_values(folder, make_teacher, epochs=3)
    values["images"] = {"paths": str(folder), "max_skipped": 0.3}
    values["drop"] = {"disagreement": 0.9}
    return write_recipe(values)


def test_label_shards_at_once_one_of_them_killed(ccd_here, recipe, begin, tmp_path):
    assert label(ccd_here, recipe, "--out", "whole").exit_code == 0
    command = ["label", recipe, "--device", "cpu", "--out", "several"]
    processes = [begin(*command, "--shard", f"{i}/2") for i in (1, 2)]
    wait_for(processes[1], tmp_path / "several/parts/teacher-0/part-000003.tar")
    processes[1].kill()
    ends = [process.communicate(timeout=240)[0] for process in processes]
    assert [p.returncode for p in processes] == [0, -signal.SIGKILL], ends
    assert f"Shard 1/2 is done (6 of 12 shards of labels). {FINISH}" in ends[0]
    several = tmp_path / "several"
    assert not any((several / name).exists() for name in ("index.json", "quality.jsonl", "skipped.jsonl"))
    assert json.loads((several / "label.json").read_text())["teachers"] == {}, "no file is written by two"
    early = {p: p.stat().st_mtime_ns for p in several.glob("shard-*.tar")}
    assert {int(p.stem[-6:]) for p in early} >= {0, 2, 4, 6, 8, 10}
    again = ccd_here(*command, "--shard", "2/2")
    assert again.exit_code == 0 and "Shard 2/2 is done (6 of 12" in again.stderr, again.output
    assert len([*several.glob("shard-*.tar")]) == 12
    done = label(ccd_here, recipe, "--out", "several")
    assert done.exit_code == 0, done.output
    assert all(p.stat().st_mtime_ns == then for p, then in early.items()), "the last command makes none again"
    assert content(several) == content(tmp_path / "whole")
    assert {p.name for p in several.iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}
    assert (several / "label.json").read_bytes() == (tmp_path / "whole/label.json").read_bytes()
    assert json.loads((several / "index.json").read_text())["skipped"] == 1
    assert json.loads((several / "index.json").read_text())["dropped"] > 0
    assert "nothing to do" in label(ccd_here, recipe, "--out", "several", "--shard", "1/2").stderr


def test_label_with_a_rule_over_all_images_and_a_part_that_is_missing(ccd_here, recipe, tmp_path):
    rule = ("--set", "drop.worst=0.2", "--set", "epochs=1")  # four shards of labels
    assert label(ccd_here, recipe, *rule, "--out", "whole").exit_code == 0
    for i in (1, 3):
        done = label(ccd_here, recipe, *rule, "--out", "several", "--shard", f"{i}/3")
        assert done.exit_code == 0 and "drop.worst needs those of the other shards" in done.stderr, done.output
        assert json.loads(done.stdout)["shards"] == 0
    assert not [*(tmp_path / "several").glob("shard-*.tar")]
    shutil.copytree(tmp_path / "several", tmp_path / "twice")
    shutil.rmtree(tmp_path / "several/parts/found")  # what else is known of teachers and images is in the parts
    assert label(ccd_here, recipe, *rule, "--out", "several").exit_code == 0
    assert content(tmp_path / "several") == content(tmp_path / "whole")
    for i in (2, 1, 3):  # once all are compared, each writes its own
        done = label(ccd_here, recipe, *rule, "--out", "twice", "--shard", f"{i}/3")
        assert json.loads(done.stdout)["shards"] == (2 if i == 1 else 1)
    assert label(ccd_here, recipe, *rule, "--out", "twice").exit_code == 0
    assert content(tmp_path / "twice") == content(tmp_path / "whole")


@pytest.mark.slow
def test_label_more_shards_than_shards_of_labels_and_other_weights(ccd_here, recipe, tmp_path, make_teacher):
    few = ("--set", "epochs=1", "--out", "few")
    done = label(ccd_here, recipe, *few, "--shard", "5/5")
    assert done.exit_code == 0 and f"Shard 5/5 has nothing to do. {FINISH}" in done.stderr
    assert json.loads(done.stdout)["shards"] == 0
    assert label(ccd_here, recipe, *few, "--shard", "1/5").exit_code == 0
    done = label(ccd_here, recipe, *few, "--shard", "1/5", "--engine", "ray")
    assert done.exit_code == 2 and "--shard is for --engine local" in done.stderr
    values = yaml.safe_load(recipe.read_text())
    first = Path(values["teachers"][0]["model"])
    kept = first.read_bytes()
    try:
        shutil.copy(make_teacher("third", 3), first)
        done = label(ccd_here, recipe, *few, "--shard", "2/5")
        assert done.exit_code == 2 and "weights of first have changed" in done.stderr
    finally:
        first.write_bytes(kept)
    assert label(ccd_here, recipe, *few).exit_code == 0


@pytest.mark.slow
def test_predict_shards_at_once_one_of_them_killed(ccd_here, begin, model, tmp_path):
    for i in range(12):
        photo(tmp_path / "in" / f"{i:02d}.png", (90 + i, 60), seed=i)
    (tmp_path / "in" / "05.png").write_bytes((tmp_path / "in" / "05.png").read_bytes()[:300])
    video(tmp_path / "in" / "clip.mp4", count=40)
    command = ["predict", "in", "--model", model, "--threads", "1", "--device", "cpu", "--save", "color,npy,png16"]
    assert ccd_here(*command, "--out", "whole").exit_code == 1
    command += ["--out", "several"]
    processes = [begin(*command, "--shard", f"{i}/2") for i in (1, 2)]
    wait_for(processes[0], tmp_path / "several/00.json")
    processes[0].kill()
    ends = [process.communicate(timeout=240)[0] for process in processes]
    assert processes[0].returncode == -signal.SIGKILL, ends
    assert processes[1].returncode == 1 and "05.png" in ends[1] and "04.png" not in ends[1], ends
    assert not (tmp_path / "several/failed.jsonl").exists(), "no file is written by two"
    again = ccd_here(*command, "--shard", "1/2")
    assert again.exit_code == 0 and f"Shard 1/2 is done (7 of 13 inputs). {FINISH}" in again.stderr, again.output
    early = {p: p.stat().st_mtime_ns for p in (tmp_path / "several").glob("*.json")}
    assert len(early) == 12
    done = ccd_here(*command)
    assert done.exit_code == 1 and "0 done, 12 skipped, 1 failed" in done.stderr, done.output
    assert all(p.stat().st_mtime_ns == then for p, then in early.items())
    assert tree(tmp_path / "several") == tree(tmp_path / "whole")
    assert "failed.jsonl" in tree(tmp_path / "whole")


def test_predict_more_shards_than_inputs_and_results_beside_inputs(predict, tmp_path):
    photo(tmp_path / "in" / "a.png", (90, 60))
    photo(tmp_path / "in" / "b.png", (90, 60))
    done = predict("in", "--shard", "3/3")
    assert done.exit_code == 0 and f"Shard 3/3 has nothing to do (fewer inputs than shards). {FINISH}" in done.stderr
    assert not (tmp_path / "ccd-out").exists()
    done = predict("in", "--shard", "1/2", "--out", "in")
    assert done.exit_code == 2 and "lies in the output folder" in done.stderr
    assert predict("in", "--shard", "2/3").exit_code == 0
    assert [p.name for p in (tmp_path / "ccd-out").glob("*.json")] == ["b.json"]


def test_predict_shards_of_several_models(ccd_here, make_teacher, tmp_path):
    for i in range(3):
        photo(tmp_path / "in" / f"{i}.png", (90, 60), seed=i)
    named = [word for name, seed in (("first", 0), ("second", 1)) for word in ("--model", make_teacher(name, seed))]
    command = ["predict", "in", *named, "--resolution", "64", "--threads", "1", "--save", "side,npy"]
    assert ccd_here(*command, "--out", "whole").exit_code == 0
    assert ccd_here(*command, "--out", "several", "--shard", "1/2").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "several").glob("*.side.png")) == ["0.side.png", "2.side.png"]
    assert ccd_here(*command, "--out", "several", "--shard", "2/2").exit_code == 0
    assert "6 skipped" not in (done := ccd_here(*command, "--out", "several")).stderr and done.exit_code == 0
    assert tree(tmp_path / "several") == tree(tmp_path / "whole")


def test_all_shards_of_predict_choose_one_runtime(predict, tmp_path, monkeypatch):
    from ccd_cli.teachers.model import Model

    for i in range(5):
        photo(tmp_path / "in" / f"{i}.png", (90, 60), seed=i)
    asked, real = [], Model.begin

    def begin(self, work):
        if not self.loaded:
            asked.append(work.passes)
        return real(self, work)

    monkeypatch.setattr(Model, "begin", begin)
    for number in (1, 2):
        assert predict("in", "--shard", f"{number}/2").exit_code == 0
    assert asked == [5, 5]


@pytest.fixture
def eval_command(tmp_path):
    root = make_nyu(tmp_path / "data", count=7)
    maps = predict_maps(tmp_path / "maps", "disparity", count=7, noise=0.1)
    (maps / "nyuv2/test/room/pred_0004.npy").write_bytes(b"damaged")
    flags = ("--suite", "nyuv2", "--data-root", root, "--predictions", maps, "--prediction-kind", "disparity")
    return ("eval", *flags, "--baselines")


def test_eval_shards_one_of_them_cut_off(ccd_here, eval_command, tmp_path):
    assert ccd_here(*eval_command, "--out", "whole").exit_code == 1
    done = [ccd_here(*eval_command, "--out", "several", "--shard", f"{i}/3") for i in (1, 2, 3)]
    ends = [each.output for each in done]
    assert [each.exit_code for each in done] == [0, 1, 0], ends  # the second has the damaged sample
    assert "1 samples were skipped; the report will list them" in ends[1]
    assert f"Shard 1/3 is done (16 samples). {FINISH}" in ends[0]  # a mean map, and three of the other sources each
    assert all("AbsRel" not in end for end in ends), "scores of a part are no result"
    several = tmp_path / "several"
    assert not [*several.glob("[!.]*.*")] and not [*several.glob("*/*.jsonl")], "no file is written by two"
    book = several / "maps/shards/3-of-3/nyuv2.jsonl"
    lines = book.read_bytes()
    book.write_bytes(lines[: len(lines) // 2])  # as a kill leaves it
    again = ccd_here(*eval_command, "--out", "several", "--shard", "3/3")
    assert again.exit_code == 0 and "Shard 3/3 is done" in again.stderr
    assert book.read_bytes() == lines
    book.write_bytes(lines[: len(lines) // 2])  # and what is missing is the last command's
    assert ccd_here(*eval_command, "--out", "several").exit_code == 1
    assert files_of(several) == files_of(tmp_path / "whole")
    names = {name for name in tree(several) if name != "report.html"}  # which has the date and the command
    assert names == {name for name in tree(tmp_path / "whole") if name != "report.html"}
    assert all(tree(several)[name] == tree(tmp_path / "whole")[name] for name in names)
    assert any(name.endswith(".jpg") for name in names)
    assert {p.name for p in several.iterdir() if p.name.startswith(".")} == {".lock"}


def test_eval_shards_of_another_number_and_a_whole_run_that_was_stopped(ccd_here, eval_command, tmp_path):
    assert ccd_here(*eval_command, "--out", "whole").exit_code == 1
    shutil.copytree(tmp_path / "whole", tmp_path / "several")
    for name in ("results.json", "per_image.csv", "report.html"):
        (tmp_path / "several" / name).unlink()
    book = tmp_path / "several/maps/nyuv2.jsonl"
    book.write_bytes(b"".join(book.read_bytes().splitlines(True)[:2]))
    for shard in ("1/2", "3/4", "2/2"):
        ccd_here(*eval_command, "--out", "several", "--shard", shard)
    scored = [json.loads(line)["index"] for p in book.parent.glob("shards/*/*.jsonl") for line in p.open()]
    assert sorted(scored) == [2, 3, 5, 6], "each once: 0 and 1 are in the whole run's, 4 is damaged"
    assert ccd_here(*eval_command, "--out", "several").exit_code == 1
    names = {name for name in tree(tmp_path / "whole") if name != "report.html"}
    assert {n: tree(tmp_path / "several")[n] for n in names} == {n: tree(tmp_path / "whole")[n] for n in names}
    done = ccd_here(*eval_command, "--out", "more", "--limit", "2", "--shard", "9/9")
    assert done.exit_code == 0 and f"Shard 9/9 has nothing to do. {FINISH}" in done.stderr


def test_eval_clips_belong_to_one_shard_each(ccd_here, tmp_path):
    for i in range(len(clips.WALL)):
        clips.put_rgb(tmp_path / f"clip/{i:03d}.jpg", clips.photo(60, 80, i))
        clips.put_codes(tmp_path / f"clip/{i:03d}.png", 1000 * clips.wall(i))
    suite = clips.describe(tmp_path, poses=None)
    clips.predict(tmp_path, lambda depth, i: depth * (1 + 0.02 * i))
    command = ("eval", "--suite", suite, "--predictions", "maps", "--prediction-kind", "metric")
    assert ccd_here(*command, "--out", "whole").exit_code == 0
    first = ccd_here(*command, "--out", "several", "--shard", "1/2")
    assert first.exit_code == 0 and "Shard 1/2 is done (4 samples)" in first.stderr, first.output
    second = ccd_here(*command, "--out", "several", "--shard", "2/2")
    assert second.exit_code == 0 and "Shard 2/2 has nothing to do" in second.stderr
    done = ccd_here(*command, "--out", "several")
    assert done.exit_code == 0 and "scored already" in done.stderr
    assert files_of(tmp_path / "several") == files_of(tmp_path / "whole")
    assert tree(tmp_path / "several").keys() == tree(tmp_path / "whole").keys()


def test_a_whole_run_and_one_shard_twice_are_refused_while_shards_are_at_work(ccd_here, eval_command, tmp_path):
    from ccd_cli.core.lock import lock_for
    from ccd_cli.core.shard import Shard

    with lock_for(tmp_path / "o/.lock", Shard(2, 2), ""):
        done = ccd_here(*eval_command, "--out", "o")
        assert done.exit_code == 1 and "Another run writes into o" in done.stderr
        assert ccd_here(*eval_command, "--out", "o", "--shard", "1/2").exit_code in (0, 1)
        assert "works on shard 2/2 of o" in ccd_here(*eval_command, "--out", "o", "--shard", "2/2").stderr
