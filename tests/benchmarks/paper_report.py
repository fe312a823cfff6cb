"""Tables and plots of paper_tables.py, from the results of finished runs alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
import matplotlib.pyplot as plt
from paper_rows import DIFFERENCES, NOTES, TABLES, TITLES

from ccd_cli.analyze.estimate import student_t
from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.files import atomic_write, write_json, write_text

BEGIN, END = "<!-- {}:begin -->", "<!-- {}:end -->"
SCORES = {"abs_rel": "AbsRel", "delta1": "δ1", "f1": "boundary F1", "real": "AbsRel, real pairs"}
"""What a run is scored by; a column stands only where a run has it (`real`: students were scored on pairs)."""
COMPARED = ("abs_rel", "f1", "real")
"""Of these, what differences are shown of."""
FEWEST = 6
"""Seeds that a comparison needs for a verdict, as was decided beforehand."""
BETTER = {"abs_rel": "lower is better", "f1": "higher is better", "real": "lower is better"}


def write_report(
    tables: Sequence[str], seeds: int, out: Path, into: Path | None, recipe_of: Callable[[str], DistillRecipe]
) -> None:
    """Write RESULTS.md, results.json and a plot a table into `out`, and tables and plots into and beside `into`."""
    collected = {table: collect(table, seeds, out) for table in tables}
    empty = [table for table, rows in collected.items() if not any(row["runs"] for row in rows)]
    if into is not None and empty:
        raise UsageProblem(
            f"No run of {', '.join(empty)} lies in {out}: {into} stays as it is.",
            "Train it first, or name a --record of its runs.",
        )
    made, text, figures = {}, {}, {}
    for table, rows in collected.items():
        file = out / table / "references.json"
        references = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        made[table] = {"rows": rows, "references": references}
        compared = compare(table, rows)
        text[table] = markdown(table, rows, compared, references, seeds, recipe_of(table))
        compared = [each for each in compared if each.pairs > 1]
        figures[table] = f"![{TITLES[table]}](tiny-{table}.png)"
        if compared:
            figures[table] = f"![Differences: {TITLES[table]}](tiny-{table}-differences.png)\n\n{figures[table]}"
        for folder in {out} | ({into.parent} if into else set()):
            plot(TITLES[table], rows, references, folder / f"tiny-{table}.png")
            if compared:
                plot_differences(TITLES[table], compared, folder / f"tiny-{table}-differences.png")
        print(text[table], flush=True)
    write_json(out / "results.json", made)
    write_text(out / "RESULTS.md", "\n".join(text.values()))
    if into is not None:
        write_text(into, replace(into.read_text(encoding="utf-8"), text, figures))


def collect(table: str, seeds: int, out: Path) -> list[dict[str, Any]]:
    """Return one dict a row: its names, and what each finished seed left."""
    found = []
    for row in TABLES[table]:
        files = {seed: out / table / row.slug / f"seed{seed}.json" for seed in range(seeds)}
        runs = [
            {"seed": seed, **json.loads(file.read_text(encoding="utf-8")), **_real(file)}
            for seed, file in files.items()
            if file.exists()
        ]
        found.append({"group": row.group, "name": row.name, "paper": row.paper, "runs": runs, **_summary(runs)})
    return found


def _real(file: Path) -> dict[str, Any]:
    """The score of a run's student on real pairs, where it was asked for."""
    beside = file.with_name(f"pairs-{file.name}")
    return {"real": json.loads(beside.read_text(encoding="utf-8"))["abs_rel"]} if beside.exists() else {}


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    good = [run for run in runs if "stopped" not in run]
    summary: dict[str, Any] = {"seeds": len(good), "stopped": len(runs) - len(good)}
    for key in SCORES:
        values = [run[key] for run in good if run.get(key) is not None]
        summary[key] = statistics.mean(values) if values else None
        summary[f"{key}_std"] = statistics.stdev(values) if len(values) > 1 else None
    for key in ("cpu_per_step", "wall_per_step", "steps"):
        values = [run[key] for run in runs if run[key]]
        summary[key] = statistics.median(values) if values else None
    return summary


