"""Tests that start a Ray cluster on this machine: their mark, and what they leave behind."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path

import pytest

LINUX = Path("/proc/self/stat").exists()


def on_a_cluster(test):
    """Mark a test that starts a cluster, and skip it where it cannot."""
    missing = importlib.util.find_spec("ray") is None
    test = pytest.mark.skipif(missing, reason='ray is not installed: pip install -e ".[ray]"')(test)
    test = pytest.mark.skipif(not LINUX, reason="processes are found by /proc, which is not here")(test)
    return pytest.mark.ray(pytest.mark.usefixtures("ray_folder")(test))


def ray_processes() -> set[int]:
    """Every process of Ray whose files lie in this test's folder for temporary files (`ray_folder`)."""
    mine, found = os.fsencode(os.environ["TMPDIR"]), set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes()
            if b"ray::" in words or b"/ray/" in words:
                files = (bytes(file.readlink()) for file in (folder / "fd").iterdir())
                if mine in words or any(mine in file for file in files):
                    found.add(int(folder.name))
        except OSError:
            continue
    return found


def traces() -> set[str]:
    """Every process of Ray and every folder of its files that this test left."""
    folders = {p.name for p in Path(os.environ["TMPDIR"]).glob("ccd-ray-*")}
    return {str(pid) for pid in ray_processes()} | folders


def gone() -> bool:
    """Whether all traces of Ray vanish within a few seconds."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not traces():
            return True
        time.sleep(0.2)
    return False


def addresses(pids: set[int]) -> set[str]:
    """The local addresses, in /proc's hexadecimal, on which processes listen."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(link.readlink().name)
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                found.add(words[1].split(":")[0])
    return found


def titles(prefix: str) -> list[tuple[int, str]]:
    """Process and title, sorted, of the processes whose title begins so: Ray names a process after its task."""
    found = []
    for pid in ray_processes():
        try:
            words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")[0].decode()
        except OSError:
            continue
        if words.startswith(prefix):
            found.append((pid, words))
    return sorted(found)
