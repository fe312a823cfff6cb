"""Several runs side by side: the settings that differ, scores, curves on one axis, and sample grids."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.files import write_text
from ccd_cli.distill.plots import curves_figure, drifts, smooth
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.inspection.found import Inspected, Row
from ccd_cli.inspection.training_run import DRIFT, RunFacts, read_run, scored_words, statistics
from ccd_cli.reports.html import human, render
from ccd_cli.reports.plotting import inline
from ccd_cli.scoring.names import MEANING, NAMES
from ccd_cli.scoring.rows import HEADLINES

PAGE = "compare.html"
UNNAMED = {"name", "out"}
"""Settings that decide nothing."""
LOSS_DECIDES = ("loss", "teachers", "labels", "mixing", "crops")
"""Sections of a recipe whose difference makes losses another quantity."""
SCORES = ("abs_rel", "delta1", "rmse")

Curve = tuple[Sequence[float], np.ndarray]


def inspect(folders: Sequence[Path], target: Path) -> Inspected:
    """Write the page of several runs into `target`; raises UsageProblem for a run that comes twice, CcdError for a damaged one."""
    names = _names(folders)
    runs = {name: read_run(RunFolder(folder)) for name, folder in zip(names, folders, strict=True)}
    settings, alike = differences({name: run.recipe for name, run in runs.items()})
    comparable = len({repr(_scored_on(run)) for run in runs.values() if run.history}) <= 1
    scores = [_scores(name, run) for name, run in runs.items()]
    found = Inspected(
        folders[0].parent,
        "runs",
        {"runs": len(runs), "settings that differ": len(settings), "settings that are alike": alike},
        {"Settings": settings, "Scores": scores},
        {"page": target / PAGE},
    )
    page = render(
        "compare",
        title=f"Runs: {', '.join(names)}" if len(names) <= 4 else f"{len(names)} runs",
        runs=[(name, str(run.folder.path), run.folder.finished) for name, run in runs.items()],
        settings=[{key: human(value) for key, value in row.items()} for row in settings],
        alike=alike,
        scores=found.filled()["Scores"],
        best=_best(scores) if comparable else {},
        comparable=comparable,
        meanings=[*([MEANING["abs_rel"]] if any(run.history for run in runs.values()) else []), DRIFT],
        scored_on={name: run.scored_on() for name, run in runs.items() if run.history},
        curves=_curves(runs),
        samples=[(name, run.samples()) for name, run in runs.items()],
    )
    write_text(found.page, page)
    return found


def differences(recipes: dict[str, dict[str, Any]]) -> tuple[list[Row], int]:
    """Return a row for each setting that is not the same in all recipes (`setting` and its value in each), and how many are."""
    flat = {name: dict(_flat(recipe)) for name, recipe in recipes.items()}
    keys = [key for key in dict.fromkeys(key for each in flat.values() for key in each) if key not in UNNAMED]
    rows, alike = [], 0
    for key in keys:
        values = [each.get(key) for each in flat.values()]
        if all(value == values[0] for value in values):
            alike += 1
        else:
            rows.append({"setting": key, **dict(zip(flat, values, strict=True))})
    return rows, alike


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """The settings of a recipe by the paths of their keys; a list of sections is counted from 1."""
    if isinstance(value, dict) and value:
        return [each for key, inner in value.items() for each in _flat(inner, f"{path}.{key}" if path else key)]
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return [each for number, inner in enumerate(value, 1) for each in _flat(inner, f"{path}[{number}]")]
    return [(path, value)]


def _names(folders: Sequence[Path]) -> list[str]:
    """Short names of the runs: their folders', with as much of their paths as tells them apart."""
    paths = [folder.resolve() for folder in folders]
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise UsageProblem(f"{twice[0]} is given twice.", "Give different runs.")
    names, parts = [path.name for path in paths], 1
    while len(set(names)) < len(names):
        parts += 1
        names = ["/".join(path.parts[-parts:]) for path in paths]
    return names


def _scored_on(run: RunFacts) -> Any:
    """What decides whether scores can be compared: the images and the rules of scoring."""
    protocol = run.scores.get("protocol") or {}
    chosen = {key: protocol.get(key) for key in ("suite", "alignment", "limit", "datasets")}
    return chosen, run.history[-1].get("images")


def _scores(name: str, run: RunFacts) -> Row:
    """A line of the table of scores."""
    summary, _ = statistics(run)
    best = run.scores.get("best") or {}
    step = best.get("step")
    return {
        "run": name,
        "state": f"{summary['state']}, step {human(summary['step'])} of {human(summary['steps'])}",
        **{key: best.get(key) for key in SCORES},
        "best at step": None if step is None else int(step),
        "scored": scored_words(run).partition(";")[0] if best else None,
        "last loss": summary["last loss"],
        "drift": summary["drift"],
        "images per second": summary["images per second"],
    }


def _drift(run: RunFacts) -> Curve:
    return _of_steps(run, "drift") if run.lines and drifts(run.lines) else ([], np.array([]))


def _best(rows: list[Row]) -> dict[str, float]:
    """The best score of each column, by its name for eyes, where at least two runs have one."""
    found = {}
    for key in SCORES:
        values = [row[key] for row in rows if row[key] is not None and math.isfinite(row[key])]
        if len(values) > 1:
            found[key] = max(values) if HEADLINES.get(key, -1) > 0 else min(values)
    return {NAMES[key]: value for key, value in found.items()}


def _curves(runs: dict[str, RunFacts]) -> list[tuple[str, Markup]]:
    """(caption, drawing) of every curve that at least one run has, all runs on one axis."""
    sections = [repr({key: run.recipe.get(key) for key in LOSS_DECIDES}) for run in runs.values()]
    loss = "Loss, smoothed."
    if len(set(sections)) > 1:
        loss += " Its terms, weights, teachers or crops differ between the runs, so its values are not comparable; its course is."
    wanted: list[tuple[str, str, str, Callable[[RunFacts], Curve]]] = [
        (loss, "loss", "", lambda run: _of_steps(run, "loss")),
        ("AbsRel during training; lower is better.", "AbsRel", "o", lambda run: _of_scores(run, "abs_rel")),
        ("δ1 during training; higher is better.", "δ1", "o", lambda run: _of_scores(run, "delta1")),
        ("Drift, smoothed; 0 means the labels' scale.", "drift", "", _drift),
    ]
    drawn: list[tuple[str, Figure]] = []
    for caption, label, marker, take in wanted:
        taken = {name: take(run) for name, run in runs.items()}
        if found := {name: curve for name, curve in taken.items() if len(curve[0])}:
            drawn.append((caption, curves_figure(found, label, marker)))
    return [(caption, inline(figure)) for caption, figure in drawn]


def _of_steps(run: RunFacts, key: str) -> Curve:
    values = np.array([math.nan if line.get(key) is None else line[key] for line in run.lines], np.float64)
    return [line["step"] for line in run.lines], smooth(values)


def _of_scores(run: RunFacts, key: str) -> Curve:
    values = np.array([math.nan if each.get(key) is None else each[key] for each in run.history], np.float64)
    return [each["step"] for each in run.history], values
