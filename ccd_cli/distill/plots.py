"""Plots of a run: loss curves, drift, scores and the sample grid. Importing them leaves matplotlib's backend alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ccd_cli.distill.run_files import COMPLETION, TERMS
from ccd_cli.reports.plotting import legend_below, literal, save, subplots

SIZE = (5.6, 3.7)
"""Inches of a figure of curves: small enough that its words can be read on a phone."""
DPI = 160
NAME = 40  # characters of a name in a legend
MANY = 1000  # dots that are drawn one by one where a figure is not of pixels


def plot_metrics(lines: list[dict[str, Any]], folder: Path) -> None:
    """Write `loss.png` for the lines of `metrics.jsonl`, `drift.png`, and `completion.png` where holes were filled."""
    save(loss_figure(lines), folder / "loss.png", DPI)
    if any("filled" in line for line in lines):
        save(completion_figure(lines), folder / "completion.png", DPI)
    if drifts(lines):
        save(drift_figure(lines), folder / "drift.png", DPI)


def drifts(lines: list[dict[str, Any]]) -> bool:
    """Return whether drift means anything: students of kind depth and metric have a unit of their own."""
    return not any("depth" in line for line in lines)


def plot_scores(history: list[dict[str, float]], folder: Path) -> None:
    """Write `scores.png`: AbsRel and delta1 of every evaluation; `history` holds step, abs_rel and delta1."""
    save(scores_figure(history), folder / "scores.png", DPI)


def loss_figure(lines: list[dict[str, Any]]) -> Figure:
    """Return the curves of the loss and its terms over the steps of a run."""
    figure, axes = subplots(figsize=SIZE, layout="constrained")
    steps, handles = np.array([line["step"] for line in lines]), []
    for term in TERMS:
        values = _column(lines, term)
        if np.isfinite(values).any():
            color = axes.plot(steps, values, linewidth=0.5, alpha=0.3)[0].get_color()
            width = 2 if term == "loss" else 1.2
            handles += axes.plot(steps, smooth(values), color=color, linewidth=width, label=term.replace("_", "-"))
    axes.set(xlabel="step", ylabel="loss and its unweighted terms")
    _whole_steps(axes)
    legend_below(figure, handles)
    return figure


def drift_figure(lines: list[dict[str, Any]]) -> Figure:
    """Return the drift over the steps of a run, a dot a step in its teacher's color."""
    figure, axes = subplots(figsize=SIZE, layout="constrained")
    steps, drift, handles = np.array([line["step"] for line in lines]), _column(lines, "drift"), []
    for teacher in sorted({str(line["teacher"]) for line in lines if "teacher" in line}):
        chosen = np.array([str(line.get("teacher")) == teacher for line in lines])
        label, many = literal(teacher, NAME), len(lines) > MANY
        handles += axes.plot(steps[chosen], drift[chosen], ".", markersize=5, zorder=3, label=label, rasterized=many)
    handles += axes.plot(steps, smooth(drift), color="black", linewidth=1.5, label="smoothed")
    axes.axhline(0.0, color="gray", linewidth=0.8)
    axes.set(xlabel="step", ylabel="log(student MAD / label MAD)")
    _whole_steps(axes)
    legend_below(figure, handles)
    return figure


def completion_figure(lines: list[dict[str, Any]]) -> Figure:
    """Return how holes of ground truth were filled over the steps: shares of pixels and of views, below them the fits' error."""
    figure, (top, bottom) = subplots(2, figsize=SIZE, layout="constrained", sharex=True)
    steps, handles = np.array([line["step"] for line in lines]), []
    words = ("pixels filled", "crops refused", "median error of the fits")
    for key, label, axes in zip(COMPLETION, words, (top, top, bottom), strict=True):
        values, color = _column(lines, key), {"fit_error": "tab:green"}.get(key)
        points = axes.plot(steps, values, ".", markersize=2, alpha=0.3, color=color, rasterized=True)
        handles += axes.plot(steps, smooth(values), color=points[0].get_color(), linewidth=1.5, label=label)
    top.set(ylabel="share", ylim=(-0.02, 1.02))
    bottom.set(xlabel="step", ylabel="|fitted / measured - 1|")
    bottom.set_ylim(bottom=0)
    _whole_steps(bottom)
    legend_below(figure, handles)
    return figure


def scores_figure(history: list[dict[str, float]]) -> Figure:
    """Return AbsRel and delta1 of every evaluation, below each other over the same steps."""
    figure, (top, bottom) = subplots(2, figsize=SIZE, layout="constrained", sharex=True)
    steps = [h["step"] for h in history]
    top.plot(steps, _column(history, "abs_rel"), "o-", color="tab:red")
    bottom.plot(steps, _column(history, "delta1"), "s-", color="tab:blue")
    top.set(ylabel="AbsRel", title="AbsRel: lower is better. δ1: higher is better.")
    top.title.set_fontsize("medium")
    bottom.set(xlabel="step", ylabel="δ1")
    _whole_steps(bottom)
    return figure


def curves_figure(runs: Mapping[str, tuple[Sequence[float], np.ndarray]], ylabel: str, marker: str = "") -> Figure:
    """Return curves of several runs on one axis: name -> (steps, values [N]); `marker` as of matplotlib."""
    figure, axes = subplots(figsize=SIZE, layout="constrained")
    handles = []
    for name, (steps, values) in runs.items():
        handles += axes.plot(steps, values, marker=marker, linewidth=1.5, label=literal(name, NAME))
    axes.set(xlabel="step", ylabel=ylabel)
    _whole_steps(axes)
    legend_below(figure, handles)
    return figure


def plot_samples(images: np.ndarray, columns: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Write the sample grid and return it as uint8 RGB (H, W, 3).

    images uint8 [N,S,S,3]; columns: title -> disparity [N,S,S], each map colored over its own 2 % to 98 % (near = warm).
    """
    rows, titles = len(images), ["image", *columns]
    figure, axes = subplots(rows, len(titles), figsize=(2.4 * len(titles), 2.4 * rows + 0.4), squeeze=False)
    for r in range(rows):
        panels = [images[r], *(color(maps[r]) for maps in columns.values())]
        for cell, panel, title in zip(axes[r], panels, titles, strict=True):
            cell.imshow(panel)
            cell.axis("off")
            if r == 0:
                cell.set_title(literal(title), fontsize=8)
    figure.tight_layout()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    save(figure, path, DPI)
    return pixels


def color(disparity: np.ndarray) -> np.ndarray:
    """Return uint8 RGB (H, W, 3) for a disparity map (H, W), near = warm; invalid pixels are gray."""
    valid = np.isfinite(disparity)
    low, high = np.percentile(disparity[valid], [2, 98]) if valid.any() else (0.0, 1.0)
    scaled = np.clip((np.where(valid, disparity, low) - low) / max(high - low, 1e-12), 0, 1)
    painted = (colormaps["inferno"](scaled)[..., :3] * 255).astype(np.uint8)
    painted[~valid] = 128
    return painted


def _whole_steps(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def _column(lines: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([np.nan if line.get(key) is None else line[key] for line in lines], np.float64)


def smooth(values: np.ndarray) -> np.ndarray:
    """Return a centered moving average over a fiftieth of the run that skips missing values."""
    width = max(1, len(values) // 50)
    kernel = np.ones(width)
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(float), kernel, mode="same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
