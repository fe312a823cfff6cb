"""The files of an analysis: analysis.json, tables, plots and a page."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccd_cli.analyze.model_plots import plot_closeups, plot_figure2, plot_landing, plot_second
from ccd_cli.analyze.noise import SCHEMES
from ccd_cli.analyze.plots import plot_both_sides, plot_example, plot_noise
from ccd_cli.analyze.results import Analysis, noise_table
from ccd_cli.analyze.verdicts import TITLES, closeup_lines, landing_lines, second_lines, verdict_lines
from ccd_cli.core.files import atomic_write, plain, write_json, write_text
from ccd_cli.reports.html import render
from ccd_cli.reports.provenance import provenance

JSON, CSV, DRAWS, HTML = "analysis.json", "analysis.csv", "draws.csv", "analysis.html"
MODEL_TABLES = {"landing.csv": "landing", "closeups.csv": "closeups", "second.csv": "second", "figure2.csv": "figure 2"}
"""Tables of every image with a model, by question."""
PLOTS = ("noise.png", "both_sides.png", "example.png", "landing.png", "closeups.png", "second.png", "figure2.png")


def write_results(analysis: Analysis, out: Path, command: str, device: str) -> None:
    """Write all files into `out`; the data files say nothing about when and where.

    Files that only an earlier analysis wrote are removed, where there was one: others of the same names are not ours.
    """
    earlier = (out / JSON).is_file()
    write_json(out / JSON, analysis.document())
    tables = {CSV: analysis.noise(), DRAWS: [_draw(m) for m in analysis.measurements]}
    tables |= {name: analysis.models[question] for name, question in MODEL_TABLES.items()}
    for name, rows in tables.items():
        if rows:
            write_csv(out / name, rows)
    plots = _plot(analysis, out)
    write_text(out / HTML, _page(analysis, plots, provenance(command, device)))
    for name in (*tables, *PLOTS) if earlier else ():
        if not tables.get(name) and name not in plots:
            (out / name).unlink(missing_ok=True)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows, NaN and what a row does not have empty."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain(list(rows)))


def _plot(analysis: Analysis, out: Path) -> dict[str, Path]:
    """Write the plots that there are measurements for; returns {file name: path}."""
    made = {}
    answers, measured = analysis.answers, analysis.models
    if analysis.measurements:
        plot_noise(analysis.noise(), out / "noise.png")
        plot_both_sides(analysis.noise(), out / "both_sides.png")
        plot_example(analysis.examples, analysis.example_name, out / "example.png")
        made = {name: out / name for name in ("noise.png", "both_sides.png", "example.png")}
    if answers["landing"]:
        plot_landing(answers["landing"], made.setdefault("landing.png", out / "landing.png"))
    if answers["closeups"]:
        plot_closeups(answers["closeups"], measured["closeups"], made.setdefault("closeups.png", out / "closeups.png"))
    if answers["second"]:
        plot_second(answers["second"], measured["second"], made.setdefault("second.png", out / "second.png"))
    if measured["figure 2"]:
        plot_figure2(analysis.figure2(), measured["figure 2"], made.setdefault("figure2.png", out / "figure2.png"))
    return made


def _page(analysis: Analysis, plots: Mapping[str, Path], origin: Mapping[str, str]) -> str:
    skipped = [f"{name}: {reason}" for name, reason in analysis.protocol["missing"].items()]
    skipped += [f"{e['dataset']}, {e['image']} ({e['stage']}): {e['reason']}" for e in analysis.skipped]
    rows = analysis.noise()
    return render(
        "analysis",
        title=f"Label noise and normalization: {analysis.protocol['suite']}",
        findings=analysis.findings(),
        models=[model["name"] for model in analysis.protocol["models"]],
        questions=TITLES,
        verdicts=analysis.verdicts(),
        summary=verdict_lines(analysis.verdicts()),
        tables={
            "landing": landing_lines(analysis.answers["landing"]),
            "closeups": closeup_lines(analysis.answers["closeups"]),
            "second": second_lines(analysis.answers["second"]),
        },
        skipped=skipped,
        noise=noise_table(rows),
        schemes=[scheme.name for scheme in SCHEMES],
        images=max((row["images"] for row in rows), default=0),
        plots=plots,
        fits=analysis.figure2(),
        fitted_images=[{k.replace("_", " "): value for k, value in fit.items()} for fit in analysis.models["figure 2"]],
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
