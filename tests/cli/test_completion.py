"""Shell completion: click's protocol, real shells, and nothing heavy imported for it."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time

import pytest

from ccd_cli.media.map_write import ITEMS

HEAVY = ("torch", "timm", "cv2", "numpy", "open3d", "transformers", "pydantic", "rich")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a run, labels, a card of one's own, and a `ccd` on the path."""
    for place, name in (("runs/mine", "student.safetensors"), ("runs/mine", "recipe.yaml"), ("labels/l", "index.json")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / name).touch()
    tool = tmp_path / "bin" / "ccd"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ccd_cli "$@"\n')
    tool.chmod(0o755)
    cards = tmp_path / "home" / "cards"
    cards.mkdir(parents=True)
    (cards / "mine.yaml").write_text("name: zz-mine\narch: depth-anything-v2-small\nfile: a.pth\nlicense: MIT\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    return tmp_path


def completed(*words):
    """Return [(type, value)] that click's bash protocol gives for the last word."""
    env = {
        **os.environ,
        "COMP_WORDS": " ".join(("ccd", *words)),
        "COMP_CWORD": str(len(words)),
        "_CCD_COMPLETE": "bash_complete",
    }
    if not words[-1]:
        env["COMP_WORDS"] = " ".join(("ccd", *words[:-1])) + " "
    done = subprocess.run(["ccd"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    return [tuple(line.split(",", 1)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pred"], {"predict"}),
        (["recipes", "e"], {"explain"}),
        (["predict", "--mod"], {"--model"}),
        (["predict", "--model", "builtin:t"], {"builtin:tiny"}),
        (["eval", "--model", "runs"], {"runs/mine"}),
        (["export", "zz"], {"zz-mine"}),
        (["predict", "--runtime", "open"], {"openvino"}),
        (["predict", "--device", "c"], {"cpu", "cuda"}),
        (["predict", "--save", "color,s"], {"color,side"}),
        (["eval", "--suite", "zer"], {"zero-shot"}),
        (["distill", "ind"], {"indoor", "indoor-diffusion"}),
        (["label", "label/i"], {"label/indoor"}),
        (["recipes", "new", "x", "--from", "outd"], {"outdoor"}),
        (["recipes", "explain", "optim.s"], {"optim.steps", "optim.schedule"}),
        (["teachers", "pull", "moge-2-larg"], {"moge-2-large", "moge-2-large-normal"}),
        (["teachers", "pull", "moge-2-large", "moge-2-large"], {"moge-2-large-normal"}),
        (["inspect", ""], {"runs/mine", "labels/l"}),
        (["completion", "z"], {"zsh"}),
    ],
)
def test_names_are_completed(here, words, expected):
    found = {value for kind, value in completed(*words) if kind == "plain"}
    assert expected <= found
    assert all(value.startswith(words[-1]) for value in found)


def test_every_output_of_predict_is_completed(here):
    assert {value.partition(",")[2] or value for _, value in completed("predict", "--save", "")} == {*ITEMS}


def test_every_command_is_completed_with_its_help(here):
    from ccd_cli.cli.main import COMMANDS

    assert {value for _, value in completed("")} == set(COMMANDS)


@pytest.mark.parametrize(
    "words", [["predict", "x"], ["predict", "--model", "x"], ["distill", "x"], ["recipes", "check", "x"]]
)
def test_files_are_completed_by_the_shell(here, words):
    assert completed(*words) == [("file", "x")]
    assert completed("predict", "--out", "x") == [("dir", "x")]


@pytest.mark.parametrize(
    "words", ["pred", "predict --model d", "distill i", "teachers pull m", "inspect r", "eval --suite n"]
)
def test_completing_imports_nothing_heavy_and_is_quick(here, words):
    code = f"""
import os, sys, time
os.environ.update(COMP_WORDS="ccd {words}", COMP_CWORD="{len(words.split())}", _CCD_COMPLETE="bash_complete")
sys.argv = ["ccd"]
start = time.process_time()
from ccd_cli.cli.main import main
try: main()
except SystemExit: pass
print([time.process_time() - start, [name for name in {HEAVY!r} if name in sys.modules]], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    seconds, heavy = json.loads(done.stderr.replace("'", '"'))
    assert done.stdout
    assert heavy == []
    assert seconds < 1.0, "of the processor, whatever else it does"


KEYS = {
    "ccd predi": "predict",
    "ccd predict --model builtin:ti": "builtin:tiny",
    "ccd distill outd": "outdoor",
    "ccd inspect run": "runs/mine",
}
SHELLS = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(ccd completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit && compinit -u -D && eval "$(ccd completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "ccd completion fish | source"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes(here, shell):
    words, setup = SHELLS[shell]
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm" if shell == "fish" else "dumb", PS1="> ", HOME=str(here))
        os.execvp(words[0], words)
    try:
        type_in(terminal, f"{setup}; echo se''t\n", "set")
        for typed, expected in KEYS.items():
            assert expected in type_in(terminal, f"{typed}\t", expected)
            os.write(terminal, b"\x15")  # clears the line
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def type_in(terminal, keys, awaited):
    """Type; return what the terminal shows until it shows `awaited` (or a minute is over)."""
    os.write(terminal, keys.encode())
    shown, end = "", time.monotonic() + 60
    while awaited not in shown.replace("\r\n", "\n") and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    return shown


def test_an_unknown_shell_is_refused(ccd_here):
    done = ccd_here("completion", "bsh")
    assert done.exit_code == 2
    assert "Did you mean bash?" in done.stderr
    for shell in SHELLS:
        assert "_CCD_COMPLETE" in ccd_here("completion", shell).stdout
