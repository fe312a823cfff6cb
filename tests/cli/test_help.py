"""`--help` everywhere, without loading anything heavy."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from ccd_cli.cli.main import COMMANDS, cli

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
for args in (["recipes", "list"], ["recipes", "schema"], ["recipes", "check", "indoor"], ["distill", "indoor", "--dry-run"]):
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.output
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_unknown_commands_and_versions():
    assert CliRunner().invoke(cli, ["nonsense"]).exit_code == 2
    assert "ccd, version" in CliRunner().invoke(cli, ["--version"]).output
