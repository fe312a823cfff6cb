"""A second Ctrl-C or SIGTERM ends a command at once, also inside one forward pass that lasts for a long time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.tiny_labels import recipe_values

SIDE = "4096"  # the tiny network's pass takes half a minute at it
IN_THE_PASS = 1.3e9  # bytes: libraries take 0.8e9, the pass three times as much


def resident(process: subprocess.Popen[str]) -> int:
    """Return the bytes of memory that a process holds."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def commands(tmp_path, photos, make_teacher, write_recipe, tiny_recipe):
    """{command: (its words, a line that it prints before the pass)}; the pass comes some seconds after the line."""
    teacher = str(make_teacher("slow", 0))
    label = recipe_values(photos, make_teacher)
    label["teachers"] = [{"model": teacher, "batch": 4, "resolution": int(SIDE)}]
    (tmp_path / "label.yaml").write_text(yaml.safe_dump(label))
    tiny_recipe["teachers"] = [{"model": teacher, "resolution": int(SIDE)}]
    train = write_recipe(tiny_recipe)
    photo = photos / "0.jpg"
    (tmp_path / "images").mkdir()
    shutil.copy(photo, tmp_path / "images")
    with Image.open(photo) as image:
        ramp = np.linspace(1000, 9000, image.width * image.height).reshape(image.height, image.width)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "images/0.png")
    suite = {"name": "mine", "image": "images/*.jpg", "depth": "images/*.png", "divisor": 1000}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    own = ("--model", teacher, "--resolution", SIDE, "--runtime", "torch")  # another one would be prepared first
    return {
        "predict": (("predict", str(photo), *own), "Loading"),
        "eval": (("eval", "--suite", "suite.yaml", *own), "Loading"),
        "label": (("label", "label.yaml", "--out", "out"), "samples in"),
        "distill": (("distill", str(train), "--out", "out"), "loading torch"),
    }


INT, TERM = (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)


@pytest.mark.parametrize(
    ("command", "numbers"),
    [
        ("predict", INT),
        ("distill", TERM),
        *(pytest.param(command, INT, marks=pytest.mark.slow) for command in ("distill", "label", "eval")),
        *(pytest.param(command, TERM, marks=pytest.mark.slow) for command in ("predict", "label", "eval")),
    ],
)
def test_a_second_signal_ends_it_in_a_long_pass(commands, tmp_path, command, numbers):
    words, line = commands[command]
    process = subprocess.Popen(
        [sys.executable, "-m", "ccd_cli", *words],
        cwd=tmp_path,
        env={**os.environ, "CCD_HOME": str(tmp_path / "home"), "NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    seen = ""
    while line not in seen and (more := process.stderr.readline()):
        seen += more
    assert line in seen
    latest = time.monotonic() + 120
    while process.poll() is None and resident(process) < IN_THE_PASS and time.monotonic() < latest:
        time.sleep(0.2)
    assert process.poll() is None, seen + process.stderr.read()
    assert resident(process) >= IN_THE_PASS, "the pass has begun"
    process.send_signal(numbers[0])
    time.sleep(2)
    assert process.poll() is None, "the first signal waits for the work at hand"
    begun = time.monotonic()
    process.send_signal(numbers[1])
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < 10
    assert process.returncode == 128 + numbers[0], said
    assert "a second signal ends at once" in said
    assert "ended at once" in said or "Stopped at once" in said  # by the watching thread, or between two layers
    assert "Traceback" not in said
