"""`ccd predict` with several models: results of each by itself, and one picture of all."""

from __future__ import annotations

import gc
import json
import weakref

import cv2
import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.errors import Interrupted
from ccd_cli.core.report import Silent
from ccd_cli.predict import compare as comparing
from ccd_cli.predict.panels import LARGEST, side_by_side_of
from ccd_cli.teachers import model as loading
from tests.cli.test_predict import photo, video


@pytest.fixture
def two(make_teacher):
    return make_teacher("first", 0), make_teacher("second", 1)


@pytest.fixture
def predict(ccd_here, two):
    def run(*args, models=two):
        named = [word for model in models for word in ("--model", str(model))]
        return ccd_here("predict", *map(str, args), *named, "--resolution", "64", "--threads", "1")

    return run


def rgb(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_photo_and_maps_stand_in_one_picture(predict, ccd_here, two, tmp_path):
    """300x200: no panel is resized, so each is found in the picture pixel by pixel, left to right."""
    photo(tmp_path / "in" / "a.png", (300, 200))
    photo(tmp_path / "in" / "sub" / "a.png", (300, 200), seed=1)
    result = predict("in", "--save", "side,npy", "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert made["model"] is None and made["models"] == ["first", "second"] and not made["failed"]
    assert [(r["model"], r["input"][-7:]) for r in made["done"]].count((None, "b/a.png")) == 1
    out = tmp_path / "ccd-out"
    files = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and not p.name.startswith("."))
    each = [f"{at}{end}" for at in ("a", "sub/a") for end in (".color.png", ".json", ".npy")]
    sides = [f"{at}{end}" for at in ("a", "sub/a") for end in (".json", ".side.png")]
    assert files == sorted([*sides, *(f"{name}/{file}" for name in ("first", "second") for file in each)])
    for stem in ("a", "sub/a"):
        picture = rgb(out / f"{stem}.side.png")
        panels = [tmp_path / "in" / f"{stem}.png", *(out / name / f"{stem}.color.png" for name in ("first", "second"))]
        places = []
        for path in panels:
            match = cv2.matchTemplate(picture, rgb(path), cv2.TM_SQDIFF)
            y, x = np.unravel_index(match.argmin(), match.shape)
            assert np.array_equal(picture[y : y + 200, x : x + 300], rgb(path)), path
            places.append((y, x))
        assert [int(x) for _, x in places] == [0, 303, 606] and len({y for y, _ in places}) == 1
        top = int(places[0][0])
        for left in (0, 303, 606):
            assert (picture[:top, left : left + 300] < 128).any(), "a name above each"
        assert (picture[top + 200 :] < 128).any(), "and the rule of colors below"
    side = json.loads((out / "a.json").read_text())
    assert side["model"] == "first, second" and "own 2 %" in side["colors"] and side["models"]["second"]["kind"]
    for model, name in zip(two, ("first", "second"), strict=True):
        flags = ("--resolution", "64", "--save", "npy,color", "--out", "alone", "--overwrite")
        assert ccd_here("predict", "in/a.png", "--model", model, *flags).exit_code == 0
        for end in (".npy", ".color.png"):
            assert (out / name / f"a{end}").read_bytes() == (tmp_path / "alone" / f"a{end}").read_bytes()


def test_nothing_is_done_twice_and_a_change_of_one_model_is_seen(predict, make_teacher, tmp_path):
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png", seed=1)
    assert "6 done, 0 skipped" in predict("a.png", "b.png", "--save", "side").stderr
    out = tmp_path / "ccd-out"
    before = (out / "a.side.png").read_bytes()
    assert "0 done, 6 skipped" in predict("a.png", "b.png", "--save", "side").stderr
    (out / "a.side.png").unlink()
    again = predict("a.png", "b.png", "--save", "side")
    assert "1 done, 5 skipped" in again.stderr and (out / "a.side.png").read_bytes() == before
    assert "6 done, 0 skipped" in predict("a.png", "b.png", "--save", "side", "--overwrite").stderr
    other = predict("a.png", "--save", "side", models=(make_teacher("first", 0), make_teacher("third", 2)))
    assert other.exit_code == 1 and "has results made by first, second, which are kept" in other.stderr
    assert not (out / "third").exists(), "refused before a model runs"
    photo(tmp_path / "a.png", seed=5)
    changed = predict("a.png", "b.png", "--save", "side")
    assert "3 done, 3 skipped" in changed.stderr and (out / "a.side.png").read_bytes() != before
    assert not [p for p in (tmp_path / "ccd-out").glob("*.png") if p.name not in ("a.side.png", "b.side.png")]
    single = predict("a.png", models=(make_teacher("first", 0),))
    assert single.exit_code == 1 and "made by first, second" in single.stderr


def test_results_are_no_inputs_of_the_next_run(predict, tmp_path):
    photo(tmp_path / "a.png")
    predict("a.png", "--save", "side", "--out", "in")
    result = predict("in", "--save", "side")
    assert "0 done" in result.stderr and "side.png" not in result.stdout


def test_a_mistake_in_the_second_model_costs_no_time(predict, two, tmp_path):
    photo(tmp_path / "a.png")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    for word, code in (("builtin:tinny", 2), ("broken.safetensors", 1)):
        refused = predict("a.png", "--save", "side", models=(two[0], word))
        assert refused.exit_code == code and word.split(".")[0] in refused.stderr
        assert not (tmp_path / "ccd-out").exists()
    twice = predict("a.png", models=(two[0], two[0]))
    assert twice.exit_code == 2 and "given twice" in twice.stderr
    arch = predict("a.png", "--arch", "depth-anything-v2-small")
    assert arch.exit_code == 2 and "--arch is for a single checkpoint" in arch.stderr


def test_videos_are_refused_by_name_and_done_without_side(predict, tmp_path):
    photo(tmp_path / "a.png")
    video(tmp_path / "v.mp4", 4)
    result = predict("a.png", "v.mp4", "--save", "side", "--json")
    made = json.loads(result.stdout)
    assert result.exit_code == 1 and [f["input"] for f in made["failed"]] == ["v.mp4"]
    assert "side by side for images alone" in made["failed"][0]["reason"] and len(made["done"]) == 3
    assert predict("v.mp4", "--save", "color", "--out", "clips").exit_code == 0
    assert (tmp_path / "clips" / "first" / "v.color.mp4").is_file()
    assert (tmp_path / "clips" / "second" / "v.color.mp4").is_file()


def test_a_photo_that_one_model_fails_on_has_no_picture(predict, make_teacher, tmp_path):
    photo(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG broken")
    result = predict("a.png", "bad.png", "--save", "side", "--json")
    made = json.loads(result.stdout)
    assert result.exit_code == 1 and [f["input"] for f in made["failed"]] == ["bad.png"] * 2
    assert {f["reason"].split(":")[0] for f in made["failed"]} == {"first", "second"}
    assert (tmp_path / "ccd-out/a.side.png").is_file() and not (tmp_path / "ccd-out/bad.side.png").exists()
    same = make_teacher("first", 7)
    third = predict("a.png", "--save", "color", models=(make_teacher("first", 0), same))
    assert third.exit_code == 0 and (tmp_path / "ccd-out" / "first").is_dir(), "two of one name: what was typed"
    names = {p.name for p in (tmp_path / "ccd-out").iterdir() if p.is_dir()}
    assert len(names - {"first", "second"}) == 2


def test_one_network_at_a_time_is_in_memory(two, tmp_path, monkeypatch):
    from ccd_cli.core.compute import Compute
    from ccd_cli.media.find import find_media
    from ccd_cli.media.not_read import NotRead
    from ccd_cli.predict.settings import Settings

    photo(tmp_path / "a.png")
    compute, alive = Compute("cpu", "fp32", threads=1), []
    loaded = loading.load_for

    def load_for(*args, **more):
        gc.collect()
        assert not [each for each in alive if each() is not None], "the network before is gone"
        made = loaded(*args, **more)
        alive.append(weakref.ref(made))
        return made

    monkeypatch.setattr(loading, "load_for", load_for)
    models = {path.stem: loading.load(str(path), None, 64, compute, Silent()) for path in two}
    settings = Settings(out=tmp_path / "out", save=("side",))
    media, failed = find_media([str(tmp_path / "a.png")], out=settings.out)
    outcome = comparing.compare(models, settings, compute, Silent(), (media, failed, NotRead()))
    assert len(alive) == 2 and len(outcome.done) == 3 and not models


def test_a_stopped_comparison_goes_on(two, tmp_path, monkeypatch):
    import os
    import signal

    from ccd_cli.core.compute import Compute
    from ccd_cli.media.find import find_media
    from ccd_cli.media.not_read import NotRead
    from ccd_cli.predict.settings import Settings

    class Impatient(Silent):
        now = ""

        def begin(self, what, total, done=0):
            self.now = what

        def advance(self, done, **_):
            if self.now == "Side by side" and done == 1:
                os.kill(os.getpid(), signal.SIGINT)

    for i in range(6):
        photo(tmp_path / f"in/{i}.png", seed=i)
    compute = Compute("cpu", "fp32", threads=1)

    def run(out, report):
        models = {path.stem: loading.load(str(path), None, 64, compute, report) for path in two}
        settings = Settings(out=tmp_path / out, save=("side",))
        media, failed = find_media([str(tmp_path / "in")], out=settings.out)
        return comparing.compare(models, settings, compute, report, (media, failed, NotRead()))

    run("whole", Silent())
    with pytest.raises(Interrupted):
        run("cut", Impatient())
    first = len(list((tmp_path / "cut").glob("*.side.png")))
    assert 1 <= first < 6
    assert run("cut", Silent()).skipped == 12 + first
    for path in (tmp_path / "whole").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "cut" / path.relative_to(tmp_path / "whole")).read_bytes()


@pytest.mark.parametrize(
    ("size", "count", "shape"),
    [
        ((100, 400), 2, "column"),
        ((300, 300), 2, "row"),
        ((300, 300), 5, "grid"),
        ((10, 20), 1, "row"),
        ((2400, 3200), 1, "row"),
    ],
)
def test_shapes_of_the_picture(size, count, shape):
    picture = side_by_side_of(np.zeros((*size, 3), np.uint8), [("x" * 300, np.zeros((*size, 3), np.uint8))] * count)
    scale = min(LARGEST / max(size), max(1, 256 / max(size)))
    height, width = (round(scale * side) for side in size)
    columns = {"column": 1, "row": count + 1, "grid": 3}[shape]
    rows = -(-(count + 1) // columns)
    assert picture.shape[1] == columns * width + (columns - 1) * max(2, width // 100)
    assert rows * height < picture.shape[0] < rows * height * 1.4 + 60
    with pytest.raises(ValueError, match="sizes"):
        side_by_side_of(np.zeros((*size, 3), np.uint8), [("x", np.zeros((5, 5, 3), np.uint8))])
