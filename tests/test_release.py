"""What stands around the code: one version, workflows and forms that are valid, hooks that match the tools."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from ccd_cli import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path):
    return yaml.load((ROOT / path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # `on` stays a word


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["dynamic"]
    assert read("CITATION.cff")["version"] == __version__
    assert read("CITATION.cff")["license"] == PROJECT["license"]


def test_every_python_of_the_classifiers_is_allowed_and_tried_before_a_release():
    named = {c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    jobs = read(".github/workflows/release.yml")["jobs"]
    assert set(jobs["try"]["strategy"]["matrix"]["python"]) == named
    least, most = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert named == {f"3.{minor}" for minor in range(int(least), int(most))}
    assert set(read(".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]) <= named
    assert jobs["publish"]["needs"] == "try" and jobs["try"]["needs"] == "build"
    assert jobs["publish"]["if"].startswith("startsWith(github.ref, 'refs/tags/")


def test_the_tag_is_compared_with_the_version_as_it_is_written(tmp_path):
    steps = read(".github/workflows/release.yml")["jobs"]["build"]["steps"]
    (step,) = [step["run"] for step in steps if "__version__" in step.get("run", "")]
    assert "sed -n 's/^__version__ = \"\\(.*\\)\"$/\\1/p' ccd_cli/__init__.py" in step
    written = re.findall(r'^__version__ = "(.*)"$', (ROOT / "ccd_cli/__init__.py").read_text(encoding="utf-8"), re.M)
    assert written == [__version__]


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda p: p.stem)
def test_a_form_asks_what_is_needed(path):
    form = read(path.relative_to(ROOT))
    assert form["name"] and form["description"]
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in form["body"] if field["type"] != "markdown")
    needed = {field["id"] for field in form["body"] if field.get("validations", {}).get("required") == "true"}
    assert {"bug": {"what", "expected", "doctor"}, "teacher": {"where", "paper", "kind", "license"}}[
        path.stem
    ] <= needed


def test_the_form_for_bugs_asks_for_the_doctor():
    labels = [field["attributes"]["label"] for field in read(".github/ISSUE_TEMPLATE/bug.yml")["body"]]
    assert "ccd doctor --json" in labels


def test_the_form_for_teachers_offers_every_kind():
    from ccd_cli.geometry.kinds import KINDS

    (kind,) = [field for field in read(".github/ISSUE_TEMPLATE/teacher.yml")["body"] if field.get("id") == "kind"]
    assert kind["attributes"]["options"] == [*KINDS, "not sure"]


def test_the_hooks_run_what_ci_runs():
    hooks = {hook["id"] for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert {"ruff-check", "ruff-format", "check-yaml", "check-toml"} <= hooks
