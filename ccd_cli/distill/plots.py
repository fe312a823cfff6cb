"""Figures of a run: loss curves, drift and the sample grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ccd_cli.core.files import atomic_write

TERMS = ("loss", "shared", "local_global", "gradient", "feature", "anchor")


def plot_metrics(lines: list[dict[str, Any]], folder: Path) -> None:
    """Write `loss.png` and `drift.png` for the lines of `metrics.jsonl`."""
    steps = np.array([line["step"] for line in lines])
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for term in TERMS:
        values = _column(lines, term)
        if np.isfinite(values).any():
            color = axes.plot(steps, values, linewidth=0.5, alpha=0.3)[0].get_color()
            axes.plot(steps, _smooth(values), color=color, linewidth=2 if term == "loss" else 1.2, label=term)
    axes.set(xlabel="step", ylabel="loss (terms before their weights)", title="Distillation loss")
    axes.legend()
    _save(figure, folder / "loss.png")
    figure, axes = plt.subplots(figsize=(8, 4.5))
    drift = _column(lines, "drift")
    for teacher in sorted({str(line["teacher"]) for line in lines}):
        chosen = np.array([str(line["teacher"]) == teacher for line in lines])
        axes.plot(steps[chosen], drift[chosen], ".", markersize=3, label=teacher)
    axes.plot(steps, _smooth(drift), color="black", linewidth=1.5, label="smoothed")
    axes.axhline(0.0, color="gray", linewidth=0.8)
    axes.set(xlabel="step", ylabel="log(student MAD / label MAD)", title="Drift: 0 means the labels' unit scale")
    axes.legend()
    _save(figure, folder / "drift.png")


def plot_scores(history: list[dict[str, float]], folder: Path) -> None:
    """Write `scores.png`: AbsRel and delta1 of every evaluation; `history` holds step, abs_rel and delta1."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    steps = [h["step"] for h in history]
    axes.plot(steps, [h["abs_rel"] for h in history], "o-", color="tab:red", label="AbsRel (lower is better)")
    axes.set(xlabel="step", ylabel="AbsRel", title="Scores on the validation set")
    right = axes.twinx()
    right.plot(steps, [h["delta1"] for h in history], "s--", color="tab:blue", label="delta1 (higher is better)")
    right.set_ylabel("delta1")
    handles = [*axes.get_lines(), *right.get_lines()]
    axes.legend(handles, [str(h.get_label()) for h in handles])
    _save(figure, folder / "scores.png")


def plot_samples(photos: np.ndarray, columns: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Write the sample grid and return it as uint8 RGB (H, W, 3).

    photos uint8 [N,S,S,3]; columns: title -> disparity [N,S,S], each map colored over its own 2 % to 98 % (near = warm).
    """
    rows, titles = len(photos), ["photo", *columns]
    figure, axes = plt.subplots(rows, len(titles), figsize=(2.4 * len(titles), 2.4 * rows + 0.4), squeeze=False)
    for r in range(rows):
        images = [photos[r], *(color(maps[r]) for maps in columns.values())]
        for cell, image, title in zip(axes[r], images, titles, strict=True):
            cell.imshow(image)
            cell.axis("off")
            if r == 0:
                cell.set_title(title, fontsize=8)
    figure.tight_layout()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    _save(figure, path)
    return pixels


def color(disparity: np.ndarray) -> np.ndarray:
    """Return uint8 RGB (H, W, 3) for a disparity map (H, W), near = warm; invalid pixels are gray."""
    valid = np.isfinite(disparity)
    low, high = np.percentile(disparity[valid], [2, 98]) if valid.any() else (0.0, 1.0)
    scaled = np.clip((np.where(valid, disparity, low) - low) / max(high - low, 1e-12), 0, 1)
    painted = (mpl.colormaps["inferno"](scaled)[..., :3] * 255).astype(np.uint8)
    painted[~valid] = 128
    return painted


def _column(lines: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([np.nan if line.get(key) is None else line[key] for line in lines], np.float64)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return a centered running mean over a fiftieth of the run without missing values."""
    width = max(1, len(values) // 50)
    kernel = np.ones(width)
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(float), kernel, mode="same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _save(figure: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    plt.close(figure)
