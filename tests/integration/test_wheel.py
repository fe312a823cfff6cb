"""A built wheel carries recipes, built-in models and example photos, and works in an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    made = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = folder.glob("ccd_depth-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


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
    assert len(here) > 10
    assert here <= inside
    assert sum(p.stat().st_size for p in (unpacked / "ccd_cli" / "assets").rglob("*")) < 30e6


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
