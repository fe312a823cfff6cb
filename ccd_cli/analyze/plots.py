"""Plots of an analysis, for a talk: 16:9, large labels, colors that the color-blind tell apart and names beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ccd_cli.analyze.noise import SCHEMES, Example, Scheme
from ccd_cli.core.files import atomic_write
from ccd_cli.media.colorize import colorize

Row = dict[str, Any]

COLORS = {"global": "#D55E00", "hybrid": "#0072B2", "local": "#009E73", "none": "#595959"}
"""Okabe and Ito's palette."""
SHADES = {"range": 1.0, "quantile": 0.7, "grid": 0.45, None: 1.0}
NAMES = {"outliers": "outliers in {:g} %", "affine": "wrong affine in {:g} %", "blur": "edges blurred, {:g} %"}
SHOWN = (
    Scheme("global"),
    Scheme("hybrid", "range"),
    Scheme("local", "range"),
    Scheme("none"),
    Scheme("none", unit=True),
)
EXAMPLES = (("outliers", 0.2, "outliers, 20 %"), ("blur", 0.03, "edges blurred"), ("jitter", 20.0, "scale jitter"))
MOST_SETS = 6  # of which the bars of Figure 2 have room; of more, the mean over all images
FULL = 1.0  # MADs that get the end of the color map of losses
STYLE: dict[Any, Any] = {
    "font.size": 15,
    "axes.titlesize": 16,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.titlesize": 20,
    "figure.titleweight": "bold",
}


def plot_noise(rows: Sequence[Row], path: Path) -> None:
    """Write a panel for each corruption but jitter: the loss on clean pixels under every normalization."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(16, 9.5), sharey=True, sharex="col", layout="constrained")
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
            "none spreads nothing, but there every difference in scale between labels is loss: see both_sides.png",
            fontsize=14,
        )
        ratio = next((r["of_global"] for r in rows if (r["contexts"], r["amount"]) == ("range", 0.05)), float("nan"))
        verb = f"{ratio:.1f} of what" if np.isfinite(ratio) else "other than"
        figure.suptitle(
            f"Noise in a part of a label costs the pixels that are right:\nhybrid by range spreads {verb} global does"
            " (outliers in 5 %)"
        )
        _save(figure, path)


def plot_both_sides(rows: Sequence[Row], path: Path) -> None:
    """Write outliers beside scale jitter: no normalization is spared by both but the small contexts."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(16, 7.5), sharey=True, layout="constrained")
        titles = (
            "a fifth of the label is outliers:\nloss on the other pixels",
            "label scales differ up to 20 times:\nloss on all pixels",
        )
        for cell, case, title in zip(axes, (("outliers", 0.2), ("jitter", 20.0)), titles, strict=True):
            _bars(cell, [row for row in rows if (row["corruption"], row["amount"]) == case], title, SCHEMES)
            cell.set_xlabel("mean loss (MADs)")
        figure.suptitle("Without normalization nothing spreads, and every difference in scale is loss")
        _save(figure, path)


def plot_example(examples: Mapping[Any, Example], name: str, path: Path) -> None:
    """Write one image's corrupted labels and the loss of each pixel under five normalizations; spoiled pixels are gray."""
    with mpl.rc_context({**STYLE, "font.size": 13, "axes.titlesize": 14}):
        height, width = next(iter(examples.values())).label.shape
        size = (16, 1.0 + len(EXAMPLES) * (0.35 + 2.3 * height / width))
        figure, axes = plt.subplots(len(EXAMPLES), 1 + len(SHOWN), figsize=size, squeeze=False, layout="constrained")
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
            for cell, scheme in zip(line[1:], SHOWN, strict=True):
                loss = np.where(clean, made.losses[scheme], np.nan)
                cell.set_facecolor("#9a9a9a")
                painted = cell.imshow(np.ma.masked_invalid(loss), cmap="viridis", vmin=0, vmax=FULL)
                cell.set_xlabel(f"clean: {np.nanmean(loss):.3f}" if clean.any() else "all spoiled")
        axes[0, 0].set_title("label")
        for cell, scheme in zip(axes[0, 1:], SHOWN, strict=True):
            cell.set_title(_title(scheme))
        if painted is not None:
            bar = figure.colorbar(painted, ax=axes, shrink=0.9, extend="max", aspect=30, pad=0.015)
            bar.set_label("loss of a pixel (MADs); gray: spoiled or unknown")
        figure.suptitle("Where the loss falls when a label is wrong and the student is right")
        figure.supxlabel(_literal(name), fontsize=11, color="#595959")
        _save(figure, path)


def plot_figure2(rows: Sequence[Row], images: Sequence[Row], model: Mapping[str, Any], path: Path) -> None:
    """Write the paper's Figure 2: AbsRel of the central crop after both fits, for each image and as means."""
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(16, 8), layout="constrained")
        x, y = (np.maximum([row[f"{fit}_abs_rel"] for row in images], 1e-6) for fit in ("whole", "crop"))
        low, high = 0.8 * min(x.min(), y.min()), 1.25 * max(x.max(), y.max())
        left.fill_between([low, high], [low, high], low, color="#0072B2", alpha=0.08, linewidth=0)
        left.plot([low, high], [low, high], color="#595959", linewidth=1.2)
        left.scatter(x, y, s=90, color="#0072B2", edgecolor="white", zorder=3)
        left.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        left.set(xlabel="AbsRel, fit to the whole map", ylabel="AbsRel, fit to the crop", title="each image")
        left.text(0.96, 0.06, "the crop's own fit is better", transform=left.transAxes, ha="right", color="#00517f")
        for axis in (left.xaxis, left.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
            axis.set_minor_locator(NullLocator())
        shown = list(rows) if len(rows) <= MOST_SETS else list(rows[-1:])  # the last is the mean over all images
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
        right.legend(title="scale and shift fitted to", frameon=False, loc="upper center", ncols=2)
        last = rows[-1]
        better = "Locally fitted, the same map is better" if last["gain"] > 0 else "Here a local fit does not help"
        figure.suptitle(
            f"{better}: {_literal(model['name'])}, crop fit wins on {last['crop_better']} of {last['n']} images"
        )
        _save(figure, path)


def _bars(cell: Any, rows: Sequence[Row], title: str, schemes: Sequence[Scheme], shared: bool = False) -> None:
    """Horizontal bars of the loss on clean pixels with standard errors; `shared`: the x axis keeps what another needs."""
    by_name = {(r["normalization"], r["contexts"], r["unit_scale"]): r for r in rows}
    found = [by_name.get((s.normalization, s.contexts, s.unit)) for s in schemes]
    place = np.arange(len(schemes))
    values = np.array([np.nan if row is None else row["clean_loss"] for row in found])
    errors = np.nan_to_num([0.0 if row is None else row["std_error"] for row in found])
    colors = [(*mpl.colors.to_rgb(COLORS[s.normalization]), SHADES[s.contexts]) for s in schemes]
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


def _literal(text: str) -> str:
    """Text in which matplotlib sees no formulas, at a length that fits."""
    return (text if len(text) <= 90 else f"...{text[-87:]}").replace("$", r"\$")


def _title(scheme: Scheme) -> str:
    return scheme.name.replace(" ", ", ") + (" scale" if scheme.unit else "")


def _save(figure: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png", facecolor="white")
    plt.close(figure)
