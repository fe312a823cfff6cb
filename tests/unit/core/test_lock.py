"""One lock for all: who holds it, waiting for it, and that it ends with its process."""

import fcntl
import os
import subprocess
import sys

import filelock
import pytest

from ccd_cli.core.errors import CcdError
from ccd_cli.core.lock import exclusive_lock

HOLD = """
import sys
from pathlib import Path
from ccd_cli.core.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "busy."):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(path):
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=-1, stdout=-1, text=True)
    assert child.stdout.readline() == "held\n"
    return child


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_one_process_at_a_time_and_the_message_says_which(tmp_path, kind):
    path = tmp_path / "sub" / ".lock"
    if kind == "folder":
        path.mkdir(parents=True)
    with holder(path) as child:
        with pytest.raises(CcdError) as busy, exclusive_lock(path, "Another run writes into x."):
            pytest.fail("held twice")
        who = f" (process {child.pid} on {os.uname().nodename})" if kind == "file" else ""
        assert busy.value.message == f"Another run writes into x{who}."
        assert "--out" in busy.value.hint
        child.communicate("\n")
    with exclusive_lock(path, "busy"), pytest.raises(CcdError), exclusive_lock(path, "busy"):
        pytest.fail("held twice in one process")
    with exclusive_lock(path, "busy"):
        pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_lock_dies_with_its_process(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    with holder(path) as child:
        child.kill()
        child.wait()
        with exclusive_lock(path, "busy"):
            pass


def test_waiting_says_so_once_and_then_holds(tmp_path):
    said = []
    with holder(tmp_path / "a") as child:

        def wait():
            said.append("waiting")
            child.stdin.write("\n")
            child.stdin.flush()

        with exclusive_lock(tmp_path / "a", "busy", wait):
            assert said == ["waiting"]
            with pytest.raises(CcdError, match=f"process {os.getpid()} on"), exclusive_lock(tmp_path / "a", "busy"):
                pass
    with exclusive_lock(tmp_path / "a", "busy", lambda: pytest.fail("nobody holds it")):
        pass


def test_a_disk_without_locks_does_without(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    done = []
    with exclusive_lock(tmp_path / "a", "busy"):
        done.append(1)
    assert done == [1]


def test_earlier_releases_and_this_one_keep_each_other_out(tmp_path):
    lock = exclusive_lock(tmp_path / "a", "busy.")
    with filelock.FileLock(tmp_path / "a"), pytest.raises(CcdError, match=r"^busy\. Wait"), lock:
        pytest.fail("held twice")


def test_an_error_of_the_block_is_the_callers_own(tmp_path):
    with pytest.raises(OSError, match="mine"), exclusive_lock(tmp_path / "a", "busy"):
        raise OSError("mine")
    with exclusive_lock(tmp_path / "a", "busy"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(CcdError, match="file"), exclusive_lock(tmp_path / "file" / "a", "busy"):
        pass
