"""Where a run may be written."""

import shutil
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch

from ccd_cli.core.checksums import checksum
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.distill.run_folder import RunFolder, choose_folder
from ccd_cli.distill.setup import _take_folder
from ccd_cli.teachers import paths as teacher_paths


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


def test_a_finished_run_tells_which_of_its_files_are_damaged(tmp_path):
    folder = RunFolder(begin(tmp_path / "run"))
    for file in (folder.student, folder.metrics, folder.eval, folder.plots / "loss.png"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"content of {file.name}")
    folder.finish("# A card\n")
    assert folder.finished
    assert folder.damaged() == []
    assert teacher_paths.recorded_student(folder.path, "?") == checksum(folder.student)["sha256"]
    for file in (folder.student, folder.metrics, folder.plots / "loss.png", folder.card, folder.recipe):
        whole = file.read_bytes()
        for content in (b"", whole[:3], bytes(len(whole)), bytes([whole[0] ^ 1]) + whole[1:]):
            file.write_bytes(content)
            assert folder.damaged() == [str(file.relative_to(folder.path))]
        file.unlink()
        assert folder.damaged() == [str(file.relative_to(folder.path))]
        file.write_bytes(whole)
    whole = folder.record.read_bytes()
    for content in (b"", b"{}", b"[" * 100_000, whole[:-9], whole.replace(b'"size"', b'"sizf"', 1), bytes(len(whole))):
        folder.record.write_bytes(content)
        assert folder.damaged() == ["run.json"]
    folder.reopen()
    assert not folder.finished
    assert teacher_paths.recorded_student(folder.path, "?") == "?"


def test_a_finished_run_of_an_earlier_version_lacks_no_file(tmp_path):
    folder = RunFolder(begin(tmp_path / "run", finished=True))
    folder.metrics.write_text("x")
    folder.eval.touch()
    assert folder.damaged() == ["student.safetensors", "eval.json"]


def test_a_resumed_run_needs_only_the_space_that_it_does_not_have_yet(tmp_path, monkeypatch):
    folder, student = RunFolder(begin(tmp_path / "run")), torch.nn.Linear(1000, 1000, bias=False)
    compute = Compute("cpu", "fp32")
    weights = 4_000_000
    free = (2 * 3 + 3) * weights  # a state of weights and two moments, twice, and the student
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free - 3 * weights))
    with ExitStack() as stack, pytest.raises(CcdError, match="needs about 36 MB"):
        _take_folder(folder, student, 2, compute, stack)
    folder.state.parent.mkdir()
    folder.state.write_bytes(bytes(3 * weights))
    with ExitStack() as stack:
        _take_folder(folder, student, 2, compute, stack)
    with ExitStack() as stack, pytest.raises(CcdError, match="needs about 32 MB"):
        _take_folder(folder, student, 3, compute, stack)
