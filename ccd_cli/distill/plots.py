"""Plots of a run: loss curves, drift, scores and the sample grid. Importing them leaves matplotlib's backend alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

from ccd_cli.reports.plotting import literal, save, subplots

TERMS = ("loss", "shared", "local_global", "gradient", "feature", "anchor")
DPI = 120


def plot_metrics(lines: list[dict[str, Any]], folder: Path) -> None:
    """Write `loss.png` and `drift.png` for the lines of `metrics.jsonl`."""
    steps = np.array([line["step"] for line in lines])
    figure, axes = subplots(figsize=(8, 4.5), layout="constrained")
    for term in TERMS:
        values = _column(lines, term)
        if np.isfinite(values).any():
            color = axes.plot(steps, values, linewidth=0.5, alpha=0.3)[0].get_color()
            axes.plot(steps, _smooth(values), color=color, linewidth=2 if term == "loss" else 1.2, label=term)
    axes.set(xlabel="step", ylabel="loss and its unweighted terms", title="Distillation loss")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    save(figure, folder / "loss.png", DPI)
    figure, axes = subplots(figsize=(8, 4.5), layout="constrained")
    drift = _column(lines, "drift")
    for teacher in sorted({str(line["teacher"]) for line in lines}):
        chosen = np.array([str(line["teacher"]) == teacher for line in lines])
        axes.plot(steps[chosen], drift[chosen], ".", markersize=5, zorder=3, label=literal(teacher))
    axes.plot(steps, _smooth(drift), color="black", linewidth=1.5, label="smoothed")
    axes.axhline(0.0, color="gray", linewidth=0.8)
    axes.set(xlabel="step", ylabel="log(student MAD / label MAD)", title="Drift: 0 means the labels' unit scale")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, markerscale=2)
    save(figure, folder / "drift.png", DPI)


def plot_scores(history: list[dict[str, float]], folder: Path) -> None:
    """Write `scores.png`: AbsRel and delta1 of every evaluation; `history` holds step, abs_rel and delta1."""
    figure, axes = subplots(figsize=(8, 4.5), layout="constrained")
    steps = [h["step"] for h in history]
    axes.plot(steps, [h["abs_rel"] for h in history], "o-", color="tab:red", label="AbsRel (lower is better)")
    axes.set(xlabel="step", ylabel="AbsRel", title="Validation scores")
    right = axes.twinx()
    right.plot(steps, [h["delta1"] for h in history], "s--", color="tab:blue", label="delta1 (higher is better)")
    right.set_ylabel("delta1")
    handles = [*axes.get_lines(), *right.get_lines()]
    axes.legend(handles, [str(h.get_label()) for h in handles])
    save(figure, folder / "scores.png", DPI)


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


def _column(lines: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([np.nan if line.get(key) is None else line[key] for line in lines], np.float64)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return a centered moving average over a fiftieth of the run that skips missing values."""
    width = max(1, len(values) // 50)
    kernel = np.ones(width)
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(float), kernel, mode="same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
