"""Tables and plots of paper_tables.py, from the results of finished runs alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
import matplotlib.pyplot as plt
from paper_rows import DIFFERENCES, NOTES, TABLES, TITLES

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.files import atomic_write, write_json, write_text

BEGIN, END = "<!-- {}:begin -->", "<!-- {}:end -->"
SCORES = ("abs_rel", "f1")


def write_report(
    tables: Sequence[str], seeds: int, out: Path, into: Path | None, recipe_of: Callable[[str], DistillRecipe]
) -> None:
    """Write RESULTS.md, results.json and a plot a table into `out`, and tables and plots into and beside `into`."""
    made, text = {}, {}
    for table in tables:
        rows = collect(table, seeds, out)
        file = out / table / "references.json"
        references = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        made[table] = {"rows": rows, "references": references}
        text[table] = markdown(table, rows, references, seeds, recipe_of(table))
        for folder in {out} | ({into.parent} if into else set()):
            plot(TITLES[table], rows, references, folder / f"tiny-{table}.png")
        print(text[table], flush=True)
    write_json(out / "results.json", made)
    write_text(out / "RESULTS.md", "\n".join(text.values()))
    if into is not None:
        write_text(into, replace(into.read_text(encoding="utf-8"), text))


def collect(table: str, seeds: int, out: Path) -> list[dict[str, Any]]:
    """Return one dict a row: its names, and what each finished seed left."""
    found = []
    for row in TABLES[table]:
        files = {seed: out / table / row.slug / f"seed{seed}.json" for seed in range(seeds)}
        runs = [
            {"seed": seed, **json.loads(file.read_text(encoding="utf-8"))}
            for seed, file in files.items()
            if file.exists()
        ]
        found.append({"group": row.group, "name": row.name, "paper": row.paper, "runs": runs, **_summary(runs)})
    return found


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    good = [run for run in runs if "stopped" not in run]
    summary: dict[str, Any] = {"seeds": len(good), "stopped": len(runs) - len(good)}
    for key in SCORES:
        values = [run[key] for run in good]
        summary[key] = statistics.mean(values) if values else None
        summary[f"{key}_std"] = statistics.stdev(values) if len(values) > 1 else None
    for key in ("cpu_per_step", "wall_per_step", "steps"):
        values = [run[key] for run in runs if run[key]]
        summary[key] = statistics.median(values) if values else None
    return summary


def markdown(
    table: str, rows: list[dict[str, Any]], references: list[dict[str, Any]], seeds: int, recipe: DistillRecipe
) -> str:
    """Return a table as Markdown, a line that tells the setting above it."""
    done, wanted = sum(len(row["runs"]) for row in rows), len(rows) * seeds
    crops, optim, scenes = recipe.crops, recipe.optim, recipe.images.scenes
    assert scenes is not None
    noise = ", ".join(
        f"{t.model}: "
        + (
            f"errors of {t.noise.errors_of} over {t.noise.errors_over:.0%}"
            if t.noise.errors_of
            else f"{t.noise.outliers:.0%} outliers, blur {t.noise.blur:g} px"
        )
        for t in recipe.teachers
        if t.model == GROUND_TRUTH
    )
    lines = [
        f"### {TITLES[table]}",
        "",
        f"{done} of {wanted} runs. {recipe.student.encoder or recipe.student.arch}, {crops.size} px, {optim.steps} steps of "
        f"{optim.batch}, {crops.patches} patches, {scenes.count} scenes of {scenes.height} x {scenes.width}, "
        f"{recipe.eval.scenes} held out; labels: {noise or ', '.join(t.model for t in recipe.teachers)}. Mean ± standard "
        f"deviation over seeds.{_weights(rows)}",
        *([NOTES[table]] if table in NOTES else []),
        "",
        "| row | AbsRel | boundary F1 | steps | s/step, cores | s/step, wall | seeds | paper, ETH3D DIODE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    group = ""
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            lines.append(f"| *{group}* | | | | | | | |")
        seeds_done = f"{row['seeds']}" + (f" ({row['stopped']} stopped)" if row["stopped"] else "")
        cells = [
            row["name"],
            *(_spread(row, key) for key in SCORES),
            _number(row["steps"], 0),
            _number(row["cpu_per_step"], 3),
            _number(row["wall_per_step"], 3),
            seeds_done,
            row["paper"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if references:
        lines.append("| *no training* | | | | | | | |")
    for row in references:
        lines.append(f"| {row['name']} | {_number(row['abs_rel'], 4)} | {_number(row['f1'], 4)} | | | | | |")
    return "\n".join([*lines, "", *_differences(table, rows)])


def _differences(table: str, rows: list[dict[str, Any]]) -> list[str]:
    """Return the comparisons decided beforehand: paired by seed, with intervals, and what they say."""
    if table not in DIFFERENCES:
        return []
    good = {
        (row["group"], row["name"]): {run["seed"]: run for run in row["runs"] if "stopped" not in run} for row in rows
    }
    lines = [
        "Differences, paired by seed: mean, 95 % bootstrap interval over seeds (10 000 resamples), each seed's.",
        "",
        "| claim | AbsRel, first minus second | boundary F1 | seeds | each seed, AbsRel | so |",
        "|---|---|---|---|---|---|",
    ]
    for each in DIFFERENCES[table]:
        first, second = good[each.a], good[each.b]
        pairs = [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
        if len(pairs) < 2:
            lines.append(f"| {each.claim} | | | {len(pairs)} | | too few runs |")
            continue
        found = {key: np.array([a[key] - b[key] for a, b in pairs]) for key in SCORES}
        low, high = interval(found["abs_rel"])
        verdict = "yes" if high < 0 else "no: the opposite" if low > 0 else "not shown"
        shown = [
            f"{values.mean():+.4f} ({interval(values)[0]:+.4f} to {interval(values)[1]:+.4f})"
            for values in found.values()
        ]
        seeds = " ".join(f"{value:+.4f}" for value in found["abs_rel"])
        lines.append(f"| {each.claim} | {shown[0]} | {shown[1]} | {len(pairs)} | {seeds} | {verdict} |")
    return [*lines, ""]


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean; the resamples are the same every time."""
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.quantile(drawn.mean(1), (0.025, 0.975))
    return float(low), float(high)


