"""README, help and CHANGELOG say what is there."""

import re
from pathlib import Path

import pytest

from ccd_cli import __version__
from ccd_cli.cli.main import COMMANDS
from ccd_cli.config.load import load_recipe, shipped

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILE_MAP = re.search(r"## Files\n\n```text\n(.*?)```", README, re.DOTALL)


def test_the_file_map_names_every_file():
    assert FILE_MAP
    sections = {}
    for line in FILE_MAP.group(1).splitlines():
        if found := re.match(r"  ([a-z/]+)/ +(.*)", line):
            name, text = found.groups()
            sections[name] = text
        elif line.startswith("     "):
            sections[name] += " " + line.strip()
    package = ROOT / "ccd_cli"
    folders = {p.parent for p in package.rglob("*.py") if p.parent != package}
    assert set(sections) == {f.relative_to(package).as_posix() for f in folders}
    for folder in folders:
        there = {p.stem for p in folder.glob("*.py")} - {"__init__"}
        words = set(re.findall(r"[a-z_0-9]+", sections[folder.relative_to(package).as_posix()]))
        assert there <= words, f"{folder}: not in the file map: {sorted(there - words)}"


def test_the_top_level_is_the_agreed_one():
    agreed = {"pyproject.toml", "README.md", "ccd_cli", "recipes", "tests", "assets", "CHANGELOG.md", "LICENSE", "docs"}
    there = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")} & set(_tracked_top_level())
    assert there == agreed


def _tracked_top_level():
    import subprocess

    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout: nothing tells which files belong")
    return {line.split("/")[0] for line in done.stdout.splitlines()}


def test_links_and_commands_of_the_readme_exist():
    for target in re.findall(r"\]\(((?!https?:)[^)]+)\)", README):
        assert (ROOT / target).exists(), target
    for path in re.findall(r"\b((?:tests|recipes|docs|assets)/[\w./-]+\.(?:py|yaml|md))", README):
        assert (ROOT / path).exists(), path
    used = set(re.findall(r"(?:^|&& |`)ccd ([a-z]+)", README, re.MULTILINE))
    assert used
    assert used <= set(COMMANDS)
    for name in re.findall(r"^ccd distill (\S+)", README, re.MULTILINE):
        load_recipe(name)


def test_every_recipe_is_in_the_readme():
    for recipe in shipped():
        if not recipe.name.startswith("paper/"):
            assert f"`{recipe.name}`" in README, recipe.name


def test_the_changelog_is_kept():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "keepachangelog.com" in text
    assert re.search(r"^## \[(Unreleased|" + re.escape(__version__) + r")\]", text, re.MULTILINE)
    for command in COMMANDS:
        assert f"ccd {command}" in text, f"{command} is not in the changelog"
