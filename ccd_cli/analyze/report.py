"""The files of an analysis: analysis.json, tables, plots and a page."""

from __future__ import annotations

import csv
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ccd_cli
from ccd_cli.analyze.page import page
from ccd_cli.analyze.plots import plot_both_sides, plot_example, plot_figure2, plot_noise
from ccd_cli.analyze.results import Analysis
from ccd_cli.core.files import atomic_write, plain, write_json, write_text

JSON, CSV, DRAWS, HTML = "analysis.json", "analysis.csv", "draws.csv", "analysis.html"
FITS = "figure2.csv"
PLOTS = ("noise.png", "both_sides.png", "example.png", "figure2.png")


def write_results(analysis: Analysis, out: Path, command: str, device: str) -> None:
    """Write all files into `out`; the data files say nothing about when and where. Files of an earlier analysis go, where
    there was one: others of the same names are not ours.
    """
    earlier = (out / JSON).is_file()
    write_json(out / JSON, analysis.document())
    rows = analysis.noise()
    tables = {CSV: rows, DRAWS: [_draw(m) for m in analysis.measured], FITS: analysis.fits}
    for name, lines in tables.items():
        if lines:
            write_csv(out / name, lines)
    made = {}
    for name, picture in zip(
        PLOTS,
        (
            lambda path: plot_noise(rows, path),
            lambda path: plot_both_sides(rows, path),
            lambda path: plot_example(analysis.examples, analysis.example_name, path),
            lambda path: plot_figure2(analysis.figure2(), analysis.fits, analysis.protocol["model"], path),
        ),
        strict=True,
    ):
        if analysis.fits if name == PLOTS[3] else analysis.measured:
            picture(out / name)
            made[name] = out / name
    write_text(out / HTML, page(analysis, made, _surroundings(command, device)))
    for name in (*tables, *PLOTS) if earlier else ():
        if not tables.get(name) and name not in made:
            (out / name).unlink(missing_ok=True)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows that share their keys, NaN empty."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain(list(rows)))


def _draw(m: Any) -> dict[str, Any]:
    return {
        "dataset": m.dataset,
        "image": m.image,
        "draw": m.draw,
        "corruption": m.corruption,
        "amount": m.amount,
        "normalization": m.scheme.normalization,
        "contexts": m.scheme.contexts,
        "unit_scale": m.scheme.unit,
        "clean_loss": m.clean,
        "noisy_loss": m.noisy,
        "noisy_share": m.noisy_fraction,
    }


def _surroundings(command: str, device: str) -> dict[str, str]:
    return {
        "Command": command or "–",
        "ccd": ccd_cli.__version__,
        "Python": platform.python_version(),
        "Device": device,
        "Machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    }
