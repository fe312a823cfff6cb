"""The source distribution and the wheel built from it: what they carry, what they say, and the wheel at work in an empty folder."""

import os
import re
import subprocess
import sys
import tarfile
from email import message_from_string
from pathlib import Path

import pytest

import ccd_cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(built):
    return built / "site"


@pytest.fixture(scope="module")
def metadata(unpacked):
    (path,) = unpacked.glob("ccd_depth-*.dist-info/METADATA")
    return message_from_string(path.read_text(encoding="utf-8"))


def test_recipes_models_and_photos_are_inside(unpacked):
    inside = {p.relative_to(unpacked).as_posix() for p in (unpacked / "ccd_cli").rglob("*") if p.is_file()}
    here = {
        f"ccd_cli/{p.relative_to(ROOT).as_posix()}"
        for d in ("recipes", "assets")
        for p in (ROOT / d).rglob("*")
        if p.is_file()
    }
    here |= {p.relative_to(ROOT).as_posix() for p in (ROOT / "ccd_cli/reports/templates").iterdir()}
    assert {"ccd_cli/reports/templates/base.html", "ccd_cli/reports/templates/style.css"} <= here
    assert "ccd_cli/py.typed" in inside
    assert len(here) > 10
    assert here <= inside
    assert sum(p.stat().st_size for p in (unpacked / "ccd_cli" / "assets").rglob("*")) < 30e6


def test_the_source_distribution_can_be_built_tested_and_read(built):
    (path,) = built.glob("ccd_depth-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "Dockerfile", ".ci/run"} <= names
    assert {"tests/conftest.py", "recipes/quickstart.yaml", "assets/tiny.safetensors", "docs/python.md"} <= names
    assert {f"docs/examples/{name}.ipynb" for name in ("predict", "distill", "evaluate")} <= names
    assert not {
        name for name in names if name.startswith(("runs/", "ccd-out/", "eval-out/", "site/")) or ".git/" in name
    }
    assert path.stat().st_size < 60e6


def test_the_metadata_is_whole(metadata):
    assert (metadata["Name"], metadata["Version"]) == ("ccd-depth", ccd_cli.__version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Summary"] and metadata["Keywords"] and metadata["Author"]
    assert "Paper, https://arxiv.org/abs/2502.19204" in metadata.get_all("Project-URL")
    versions = {c.rsplit(" ", 1)[1] for c in metadata.get_all("Classifier") if re.search(r":: 3\.\d+$", c)}
    assert versions == {"3.11", "3.12", "3.13"}
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.14"}


def test_the_page_of_a_package_index_has_no_link_into_the_repository(metadata, built):
    text = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert len(text) > 3000
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert not [link for link in links if not link.startswith("https://")]
    assert "pip install ccd-depth" in text
    pytest.importorskip("twine")
    files = [str(path) for path in built.iterdir() if path.is_file() and path.suffix in (".whl", ".gz")]
    done = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_quick_start_runs_from_it_in_an_empty_folder(unpacked, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(unpacked), "CCD_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    code = "import ccd_cli; print(ccd_cli.__file__)"
    where = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert where.stdout.startswith(str(unpacked))
    command = [sys.executable, "-m", "ccd_cli", "distill", "recipes/quickstart.yaml"]
    short = ["--set", "optim.steps=4", "--set", "eval.scenes=4", "--set", "images.scenes.count=8"]
    done = subprocess.run([*command, *short], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "mean map" in done.stderr
    assert (tmp_path / "runs" / "quickstart" / "student.safetensors").exists()
