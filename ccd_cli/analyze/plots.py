"""Plots of an analysis, for slides: 16:9, large labels, colors that the color-blind tell apart and names beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from ccd_cli.analyze.noise import BY_RANGE, SCHEMES, Example, Scheme
from ccd_cli.media.colorize import colorize
from ccd_cli.reports.plotting import literal, save, subplots

Row = dict[str, Any]

COLORS = {"global": "#D55E00", "hybrid": "#0072B2", "local": "#009E73", "none": "#595959"}
"""Okabe and Ito's palette."""
SHADES = {"range": 1.0, "quantile": 0.7, "grid": 0.45, None: 1.0}
NAMES = {"outliers": "outliers in {:g} %", "affine": "wrong affine in {:g} %", "blur": "blurred edges, {:g} %"}
EXAMPLES = (("outliers", 0.2, "outliers, 20 %"), ("blur", 0.03, "blurred edges"), ("jitter", 20.0, "scale jitter"))
MAX_LOSS = 1.0  # MADs at the end of the color map of losses
DPI = 100
STYLE: dict[Any, Any] = {
    "font.size": 15,
    "axes.titlesize": 16,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.titlesize": 20,
    "figure.titleweight": "bold",
}


def plot_noise(rows: Sequence[Row], path: Path) -> None:
    """Write a panel for each corruption but jitter: the loss on clean pixels with every normalization."""
    with mpl.rc_context(STYLE):
        figure, axes = subplots(2, 3, figsize=(16, 9.5), sharey=True, sharex="col", layout="constrained")
        schemes = [scheme for scheme in SCHEMES if not scheme.unit]  # several times the others: see plot_both_sides
        for column, kind in enumerate(NAMES):
            amounts = sorted({row["amount"] for row in rows if row["corruption"] == kind})
            for line, (cell, amount) in enumerate(zip(axes[: len(amounts), column], amounts, strict=True)):
                mine = [row for row in rows if row["corruption"] == kind and row["amount"] == amount]
                _bars(cell, mine, NAMES[kind].format(100 * amount), schemes, shared=line > 0)
            if not amounts:  # maps without boundaries have none to blur
                axes[0, column].set_title(f"{kind}: no image has any")
            axes[1, column].set_xlabel(f"loss on clean pixels (MADs){', enlarged' if kind == 'blur' else ''}")
        figure.supxlabel(
            "none carries no loss to clean pixels, but turns every difference in label scale into loss: see both_sides.png",
            fontsize=14,
        )
        ratio = next((r["of_global"] for r in rows if (r["contexts"], r["amount"]) == ("range", 0.05)), float("nan"))
        found = (
            f"\nWith outliers in 5 %, hybrid (range) has {ratio:.1f} times the loss of global"
            if np.isfinite(ratio)
            else ""
        )
        figure.suptitle(f"Label noise causes loss on clean pixels through normalization{found}")
        save(figure, path, DPI)


def plot_both_sides(rows: Sequence[Row], path: Path) -> None:
    """Write outliers beside scale jitter: without normalization the one costs nothing and the other everything."""
    with mpl.rc_context(STYLE):
        figure, axes = subplots(1, 2, figsize=(16, 7.5), sharey=True, layout="constrained")
        titles = (
            "outliers in 20 % of the label:\nloss on the clean pixels",
            "label scales differ by up to a factor of 20:\nloss on all pixels",
        )
        for cell, case, title in zip(axes, (("outliers", 0.2), ("jitter", 20.0)), titles, strict=True):
            _bars(cell, [row for row in rows if (row["corruption"], row["amount"]) == case], title, SCHEMES)
            cell.set_xlabel("mean loss (MADs)")
        figure.suptitle("Without normalization outliers stay local, but every difference in scale is loss")
        save(figure, path, DPI)


def plot_example(examples: Mapping[Any, Example], name: str, path: Path) -> None:
    """Write one image's corrupted labels and the loss of each pixel under five normalizations; corrupted pixels are gray."""
    with mpl.rc_context({**STYLE, "font.size": 13, "axes.titlesize": 14}):
        height, width = next(iter(examples.values())).label.shape
        size = (16, 1.0 + len(EXAMPLES) * (0.35 + 2.3 * height / width))
        figure, axes = subplots(len(EXAMPLES), 1 + len(BY_RANGE), figsize=size, squeeze=False, layout="constrained")
        painted = None
        for line, (kind, amount, title) in zip(axes, EXAMPLES, strict=True):
            for cell in line:
                cell.set(xticks=[], yticks=[])
                cell.spines[:].set_visible(False)
            line[0].set_ylabel(title, fontsize=15)
            made = examples.get((kind, amount))
            if made is None:
                continue
            line[0].imshow(colorize(made.label, made.mask, "disparity"))
            clean = made.mask & ~made.noisy
            for cell, scheme in zip(line[1:], BY_RANGE, strict=True):
                loss = np.where(clean, made.losses[scheme], np.nan)
                cell.set_facecolor("#9a9a9a")
                painted = cell.imshow(np.ma.masked_invalid(loss), cmap="viridis", vmin=0, vmax=MAX_LOSS)
                cell.set_xlabel(f"clean: {np.nanmean(loss):.3f}" if clean.any() else "all corrupted")
        axes[0, 0].set_title("label")
        for cell, scheme in zip(axes[0, 1:], BY_RANGE, strict=True):
            cell.set_title(_title(scheme))
        if painted is not None:
            bar = figure.colorbar(painted, ax=axes, shrink=0.9, extend="max", aspect=30, pad=0.015)
            bar.set_label("loss per pixel (MADs); gray: corrupted or unknown")
        figure.suptitle("Loss per pixel of a correct student under a corrupted label")
        figure.supxlabel(literal(name), fontsize=11, color="#595959")
        save(figure, path, DPI)


def _bars(cell: Any, rows: Sequence[Row], title: str, schemes: Sequence[Scheme], shared: bool = False) -> None:
    """Horizontal bars of the loss on clean pixels with standard errors; `shared`: the x axis keeps what another needs."""
    by_name = {(r["normalization"], r["contexts"], r["unit_scale"]): r for r in rows}
    found = [by_name.get((s.normalization, s.contexts, s.unit)) for s in schemes]
    place = np.arange(len(schemes))
    values = np.array([np.nan if row is None else row["clean_loss"] for row in found])
    errors = np.nan_to_num([0.0 if row is None else row["std_error"] for row in found])
    colors = [(*to_rgb(COLORS[s.normalization]), SHADES[s.contexts]) for s in schemes]
    cell.barh(place, values, xerr=errors, color=colors, error_kw={"ecolor": "black", "capsize": 3, "elinewidth": 1.3})
    for y, value, error in zip(place, values, errors, strict=True):
        text = "–" if np.isnan(value) else "0" if value < 5e-4 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
        cell.annotate(
            text, (np.nan_to_num(value) + error, y), (5, 0), textcoords="offset points", va="center", fontsize=13
        )
    cell.set_yticks(place, [_title(s) for s in schemes])
    cell.set_title(title)
    cell.margins(y=0.02)
    cell.xaxis.set_major_locator(MaxNLocator(5))
    reach = float(np.nanmax(values + errors, initial=0.0)) or 1.0
    cell.set_xlim(0, max(1.22 * reach, cell.get_xlim()[1] if shared else 0))
    if not cell.yaxis_inverted():
        cell.invert_yaxis()


def _title(scheme: Scheme) -> str:
    return scheme.name.replace(" ", ", ") + (" scale" if scheme.unit else "")