def markdown(
    table: str,
    rows: list[dict[str, Any]],
    compared: list[Compared],
    references: list[dict[str, Any]],
    seeds: int,
    recipe: DistillRecipe,
) -> str:
    """Return a table as Markdown, a line that tells the setting above it, its comparisons below."""
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
    shown = [key for key in SCORES if any(row[key] is not None for row in rows)] or ["abs_rel"]
    lines = [
        f"### {TITLES[table]}",
        "",
        f"{done} of {wanted} runs. {recipe.student.encoder or recipe.student.arch}, {crops.size} px, {optim.steps} steps of "
        f"{optim.batch}, {crops.patches} patches, {scenes.count} scenes of {scenes.height} x {scenes.width}, "
        f"{recipe.eval.scenes} held out; labels: {noise or ', '.join(t.model for t in recipe.teachers)}. Mean ± standard "
        f"deviation over seeds.{_weights(rows)}",
        *([NOTES[table]] if table in NOTES else []),
        "",
        f"| row | {' | '.join(SCORES[key] for key in shown)} | steps | s/step, cores | s/step, wall | seeds | paper, ETH3D DIODE |",
        "|---" * (len(shown) + 6) + "|",
    ]
    group, empty = "", " |" * (len(shown) + 5)
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            lines.append(f"| *{group}* |{empty}")
        seeds_done = f"{row['seeds']}" + (f" ({row['stopped']} stopped)" if row["stopped"] else "")
        cells = [
            row["name"],
            *(_spread(row, key) for key in shown),
            _number(row["steps"], 0),
            _number(row["cpu_per_step"], 3),
            _number(row["wall_per_step"], 3),
            seeds_done,
            row["paper"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if references:
        lines.append(f"| *no training* |{empty}")
    for row in references:
        cells = [row["name"], *(_number(row.get(key), 4) for key in shown)]
        lines.append(f"| {' | '.join(cells)} | | | | | |")
    return "\n".join([*lines, "", *_differences(compared, [key for key in COMPARED if key in shown])])


@dataclass(frozen=True)
class Compared:
    """A comparison that was decided beforehand, over the `pairs` seeds that both rows have: the differences, by score."""

    claim: str
    pairs: int
    found: dict[str, NDArray[np.float64]]


def compare(table: str, rows: list[dict[str, Any]]) -> list[Compared]:
    """Return the comparisons of a table, paired by seed."""
    good = {
        (row["group"], row["name"]): {run["seed"]: run for run in row["runs"] if "stopped" not in run} for row in rows
    }
    made = []
    for each in DIFFERENCES.get(table, []):
        first, second = good[each.a], good[each.b]
        pairs = [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
        keys = [key for key in COMPARED if pairs and all(run.get(key) is not None for pair in pairs for run in pair)]
        made.append(Compared(each.claim, len(pairs), {k: np.array([a[k] - b[k] for a, b in pairs]) for k in keys}))
    return made


def _differences(compared: list[Compared], shown: list[str]) -> list[str]:
    """Say what the comparisons say: means, intervals, each seed, a verdict by AbsRel."""
    if not compared:
        return []
    lines = [
        "Differences, the first minus the second, paired by seed: mean, 95 % percentile bootstrap interval (10 000 resamples), "
        "each seed's. Of six seeds such an interval excludes 0 in 15 of 100 comparisons without any difference; Student's t "
        "interval, beside it, in 5.",
        "",
        f"| claim | {' | '.join(SCORES[key] for key in shown)} | AbsRel, t interval | seeds | each seed, AbsRel | so |",
        "|---" * (len(shown) + 5) + "|",
    ]
    for each in compared:
        if each.pairs < FEWEST:
            lines.append(f"| {each.claim} |{' |' * (len(shown) + 1)} {each.pairs} | | too few runs |")
            continue
        low, high = interval(each.found["abs_rel"])
        verdict = "yes" if high < 0 else "no: the opposite" if low > 0 else "not shown"
        cells = [_with_interval(each.found[key]) if key in each.found else "" for key in shown]
        seeds = " ".join(f"{value:+.4f}" for value in each.found["abs_rel"])
        wide = "{:+.4f} to {:+.4f}".format(*t_interval(each.found["abs_rel"]))
        lines.append(f"| {each.claim} | {' | '.join(cells)} | {wide} | {each.pairs} | {seeds} | {verdict} |")
    return [*lines, ""]


def _with_interval(values: NDArray[np.float64]) -> str:
    low, high = interval(values)
    return f"{values.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean; the resamples are the same every time."""
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.quantile(drawn.mean(1), (0.025, 0.975))
    return float(low), float(high)


def t_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return Student's 95 % interval of a mean."""
    half = student_t(len(values) - 1) * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


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
    for axis, key in zip(axes, ("abs_rel", "f1"), strict=True):
        for place, row in enumerate(rows):
            color = f"C{sorted({r['group'] for r in rows}).index(row['group'])}"
            values = [run[key] for run in row["runs"] if "stopped" not in run]
            axis.plot(values, [place] * len(values), ".", color=color, alpha=0.5)
            axis.errorbar(row[key], place, xerr=row[f"{key}_std"] or 0, fmt="o", color=color, capsize=3)
        for one in references:
            if one["name"].startswith("teacher") and one[key] is not None:
                axis.axvline(one[key], color="gray", linestyle=":", linewidth=1)
        axis.set_xlabel(f"{SCORES[key]} ({BETTER[key]})")
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(rows)), [f"{row['group']}: {row['name']}" for row in rows], fontsize=8)
    axes[0].invert_yaxis()
    figure.suptitle(title, fontsize=10)
    with atomic_write(file) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    plt.close(figure)


def plot_differences(title: str, compared: list[Compared], file: Path) -> None:
    """Write a PNG: the paired differences in AbsRel of every comparison, each seed a dot, mean and 95 % interval a bar."""
    keys = [key for key in ("abs_rel", "real") if any(key in each.found for each in compared)]
    size = (4.5 + 4 * len(keys), 1.2 + 0.4 * max(len(compared), 2))
    figure, axes = plt.subplots(1, len(keys), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for axis, key in zip(axes[0], keys, strict=True):
        for place, each in enumerate(compared):
            if (values := each.found.get(key)) is not None:
                mean, (low, high) = values.mean(), interval(values)
                verdict = "tab:green" if high < 0 else "tab:red" if low > 0 else "gray"
                color = verdict if key == "abs_rel" else "tab:blue"  # the rule reads held-out scenes alone
                axis.plot(values, [place] * len(values), ".", color=color, alpha=0.5)
                axis.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", color=color, capsize=3)
        axis.axvline(0, color="black", linewidth=1)
        where = "held-out scenes (left of 0: the claim holds)" if key == "abs_rel" else "real pairs (no verdict)"
        axis.set_xlabel(f"difference in AbsRel, {where}", fontsize=8)
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].set_yticks(range(len(compared)), [each.claim for each in compared], fontsize=8)
    axes[0][0].invert_yaxis()
    figure.suptitle(title, fontsize=10)
    with atomic_write(file) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    plt.close(figure)


def markers(page: str, table: str) -> tuple[str, str]:
    """Return the markers of a table on a page; raises ValueError where one is missing."""
    begin, end = BEGIN.format(table), END.format(table)
    if begin not in page or end not in page:
        raise ValueError(f"the page has no markers {begin} and {end}")
    return begin, end


def replace(page: str, text: dict[str, str], figures: dict[str, str]) -> str:
    """Return a page with each table and its figures between its markers; raises ValueError where markers are missing."""
    for table, made in text.items():
        begin, end = markers(page, table)
        before, after = page.split(begin)[0], page.split(end)[1]
        page = f"{before}{begin}\n{made}\n{figures[table]}\n{end}{after}"
    return page
