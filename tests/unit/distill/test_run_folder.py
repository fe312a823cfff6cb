"""Where a run may be written."""

import pytest

from ccd_cli.core.errors import UsageProblem
from ccd_cli.distill.run_folder import RunFolder, choose_folder


def begin(path, finished=False):
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text("seed: 0\nout: a\noptim: {steps: 5}\n")
    if finished:
        (path / "card.md").write_text("x")
    return path


def test_a_folder_with_a_run_asks_what_to_do(tmp_path):
    out = str(begin(tmp_path / "run"))
    with pytest.raises(UsageProblem, match="unfinished run") as caught:
        choose_folder("x", out, resume=False, overwrite=False)
    assert "--resume" in caught.value.hint
    assert "--overwrite" in caught.value.hint
    assert choose_folder("x", out, resume=True, overwrite=False).path == tmp_path / "run"
    assert choose_folder("x", out, resume=False, overwrite=True).path == tmp_path / "run"
    with pytest.raises(UsageProblem, match="contradict"):
        choose_folder("x", out, resume=True, overwrite=True)


def test_beside_finished_runs_the_next_number_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(choose_folder("x", None, False, False).path) == "runs/x"
    begin(tmp_path / "runs" / "x", finished=True)
    begin(tmp_path / "runs" / "x-2", finished=True)
    assert str(choose_folder("x", None, False, False).path) == "runs/x-3"
    begin(tmp_path / "runs" / "x-3")
    with pytest.raises(UsageProblem, match="x-3 holds an unfinished"):
        choose_folder("x", None, False, False)
    assert str(choose_folder("x", None, True, False).path) == "runs/x-3"


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UsageProblem, match="holds no run"):
            choose_folder("x", str(tmp_path / "thesis"), False, overwrite)
    with pytest.raises(UsageProblem, match="is a file"):
        choose_folder("x", str(tmp_path / "thesis" / "thesis.tex"), False, False)
    with pytest.raises(UsageProblem, match="no run to resume"):
        choose_folder("x", str(tmp_path / "new"), True, False)


def test_clear_removes_the_files_of_a_run_only(tmp_path):
    folder = RunFolder(begin(tmp_path / "run", finished=True))
    (folder.path / "notes.txt").write_text("mine")
    folder.clear()
    assert [p.name for p in folder.path.iterdir()] == ["notes.txt"]


def test_skipped_photos_are_listed_once(tmp_path):
    folder = RunFolder(begin(tmp_path / "run"))
    for _ in range(3):
        folder.note_skipped(tmp_path / "a.jpg", "empty file")
    assert folder.skipped.read_text().count("a.jpg") == 1
