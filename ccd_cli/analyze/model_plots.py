"""Plots of what models say about images: the paper's Figure 2, and the three questions before a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ccd_cli.analyze.landing import AS_IS, GROSS, LABELS, THRESHOLDS
from ccd_cli.analyze.noise import BY_RANGE
from ccd_cli.analyze.plots import COLORS, DPI, STYLE
from ccd_cli.reports.plotting import literal, save, subplots

Row = dict[str, Any]

MAX_DATASETS = 6  # that the bars of Figure 2 have room for; of more, the mean over all images
MAX_MODELS = 3  # that panels have room for: of more, the first
DOTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#595959", "#E69F00")
"""Colors of models, Okabe and Ito's."""


def plot_landing(rows: Sequence[Row], path: Path) -> None:
    """Write which fraction of the loss lands on clean pixels: a panel for each label and model, bars by threshold."""
    models = list(dict.fromkeys(row["model"] for row in rows))[:MAX_MODELS]
    cells = {(r["model"], r["label"], r["threshold"], r["normalization"], r["unit_scale"]): r for r in rows}
    with mpl.rc_context(STYLE):
        size = (max(9.0, 7.5 * len(models)), 9.5)
        figure, axes = subplots(2, len(models), figsize=size, sharey=True, squeeze=False, layout="constrained")
        for line, label in zip(axes, LABELS, strict=True):
            for cell, model in zip(line, models, strict=True):
                for i, scheme in enumerate(BY_RANGE):
                    found = [cells.get((model, label, t, scheme.normalization, scheme.unit)) for t in THRESHOLDS]
                    height, errors = _heights(found, "loss_on_clean")
                    color, hatch = COLORS[scheme.normalization], "//" if scheme.unit else None
                    place = np.arange(len(THRESHOLDS)) + 0.17 * (i - 2)
                    name = scheme.name + (" scale" if scheme.unit else "")
                    bars = {"color": color, "hatch": hatch, "edgecolor": "white", "label": name}
                    cell.bar(place, height, 0.16, yerr=errors, error_kw={"elinewidth": 1.2, "capsize": 2}, **bars)
                cell.set_xticks(range(len(THRESHOLDS)), [f"over {100 * t:.0f} %" for t in THRESHOLDS])
                cell.set_title(f"{literal(model, 40)}\n{_LABELS[label]}", fontsize=14)
        for line in axes:
            line[0].set_ylabel("% of the loss on clean pixels")
        for cell in axes[1]:
            cell.set_xlabel("a pixel is wrong where its aligned error is")
        axes[0, 0].set_ylim(0, 105)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=13)
        figure.suptitle("Where the loss of a perfect student lands (lower is better)", fontsize=17)
        save(figure, path, DPI)


def plot_closeups(rows: Sequence[Row], images: Sequence[Row], path: Path) -> None:
    """Write AbsRel of patches cut from the whole photo's label and predicted alone: per image, and as means of three ways."""
    with mpl.rc_context(STYLE):
        figure, (left, right) = subplots(1, 2, figsize=(16, 8), layout="constrained")
        groups = []
        for row in rows[: len(DOTS)]:
            mine = [each for each in images if each["model"] == row["model"]]
            groups.append((row["model"], *([each[f"{w}_abs_rel"] for each in mine] for w in ("cut", "alone"))))
        _against(left, groups, "alone is better")
        left.set(xlabel="AbsRel, cut from the whole photo's label", ylabel="AbsRel, predicted alone", title="per image")
        shown = rows[: len(DOTS)]
        ways = (
            ("whole_fit", "cut, fit to the whole"),
            ("cut", "cut, fit to the patch"),
            ("alone", "alone, fit to the patch"),
        )
        for i, (way, name) in enumerate(ways):
            place = np.arange(len(shown)) + 0.27 * (i - 1)
            bars = right.bar(place, [row[f"{way}_abs_rel"] for row in shown], 0.26, color=_WAYS[i], label=name)
            right.bar_label(bars, [f"{row[f'{way}_abs_rel']:.3f}" for row in shown], padding=3, fontsize=12)
        right.set_xticks(range(len(shown)), [literal(row["model"], 24) for row in shown])
        right.set(ylabel="AbsRel of the patches", title="mean")
        right.margins(x=0.25 if len(shown) == 1 else 0.08, y=0.3)
        right.legend(frameon=False, loc="upper center", ncols=1)
        figure.suptitle("Do closer crops show more?")
        save(figure, path, DPI)


