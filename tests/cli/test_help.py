"""`--help` everywhere, without loading anything heavy."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import ccd_cli.cli as cli_folder
from ccd_cli.cli.main import COMMANDS, GROUPS, cli

HEAVY = ("torch", "timm", "cv2", "open3d", "transformers", "matplotlib", "numpy")


def walk(command, path=()):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*path, name))


PATHS = [path for path, _ in walk(cli)]


def test_the_walk_found_the_commands():
    assert len(PATHS) >= 8
    assert {path[0] for path in PATHS if path} == set(COMMANDS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: " ".join(("ccd", *path)))
def test_every_command_has_help_with_an_example(path):
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert "ccd " in result.output


def test_help_of_every_command_imports_nothing_heavy():
    code = f"""
import sys
from click.testing import CliRunner
from ccd_cli.cli.main import cli
for path in {PATHS!r}:
    assert CliRunner().invoke(cli, [*path, "--help"]).exit_code == 0
for args in (["recipes", "list"], ["recipes", "schema"], ["recipes", "check", "indoor"], ["label", "label/indoor", "--dry-run"]):
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.output
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_commands_are_grouped_by_what_one_does_with_them():
    lines = CliRunner().invoke(cli, ["--help"]).output.splitlines()
    titles = [line.removesuffix(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Options", *GROUPS]
    rows = [line for line in lines if line.startswith("  ") and line[2:3].strip() and line.split()[0] in COMMANDS]
    assert [row.split()[0] for row in rows] == list(COMMANDS)
    assert len({row.index(row.split()[1], 12) for row in rows}) == 1, "one column of texts"
    modules = {path.stem for path in Path(cli_folder.__file__).parent.glob("*.py")}
    assert set(COMMANDS) <= modules


@pytest.mark.parametrize(
    "words",
    [
        "predict photos --model builtin:tiny",
        "distill quickstart --set optim.steps=0",
        "label label/quickstart --set shard=0",
        "eval --suite builtin --model builtin:tiny --limit 1 --predictions nowhere",
        "export builtin:tiny --format onnx --dry-run",
        "analyze --suite pairs.yaml",
        "pointcloud photos",
        "bench predict --model builtin:tiney",
        "bench distill --teacher builtin:tiney",
        "bench label --teacher builtin:tiney",
        "distill quickstart --dry-run --set optim.steps=0",
        "inspect .",
        "data list",
        "data check nyuv2",
        "teachers list",
        "teachers verify",
        "recipes list",
        "recipes check indoor",
        "recipes explain seed",
        "doctor",
    ],
)
def test_the_first_word_comes_at_once(tmp_path, words):
    """On a terminal; counted in processor time of the command, which other programs on the machine do not lengthen."""
    (tmp_path / "photos").mkdir()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ.update(PYTHONPATH=os.pathsep.join(sys.path), CCD_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
        os.execv(sys.executable, [sys.executable, "-m", "ccd_cli", *words.split()])
    try:
        shown = os.read(terminal, 4096)
        seconds = processor_seconds(pid)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    assert shown.strip()
    assert seconds < 1.0


def processor_seconds(pid):
    """Seconds that a process and its threads have computed, by /proc."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def test_the_first_word_is_for_terminals(ccd_here):
    """A pipe holds what it held: no line more for scripts to skip."""
    assert ccd_here("data", "list", "--json").stderr == ""


def test_unknown_commands_and_versions():
    assert CliRunner().invoke(cli, ["nonsense"]).exit_code == 2
    assert "ccd, version" in CliRunner().invoke(cli, ["--version"]).output