def _weights(rows: list[dict[str, Any]]) -> str:
    """Tell which weights the built-in models had, which are better from version to version."""
    used = sorted(
        {(name, digits) for row in rows for run in row["runs"] for name, digits in run.get("weights", {}).items()}
    )
    return f" Weights (sha256): {', '.join(f'{name} `{digits}`' for name, digits in used)}." if used else ""


def _spread(row: dict[str, Any], key: str) -> str:
    spread = f" ± {row[f'{key}_std']:.4f}" if row[f"{key}_std"] is not None else ""
    return f"{_number(row[key], 4)}{spread}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def plot(title: str, rows: list[dict[str, Any]], references: list[dict[str, Any]], file: Path) -> None:
    """Write a PNG: AbsRel and boundary F1 of every row, each seed a dot, mean and standard deviation a bar."""
    rows = [row for row in rows if row["seeds"]]
    figure, axes = plt.subplots(1, 2, figsize=(11, 1.2 + 0.32 * max(len(rows), 2)), sharey=True, layout="constrained")
    for axis, key, name in zip(
        axes, SCORES, ("AbsRel (lower is better)", "boundary F1 (higher is better)"), strict=True
    ):
        for place, row in enumerate(rows):
            color = f"C{sorted({r['group'] for r in rows}).index(row['group'])}"
            values = [run[key] for run in row["runs"] if "stopped" not in run]
            axis.plot(values, [place] * len(values), ".", color=color, alpha=0.5)
            axis.errorbar(row[key], place, xerr=row[f"{key}_std"] or 0, fmt="o", color=color, capsize=3)
        for one in references:
            if one["name"].startswith("teacher") and one[key] is not None:
                axis.axvline(one[key], color="gray", linestyle=":", linewidth=1)
        axis.set_xlabel(name)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(rows)), [f"{row['group']}: {row['name']}" for row in rows], fontsize=8)
    axes[0].invert_yaxis()
    figure.suptitle(title, fontsize=10)
    with atomic_write(file) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    plt.close(figure)


def replace(page: str, text: dict[str, str]) -> str:
    """Return a page with each table between its markers; raises ValueError where markers are missing."""
    for table, made in text.items():
        begin, end = BEGIN.format(table), END.format(table)
        if begin not in page or end not in page:
            raise ValueError(f"the page has no markers {begin} and {end}")
        before, after = page.split(begin)[0], page.split(end)[1]
        page = f"{before}{begin}\n{made}\n![{TITLES[table]}](tiny-{table}.png)\n{end}{after}"
    return page
