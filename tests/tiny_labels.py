"""A small label recipe, the command on it, and what it leaves, for tests of `ccd label` and `ccd inspect`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def label(ccd_here, path, *args):
    return ccd_here("label", path, "--device", "cpu", "--json", *args)


def content(folder: Path) -> dict[str, bytes]:
    """Everything that must be the same every time."""
    names = ["index.json", "quality.jsonl", "skipped.jsonl"]
    paths = [folder / name for name in names if (folder / name).exists()]
    return {path.name: path.read_bytes() for path in (*paths, *sorted(folder.glob("shard-*.tar")))}


def start(tmp_path, *args):
    return subprocess.Popen(
        [sys.executable, "-m", "ccd_cli", "label", *args, "--device", "cpu"],
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