def plot_second(rows: Sequence[Row], images: Sequence[Row], path: Path) -> None:
    """Write how alike the errors of two models are on each image, and AbsRel of the better one and of the mean of both."""
    with mpl.rc_context(STYLE):
        figure, (left, right) = subplots(1, 2, figsize=(16, 8), layout="constrained")
        groups, most = [], 0
        for row, color in zip(rows[: len(DOTS)], DOTS[: len(rows)], strict=True):
            mine = [each for each in images if (each["model"], each["other"]) == (row["model"], row["other"])]
            values = [v for each in mine if (v := each["correlation"]) is not None and math.isfinite(v)]
            name = f"{row['model']}, {row['other']}"
            counts, _, _ = left.hist(values, np.linspace(-1, 1, 21), color=color, alpha=0.6, label=literal(name, 50))
            most = max(most, int(np.max(counts)))
            best = "first" if row["best"] == row["model"] else "second"
            groups.append((name, [each[f"{best}_abs_rel"] for each in mine], [each["mean_abs_rel"] for each in mine]))
        left.set(
            xlabel="correlation of the errors over an image's pixels", ylabel="images", ylim=(0, 1.25 * max(most, 1))
        )
        left.legend(frameon=False, loc="upper left", fontsize=12)
        _against(right, groups, "the mean of both is better", legend=False)
        right.set(xlabel="AbsRel, the better model", ylabel="AbsRel, the mean of both", title="per image")
        figure.suptitle("Is a second teacher worth it?")
        save(figure, path, DPI)


def plot_figure2(rows: Sequence[Row], images: Sequence[Row], path: Path) -> None:
    """Write the paper's Figure 2 of the first model: AbsRel of the central crop after both fits, per image and as means."""
    model = rows[0]["model"]
    rows, images = ([row for row in each if row["model"] == model] for each in (rows, images))
    with mpl.rc_context(STYLE):
        figure, (left, right) = subplots(1, 2, figsize=(16, 8), layout="constrained")
        x, y = ([row[f"{fit}_abs_rel"] for row in images] for fit in ("whole", "crop"))
        _against(left, [("", x, y)], "the crop fit is better")
        left.set(xlabel="AbsRel, fit to the whole map", ylabel="AbsRel, fit to the crop", title="per image")
        shown = list(rows) if len(rows) <= MAX_DATASETS else list(rows[-1:])  # the last is the mean over all images
        place, size = np.arange(len(shown)), 15 if len(shown) < 5 else 11
        for shift, fit, color, label in (
            (-0.2, "whole", "#D55E00", "whole map"),
            (0.2, "crop", "#0072B2", "crop only"),
        ):
            bars = right.bar(place + shift, [r[f"{fit}_abs_rel"] for r in shown], 0.38, color=color, label=label)
            right.bar_label(bars, [f"{r[f'{fit}_abs_rel']:.3f}" for r in shown], padding=3, fontsize=size)
        right.set_xticks(place, [f"{r['dataset'][:14]}\n{r['n']} images" for r in shown], fontsize=size)
        right.set(ylabel="AbsRel of the crop", title="mean")
        right.margins(x=0.25 if len(shown) == 1 else 0.05, y=0.3)
        right.legend(title="scale and shift fitted to the", frameon=False, loc="upper center", ncols=2)
        last = rows[-1]
        better = "A local fit is better" if last["gain"] > 0 else "A local fit does not help here"
        figure.suptitle(
            f"{better}: {literal(model)}, crop fit is better on {last['crop_better']} of {last['n']} images"
        )
        save(figure, path, DPI)


_LABELS = {AS_IS: "the model's map as it is", GROSS: "ground truth with the errors over the threshold alone"}
_WAYS = ("#D55E00", "#E69F00", "#0072B2")


def _heights(rows: Sequence[Mapping[str, Any] | None], name: str) -> tuple[Any, Any]:
    """Percents and the distances to the ends of their intervals, [2, rows]; NaN where there is no row, 0 without an interval."""
    nothing = {name: math.nan, f"{name}_low": math.nan, f"{name}_high": math.nan}
    mean, low, high = (100 * np.array([(row or nothing)[f"{name}{e}"] for row in rows]) for e in ("", "_low", "_high"))
    return mean, np.nan_to_num(np.stack([mean - low, high - mean]))


def _against(
    cell: Any, groups: Sequence[tuple[str, Sequence[float], Sequence[float]]], words: str, legend: bool = True
) -> None:
    """Scatter (name, x, y) of one positive score, logarithmic; below the diagonal, where y is smaller, stand `words`."""
    every = np.maximum(np.concatenate([np.concatenate(group[1:]) for group in groups]), 1e-6)
    low, high = 0.8 * every.min(), 1.25 * every.max()
    cell.fill_between([low, high], [low, high], low, color="#0072B2", alpha=0.08, linewidth=0)
    cell.plot([low, high], [low, high], color="#595959", linewidth=1.2)
    for (name, x, y), color in zip(groups[: len(DOTS)], DOTS[: len(groups)], strict=True):
        dots = {"s": 90, "color": color, "edgecolor": "white", "zorder": 3, "alpha": 1.0 if len(groups) == 1 else 0.8}
        cell.scatter(np.maximum(x, 1e-6), np.maximum(y, 1e-6), label=literal(name, 50), **dots)
    cell.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    cell.text(0.96, 0.06, words, transform=cell.transAxes, ha="right", color="#00517f")
    if legend and groups[0][0]:
        cell.legend(frameon=False, loc="upper left", fontsize=12)
    for axis in (cell.xaxis, cell.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axis.set_minor_locator(NullLocator())
