"""The files of an analysis: analysis.json, tables, plots and a page."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccd_cli.analyze.noise import SCHEMES
from ccd_cli.analyze.plots import plot_both_sides, plot_example, plot_figure2, plot_noise
from ccd_cli.analyze.results import Analysis, noise_table
from ccd_cli.core.files import atomic_write, plain, write_json, write_text
from ccd_cli.reports.html import render
from ccd_cli.reports.provenance import provenance

JSON, CSV, DRAWS, HTML = "analysis.json", "analysis.csv", "draws.csv", "analysis.html"
FITS = "figure2.csv"
PLOTS = ("noise.png", "both_sides.png", "example.png", "figure2.png")


def write_results(analysis: Analysis, out: Path, command: str, device: str) -> None:
    """Write all files into `out`; the data files say nothing about when and where.

    Files that only an earlier analysis wrote are removed, where there was one: others of the same names are not ours.
    """
    earlier = (out / JSON).is_file()
    write_json(out / JSON, analysis.document())
    tables = {CSV: analysis.noise(), DRAWS: [_draw(m) for m in analysis.measurements], FITS: analysis.fits}
    for name, rows in tables.items():
        if rows:
            write_csv(out / name, rows)
    plots = _plot(analysis, out)
    write_text(out / HTML, _page(analysis, plots, provenance(command, device)))
    for name in (*tables, *PLOTS) if earlier else ():
        if not tables.get(name) and name not in plots:
            (out / name).unlink(missing_ok=True)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows that share their keys, NaN empty."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain(list(rows)))


def _plot(analysis: Analysis, out: Path) -> dict[str, Path]:
    """Write the plots that there are measurements for; returns {file name: path}."""
    paths = {name: out / name for name in PLOTS}
    if analysis.measurements:
        plot_noise(analysis.noise(), paths["noise.png"])
        plot_both_sides(analysis.noise(), paths["both_sides.png"])
        plot_example(analysis.examples, analysis.example_name, paths["example.png"])
    if analysis.fits:
        plot_figure2(analysis.figure2(), analysis.fits, analysis.protocol["model"], paths["figure2.png"])
    return {
        name: path
        for name, path in paths.items()
        if (analysis.fits if name == "figure2.png" else analysis.measurements)
    }


def _page(analysis: Analysis, plots: Mapping[str, Path], origin: Mapping[str, str]) -> str:
    skipped = [f"{name}: {reason}" for name, reason in analysis.protocol["missing"].items()]
    skipped += [f"{e['dataset']}, {e['image']} ({e['stage']}): {e['reason']}" for e in analysis.skipped]
    rows = analysis.noise()
    return render(
        "analysis",
        title=f"Label noise and normalization: {analysis.protocol['suite']}",
        findings=analysis.findings(),
        skipped=skipped,
        noise=noise_table(rows),
        schemes=[scheme.name for scheme in SCHEMES],
        images=max((row["images"] for row in rows), default=0),
        plots=plots,
        fits=analysis.figure2(),
        fitted_images=[{key.replace("_", " "): value for key, value in fit.items()} for fit in analysis.fits],
        model=analysis.protocol["model"] and analysis.protocol["model"]["name"],
        protocol=analysis.protocol["in_words"],
        origin=origin,
    )


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
        "noisy_fraction": m.noisy_fraction,
    }
