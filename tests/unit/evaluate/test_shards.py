"""Taking over what shards of an evaluation keep: scores, figures, maps of a clip; nothing old, nothing twice."""

import json

import pytest

from ccd_cli.core.shard import Shard
from ccd_cli.evaluate import shards
from ccd_cli.evaluate.shards import other_books, place_of, take_over

MARKS = [f"m{i}" for i in range(6)]


def line(index, mark=None, score=0.5):
    return json.dumps({"index": index, "scores": {"abs_rel": score}, "mark": mark or MARKS[index]}) + "\n"


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def folder(tmp_path):
    """A run has sample 1; shard 1 has 4 and 0, and 2 of other settings; shard 2 has 1 too, 5, and a line that was cut off."""
    one, two = (place_of(tmp_path, Shard(i, 2)) for i in (1, 2))
    put(tmp_path / "a.jsonl", line(1))
    put(one / "a.jsonl", line(4) + line(0) + line(2, "old"))
    put(two / "a.jsonl", line(1, score=0.9) + line(5) + line(3)[:-9])
    for place, index in ((tmp_path, 1), (one, 4), (one, 2), (two, 1), (two, 5)):
        put(place / f"pictures/a/{index:05d}-image.jpg", f"{place.name} {index}")
    put(one / "maps/a/x/000000.npy", "map")
    put(two / "maps/a/x/000000.npy", "map too")
    put(two / "b.jsonl", "of another set")
    return tmp_path


def check(folder):
    assert (folder / "a.jsonl").read_text() == "".join(line(i) for i in (0, 1, 4, 5))
    figures = {path.name: path.read_text() for path in (folder / "pictures/a").iterdir()}
    assert figures == {
        "00001-image.jpg": f"{folder.name} 1",
        "00004-image.jpg": "1-of-2 4",
        "00005-image.jpg": "2-of-2 5",
    }
    assert (folder / "maps/a/x/000000.npy").read_text() == "map"
    left = [path for path in (folder / "shards").rglob("*") if path.is_file()]
    assert left == [folder / "shards/2-of-2/b.jsonl"]


def test_all_of_it_once(folder):
    own = Shard(1, 2)
    others = [folder / "a.jsonl", folder / "shards/2-of-2/a.jsonl"]
    assert other_books(folder, "a", own) == others
    take_over(folder, "a", MARKS, overwrite=False)
    check(folder)
    take_over(folder, "a", MARKS, overwrite=False)
    check(folder)


@pytest.mark.parametrize("step", ["write_book", "_move_figures"])
def test_stopped_within_it_is_repeated(folder, monkeypatch, step):
    with monkeypatch.context() as patch:
        patch.setattr(shards, step, lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take_over(folder, "a", MARKS, overwrite=False)
    take_over(folder, "a", MARKS, overwrite=False)
    check(folder)


def test_overwrite_keeps_nothing(folder):
    take_over(folder, "a", MARKS, overwrite=True)
    assert (folder / "a.jsonl").read_text() == line(1), "which the run itself overwrites"
    assert not (folder / "shards/1-of-2").exists() and not (folder / "maps").exists()
