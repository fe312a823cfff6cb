"""README, docs and CHANGELOG: commands that parse, links that lead somewhere, recipes that are named."""

import subprocess
from pathlib import Path

import pytest

from ccd_cli import __version__
from ccd_cli.cli.main import COMMANDS
from ccd_cli.config.find import shipped
from tests.markdown import (
    anchors,
    changelog_problems,
    command_problem,
    commands,
    inline_commands,
    link_problems,
)

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (
        README,
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
}
LINKED = {
    **PAGES,
    **{p.relative_to(ROOT).as_posix(): p for d in ("recipes", "tests") for p in (ROOT / d).rglob("*.md")},
}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_parses(page):
    text = text_of(PAGES[page])
    problems = [command_problem(args) for args in commands(text)]
    problems += [command_problem(args, complete=False) for args in inline_commands(text)]
    assert not [problem for problem in problems if problem]


def test_the_first_page_is_short():
    lines = text_of(README).splitlines()
    assert len(lines) <= 140
    assert not any("apt-get" in line for line in lines)


def test_the_pages_have_commands_to_check():
    assert len(commands(text_of(README))) >= 5
    assert sum(len(commands(text_of(page))) for page in PAGES.values()) >= 25


@pytest.mark.parametrize("page", LINKED)
def test_every_link_of_a_page_leads_somewhere(page):
    assert not link_problems(LINKED[page], text_of(LINKED[page]))


def test_every_command_and_recipe_is_described():
    everything = "\n".join(text_of(page) for page in LINKED.values())
    for command in COMMANDS:
        assert f"ccd {command}" in everything, command
    for recipe in shipped():
        if recipe.name.startswith("paper/"):
            assert recipe.name in everything or "paper/tableN" in everything or "`paper/table1` to" in everything, (
                recipe
            )
        else:
            assert f"`{recipe.name}`" in everything, recipe.name


def test_the_changelog_is_one():
    assert not changelog_problems(text_of(ROOT / "CHANGELOG.md"), __version__)


def test_the_top_level_is_the_agreed_one():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout: nothing tells which files belong")
    tracked = {line.split("/")[0] for line in done.stdout.splitlines()}
    agreed = {"pyproject.toml", "README.md", "ccd_cli", "recipes", "tests", "assets", "CHANGELOG.md", "LICENSE", "docs"}
    agreed |= {"CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "Dockerfile"}
    assert {name for name in tracked if not name.startswith(".") and (ROOT / name).exists()} == agreed


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ccd predict a.jpg --pointclouds", "No such option"),
        ("ccd predicts a.jpg", "no command 'predicts'"),
        ("ccd teachers push x", "no command 'push'"),
        ("ccd predict a.jpg --save", "requires an argument"),
        ("ccd eval --alignment best", "is not one of"),
        ("python -m pip install . && ccd distill recipes/none.yaml", "recipes/none.yaml"),
        ("ccd distill indoor --set optim.stepz=4", "optim.stepz"),
        ("ccd distill", "is missing"),
        ("ccd label quickstart --dry-run", "ccd distill"),
        ("ccd recipes show nothing", "nothing"),
        ("ccd teachers pull --recipe nothing", "nothing"),
        ("ccd data list one two three", "too many arguments"),
        ("torchrun --nproc-per-node 4 -m ccd_cli distil indoor", "no command 'distil'"),
    ],
)
def test_a_wrong_command_is_found(line, problem):
    (args,) = commands(f"```bash\n{line}    # a comment\n```\n")
    assert problem in command_problem(args)


@pytest.mark.parametrize("code", ["ccd predict --pointclouds", "ccd nothing"])
def test_a_wrong_command_in_running_text_is_found(code):
    (args,) = inline_commands(f"Say `{code}`.")
    assert command_problem(args, complete=False)
    (args,) = inline_commands("Say `ccd predict --pointcloud`.")
    assert not command_problem(args, complete=False)


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# One\n## Two words, `three`\n## One\n```\n# no heading\n```\n")
    assert anchors((tmp_path / "other.md").read_text()) == {"one", "two-words-three", "one-1"}
    good = (
        "# Top\n[a](other.md) [b](other.md#two-words-three) [c](other.md#one-1) [d](#top) [e](https://e.org/x) `[f](g)`"
    )
    page.write_text(good)
    assert not link_problems(page, good)
    for wrong in ("[a](none.md)", "[a](other.md#four)", "[a](#none)", '<img src="none.png">', "see recipes/none.yaml"):
        assert len(link_problems(page, good + wrong)) == 1, wrong


GOOD = """# Changelog
The format is [Keep a Changelog](https://keepachangelog.com/en/1.1.0/).

## [Unreleased]

### Added

- A thing.

## [0.2.0] - 2026-02-01

### Fixed

- A bug.

## [0.1.0] - 2026-01-01

### Added

- The first.
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[Unreleased]", "[Next]", "[Unreleased]"),
        ("[0.2.0]", "[0.0.9]", "descend"),
        ("### Fixed", "### Repaired", "Repaired"),
        (" - 2026-02-01", "", "date"),
        ("- A bug.", "A bug.", "nothing under Fixed"),
        ("### Fixed", "### Added\n\n- x\n\n### Added", "twice"),
        ("[0.2.0]", "[9.0.0]", "later version"),
        ("keepachangelog.com", "example.com", "format"),
    ],
)
def test_a_changelog_of_another_form_is_found(old, new, problem):
    assert not changelog_problems(GOOD, "0.3.0")
    assert any(problem in one for one in changelog_problems(GOOD.replace(old, new, 1), "0.3.0"))
