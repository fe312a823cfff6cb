"""What is in a run folder: its progress, its metrics and its plots, and its page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import read_json_lines, write_text
from ccd_cli.core.parse import read_text
from ccd_cli.distill.plots import completion_figure, drift_figure, drifts, loss_figure, scores_figure
from ccd_cli.distill.run_files import read_metrics, read_recipe, read_scores
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.inspection.found import Inspected, Tables
from ccd_cli.reports.contact_sheet import Panel, panel_uri, sheet, write_sheet
from ccd_cli.reports.html import human, render
from ccd_cli.reports.plotting import inline
from ccd_cli.scoring.names import MEANING

CONTACT, PAGE = "contact.png", "inspect.html"
PLOTS = ("loss", "scores", "drift", "samples")  # in this order, others after them
DRIFT = "Drift: log of the student's mean absolute deviation (MAD) over the labels'; 0 means the labels' scale."
WIDTH = 900  # pixels of a run's contact sheet
SAMPLES = 1600  # pixels of the longer side of a sample grid on a page


@dataclass(frozen=True)
class RunFacts:
    """What the files of a run say: its settings, the lines of its steps, its scores ({} before the first) and its samples."""

    folder: RunFolder
    recipe: dict[str, Any]
    lines: list[dict[str, Any]]
    scores: dict[str, Any]

    @property
    def history(self) -> list[dict[str, float]]:
        """Return every score during training."""
        return list(self.scores.get("history", []))

    def scored_on(self) -> list[str]:
        """Return sentences about what was scored and how; none without scores."""
        if not self.history:
            return []
        return [str(line) for line in self.scores["protocol"].get("in_words", [])]

    def samples(self) -> str | None:
        """Return the sample grid as an image inside a page; None where none is drawn yet."""
        path = self.folder.plots / "samples.png"
        return panel_uri(_read(path), SAMPLES) if path.is_file() else None


def read_run(folder: RunFolder) -> RunFacts:
    """Return what is in a run folder.

    Raises CcdError where a file is damaged: a finished run's are what `run.json` says, a running one's lines have every step.
    """
    if folder.finished and (damaged := folder.damaged()):
        raise CcdError(
            f"{', '.join(damaged)} of the finished run {folder.path}: damaged, changed or missing.",
            f"Make it again with: {folder.resume_command}",
        )
    recipe, lines = read_recipe(folder), _lines(folder)
    return RunFacts(folder, recipe, lines, read_scores(folder) if folder.eval.exists() else {})


def inspect(folder: Path, target: Path) -> Inspected:
    """Write contact sheet and page of a run into `target`; raises CcdError where it is damaged."""
    run = read_run(RunFolder(folder))
    found = Inspected(folder, "run", *statistics(run), {"contact": target / CONTACT, "page": target / PAGE})
    write_sheet(found.files["contact"], _stacked(list(plots(run.folder).values())))
    finished = run.folder.finished
    tables = found.filled()
    page = render(
        "run",
        title=f"Run: {folder.resolve().name}",
        summary=found.lines(),
        resume=None if finished else run.folder.resume_command,
        scored=scored_words(run) if run.scores.get("best") else "",
        meaning=MEANING["abs_rel"],
        scored_on=run.scored_on(),
        scores={name: tables.pop(name) for name in ("Comparison", "Best validation") if name in tables},
        tables=tables,
        curves=curves(run),
        samples=run.samples(),
        finished=finished,
        text=read_text(run.folder.card if finished else run.folder.recipe),
    )
    write_text(found.page, page)
    return found


def curves(run: RunFacts) -> list[tuple[str, Markup]]:
    """Return (caption, drawing) of the curves that a run has."""
    drawn = []
    if run.lines:
        drawn.append(
            ("Training loss and its terms before their weights: per step (thin) and smoothed.", loss_figure(run.lines))
        )
    if run.history:
        drawn.append((f"Scores during training, on {run.scores.get('pairs')}.", scores_figure(run.history)))
    if any("filled" in line for line in run.lines):
        drawn.append(("How the network that fills holes of ground truth fitted it.", completion_figure(run.lines)))
    if run.lines and drifts(run.lines):
        drawn.append((DRIFT, drift_figure(run.lines)))
    return [(caption, inline(figure)) for caption, figure in drawn]


def statistics(run: RunFacts) -> tuple[dict[str, Any], Tables]:
    """Return the progress of a run, and tables of its teachers, its best validation and its comparison with others, if any."""
    folder, recipe, lines, scores = run.folder, run.recipe, run.lines, run.scores
    last = lines[-1] if lines else {}
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    speeds = [line["images_per_second"] for line in lines if line.get("images_per_second") is not None]
    summary = {
        "state": "finished" if folder.finished else "unfinished",
        "step": last.get("step", 0),
        "steps": recipe["optim"]["steps"],
        "first loss": losses[0] if losses else None,
        "last loss": losses[-1] if losses else None,
        "drift": last.get("drift") if lines and drifts(lines) else None,
        "images per second": float(np.median(speeds)) if speeds else None,
        "steps skipped": sum(1 for line in lines if line.get("skipped")),
        "images skipped": len(read_json_lines(folder.skipped)),
    }
    tables: Tables = {"Teachers": [dict(teacher) for teacher in recipe["teachers"]]}
    if best := scores.get("best"):
        counts = {name: int(best[name]) for name in ("step", "images") if best.get(name) is not None}
        tables["Best validation"] = [{**best, **counts}]
    if scores.get("comparison"):
        tables["Comparison"] = scores["comparison"]
    return summary, tables


def scored_words(run: RunFacts) -> str:
    """Return what the scores of a run are of: "on generated scenes, 30 images; best at step 120"."""
    best = run.scores.get("best") or {}
    count = human(best.get("images"))
    return f"on {run.scores.get('pairs')}, {count} image{'' if count == '1' else 's'}; best at step {human(best.get('step'))}"


def _lines(folder: RunFolder) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, one for each step from 1; the last one may be cut off, as a kill leaves it."""
    content = folder.metrics.read_bytes() if folder.metrics.exists() else b""
    lines = read_metrics(folder)
    steps = [line.get("step") for line in lines]
    whole = content.count(b"\n") == len(lines) and steps == [*range(1, len(lines) + 1)]
    if not whole or (not lines and folder.state.exists()):
        raise CcdError(
            f"{folder.metrics} is damaged: not every step is in it.",
            "Resume the run: its saved state holds the lines.",
        )
    return lines


def plots(folder: RunFolder) -> dict[Path, Panel]:
    """Return the plots by path, uint8 RGB; raises CcdError for one that cannot be read."""
    found = {}
    order = {name: place for place, name in enumerate(PLOTS)}
    drawn = (path for path in folder.plots.glob("*.png") if not path.name.startswith("."))  # not what is being written
    for path in sorted(drawn, key=lambda path: (order.get(path.stem, len(order)), path.stem)):
        found[path] = _read(path)
    return found


def _read(path: Path) -> Panel:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise CcdError(f"{path} cannot be read.", "Remove it and run again.") from error


def _stacked(plots: list[Panel]) -> Panel:
    """Return plots below each other at one width; a note in words where there are none yet."""
    if not plots:
        return sheet([[np.full((32, 192, 3), 240, np.uint8)]], ["no plots yet"], [""])
    scaled = [
        np.asarray(Image.fromarray(plot).resize((WIDTH, max(1, round(plot.shape[0] * WIDTH / plot.shape[1])))))
        for plot in plots
    ]
    return np.concatenate(scaled)
