"""The example of a teacher in a package of its own: installed, then used by every command that takes a teacher."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.tiny import tiny_values
from tests.tiny_labels import recipe_values

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/custom_teacher"
LICENSE = "CC-BY-NC-4.0"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Install a copy of the package by pip, into a folder of its own."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("custom")
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--target", folder / "site", folder / "source"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def haze(site, ccd_here, monkeypatch):
    """Return the command in this process, which sees the installed package."""
    monkeypatch.syspath_prepend(str(site))
    yield ccd_here
    sys.modules.pop("ccd_teacher_haze", None)


def test_it_is_listed_and_its_card_shown(haze):
    rows = {row["name"]: row for row in json.loads(haze("teachers", "list", "--json").stdout)}
    assert rows["haze"]["family"] == "ccd-teacher-haze 0.1.0"
    assert "ccd_teacher_haze" not in sys.modules
    card = json.loads(haze("teachers", "info", "haze", "--json").stdout)
    assert (card["license"], card["commercial"], card["kind"], card["pulled"]) == (LICENSE, False, "depth", True)


def test_its_formula_finds_the_depth_of_a_haze_that_is_known(haze):
    from ccd_cli.teachers.load import load_teacher

    depth = torch.linspace(0.2, 2.0, 8).repeat_interleave(40)[None].expand(320, -1)  # bands, wider than the window
    transmission = (-depth).exp()
    scene = torch.zeros(3, *depth.shape)  # black: its dark channel is 0, as the prior says
    scene[0, ::4, ::4] = 1.0
    rgb = scene * transmission + 0.8 * (1 - transmission)
    rgb[:, :40, -40:] = 0.8  # the sky, from which the airlight is taken
    made = load_teacher("haze").predict(rgb[None])[0]
    expected = -(1 - 0.95 * (1 - transmission)).log()
    inner = [slice(60, 320), slice(20, 320, 40)]  # the middle of each band
    assert torch.allclose(made[tuple(inner)], expected[tuple(inner)], atol=1e-5)


def test_the_command_predicts_with_it(site, ccd, tmp_path):
    path = os.pathsep.join([str(EXAMPLE.parents[2]), str(site)])
    done = ccd("predict", "builtin:photos/cat.jpg", "--model", "haze", "--out", "o", "--save", "npy", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    side = json.loads((tmp_path / "o/cat.json").read_text())
    assert (side["model"], side["kind"], side["license"], side["resolution"]) == ("haze", "depth", LICENSE, 320)
    values = np.load(tmp_path / "o/cat.npy")
    assert values.shape == (300, 451) and values.min() >= 0.05 - 1e-6 and np.ptp(values) > 0.1


def test_labels_carry_its_license(haze, photos, make_teacher, write_recipe, tmp_path):
    values = recipe_values(photos, make_teacher)
    values["teachers"][1] = {"model": "haze"}
    done = haze("label", write_recipe(values), "--out", "labels", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["license"] == LICENSE
    index = json.loads((tmp_path / "labels/index.json").read_text())
    assert [teacher["license"] for teacher in index["teachers"]] == ["MIT", LICENSE]


def test_a_student_carries_its_license_into_card_and_export(haze, photos, make_teacher, write_recipe, tmp_path):
    values = tiny_values(photos, make_teacher)
    values["teachers"][1] = {"model": "haze", "weight": 0.5}
    values["optim"] |= {"steps": 4, "checkpoint_every": 4}
    done = haze("distill", write_recipe(values), "--out", "run")
    assert done.exit_code == 0, done.output
    card = (tmp_path / "run/card.md").read_text()
    assert f"**{LICENSE}**" in card and "| haze |" in card
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert "haze" in {line["teacher"] for line in lines}
    assert all(np.isfinite(line["loss"]) for line in lines)
    exported = haze("export", "run", "--format", "safetensors", "--out", "e")
    assert exported.exit_code == 0, exported.output
    assert LICENSE in exported.output or LICENSE in b"".join(p.read_bytes()[:9000] for p in Path("e").iterdir()).decode(
        "utf-8", "replace"
    )


def test_the_teacher_itself_is_not_exported(haze):
    done = haze("export", "haze", "--format", "onnx")
    assert done.exit_code == 1
    assert "runs in an installed package of its own" in done.output
    assert "Distill a student from it" in done.output


def test_a_precision_that_it_does_not_have_is_one_line(haze):
    done = haze("predict", "builtin:photos/cat.jpg", "--model", "haze", "--precision", "bf16")
    assert done.exit_code in (1, 2)
    assert "computes in fp32 alone, not in bf16" in done.output or "neither AVX512-BF16 nor AMX" in done.output


def test_the_recipe_of_its_page_is_valid(haze):
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("ccd distill")]
    teachers = line.split("--set '")[1].split("'")[0]
    done = haze("distill", "quickstart", "--set", teachers, "--dry-run")
    assert done.exit_code == 0, done.output
    assert [each["model"] for each in yaml.safe_load(done.stdout)["teachers"]] == ["haze", "builtin:global"]
