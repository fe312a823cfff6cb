"""Whole files and line files."""

import errno
import json
import os
import subprocess
import sys

import pytest

from ccd_cli.core import files as io
from ccd_cli.core.errors import CcdError, Unwritable
from ccd_cli.core.files import (
    atomic_write,
    check_free_space,
    json_line,
    move_into_place,
    read_json_lines,
    work_folder,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ValueError, match="stop"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_one_plain_sentence(tmp_path):
    with pytest.raises(CcdError, match="No space left"), atomic_write(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(CcdError, match="are free there"):
        check_free_space(tmp_path / "not" / "yet", 10**18, "The run")


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [1.5, float("inf")]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.5, None]}


def test_lines_are_read_up_to_one_that_was_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json_line({"step": i, "loss": i / 3}) for i in range(1, 8)]
    path.write_text("".join(lines) + '{"step": 8, "lo')  # killed in the middle of a line
    assert [line["step"] for line in read_json_lines(path)] == list(range(1, 8))


def test_writers_leave_the_process_mask_alone(tmp_path, monkeypatch):
    mask = os.umask(0o027)
    os.umask(mask)
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("asked while others may be writing"))
    io.write_text(tmp_path / "a", "a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask
    with atomic_write(tmp_path / "b") as temporary:  # as safetensors does it
        (tmp_path / "own").touch(mode=0o600)
        (tmp_path / "own").replace(temporary)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_name_as_long_as_the_disk_allows(tmp_path):
    io.write_text(tmp_path / ("x" * 255), "a")
    with pytest.raises(CcdError) as too_long:
        io.write_text(tmp_path / ("x" * 256), "a")
    assert not isinstance(too_long.value, Unwritable)
    (tmp_path / "file").touch()
    with pytest.raises(CcdError, match="is a file"):
        io.write_text(tmp_path / "file" / "b", "a")
    with pytest.raises(Unwritable):
        io.write_text(tmp_path / "file" / "b" / "c", "a")


@pytest.mark.skipif(sys.platform == "win32", reason="no way to ask for a process without ending it")
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from ccd_cli.core.files import atomic_write
with atomic_write(Path(sys.argv[1]) / "map.npy") as temporary:
    temporary.write_text("half")
    print("there", flush=True)
    sys.stdin.read()
"""
    dead, living = (
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    )
    try:
        assert dead.stdout.readline() == living.stdout.readline() == "there\n"
        dead.kill()
        dead.wait()
        (tmp_path / ".map.npy.notes").write_text("of somebody else")
        assert len(list(tmp_path.iterdir())) == 3
        write_text(tmp_path / "a.txt", "done")
        kept = sorted(path.name for path in tmp_path.iterdir())
        assert [name for name in kept if f"-{living.pid}-" in name] == kept[:1]
        assert kept[1:] == [".map.npy.notes", "a.txt"]
        living.communicate("")
        assert sorted(path.name for path in tmp_path.iterdir()) == [".map.npy.notes", "a.txt", "map.npy"]
    finally:
        living.kill()


def _written(path):
    path.write_text("whole")
    return path


def test_a_work_folder_goes_whatever_happens(tmp_path):
    with pytest.raises(ValueError, match="stop"), work_folder(tmp_path / "sub" / "a.onnx") as work:
        (work / "a.onnx").write_text("half")
        assert work.parent == tmp_path / "sub"
        raise ValueError("stop")
    assert not list(tmp_path.iterdir())
    with work_folder(tmp_path / "sub" / "a.onnx") as work:
        move_into_place([_written(work / "a.onnx")], tmp_path / "sub")
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.onnx"]


def test_a_work_folder_of_a_killed_process_is_swept(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from ccd_cli.core.files import work_folder\n"
        "with work_folder(Path(sys.argv[1])) as work: (work / 'half').write_text('x'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.onnx")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    io.sweep_again()
    with work_folder(tmp_path / "a.onnx") as work:
        assert list(tmp_path.iterdir()) == [work]


def test_files_and_folders_move_together(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("old")
    with work_folder(tmp_path / "a") as work:
        (work / "a").write_text("new")
        (work / "b").mkdir()
        (work / "b" / "new").write_text("new")
        assert move_into_place([work / "a", work / "b"], tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert (tmp_path / "a").read_text() == "new"
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["new"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_where_one_move_fails_all_is_as_before(tmp_path):
    (tmp_path / "a").write_text("old")
    with work_folder(tmp_path / "a") as work:
        (work / "a").write_text("new")
        (work / "c").write_text("new")
        with pytest.raises(CcdError):
            move_into_place([work / "a", work / "c", work / "missing"], tmp_path)
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
