"""Plots leave the caller's matplotlib alone."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from ccd_cli.distill.plots import plot_metrics, plot_samples, plot_scores
from ccd_cli.reports.plotting import literal, subplots

DRAW = """
import sys
from pathlib import Path
import matplotlib
before = dict(matplotlib.rcParams)
from ccd_cli.analyze.plots import plot_noise
from ccd_cli.distill.plots import plot_metrics
plot_metrics([{"step": 1, "loss": 1.0, "drift": 0.1, "teacher": "a"}], Path.cwd())
row = {"corruption": "outliers", "amount": 0.05, "normalization": "global", "contexts": None, "unit_scale": False}
plot_noise([{**row, "clean_loss": 0.1, "std_error": 0.01, "of_global": 1.0}], Path("noise.png"))
changed = {key for key, value in matplotlib.rcParams.items() if before[key] != value}
print(matplotlib.get_backend(), "matplotlib.pyplot" in sys.modules, changed)
"""


@pytest.mark.parametrize("backend", ["svg", pytest.param("pdf", marks=pytest.mark.slow)])
def test_the_backend_of_a_notebook_stays(tmp_path, backend):
    env = {**os.environ, "MPLBACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", DRAW], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{backend} False set()"
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("loss.png", "drift.png", "noise.png"))


def test_names_are_no_formulas(tmp_path):
    name = r"$\frac$"
    lines = [{"step": step, "loss": 1.0 / step, "drift": None, "teacher": name} for step in (1, 2, 3)]
    plot_metrics(lines, tmp_path)
    plot_scores([{"step": 1.0, "abs_rel": 0.2, "delta1": 0.7}], tmp_path)
    grid = plot_samples(np.zeros((2, 8, 8, 3), np.uint8), {name: np.full((2, 8, 8), np.nan)}, tmp_path / "samples.png")
    assert grid.ndim == 3 and grid.shape[2] == 3 and grid.dtype == np.uint8
    assert literal("a$b" + "c" * 100).startswith("...c") and len(literal("x" * 100)) == 90


def test_subplots_are_those_of_pyplot():
    figure, axes = subplots(2, 3, figsize=(4, 3), squeeze=False)
    assert isinstance(figure, Figure) and axes.shape == (2, 3)
