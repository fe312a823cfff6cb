"""`ccd inspect`: look into a folder of labels or a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import CcdError, RecipeError, UsageProblem
from ccd_cli.core.files import plain, write_text
from ccd_cli.core.report import Report
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.inspection import labels as inspect_labels
from ccd_cli.inspection import training_run as inspect_run
from ccd_cli.labels.shards import INDEX, ShardReader, is_quick_to_verify, read_index
from ccd_cli.media.colorize import DEFAULT
from ccd_cli.reports.contact_sheet import Panel, sheet, write_sheet
from ccd_cli.reports.html import render

Row = dict[str, Any]
CONTACT, PAGE = "contact.png", "inspect.html"
WIDTH = 900  # pixels of a run's contact sheet


@dataclass(frozen=True)
class Inspected:
    """What was found: `what` is "labels" or "run"; a summary of the whole; tables by title; files are written to `target`."""

    folder: Path
    what: str
    summary: Row
    tables: dict[str, list[Row]]
    target: Path

    @property
    def contact(self) -> Path:
        """Return the path of the contact sheet."""
        return self.target / CONTACT

    @property
    def page(self) -> Path:
        """Return the path of the page."""
        return self.target / PAGE

    def document(self) -> dict[str, Any]:
        """Return all of it as strict JSON values; names in lower case with underscores."""
        tables = {_key(title): [_keys(row) for row in rows] for title, rows in self.tables.items()}
        files = {"contact": str(self.contact), "page": str(self.page)}
        document: dict[str, Any] = plain(
            {"folder": str(self.folder), "what": self.what, "summary": _keys(self.summary), **tables, "files": files}
        )
        return document

    def shown(self) -> dict[str, list[Row]]:
        """Return the tables for eyes: the summary as one of names and values, then the others that have rows."""
        lines: list[Row] = [{"": name, "value": value} for name, value in self.lines()]
        return {self.what.capitalize(): lines, **self.filled()}

    def lines(self) -> list[tuple[str, str]]:
        """Return the summary as (name, value) for eyes."""
        return [(name, _text(value)) for name, value in self.summary.items()]

    def filled(self) -> dict[str, list[Row]]:
        """Return the tables that have rows; settings within a cell as text."""
        return {
            title: [{name: _flat(value) for name, value in row.items()} for row in rows]
            for title, rows in self.tables.items()
            if rows
        }


def run(folder: Path, out: Path | None, rows: int, report: Report) -> Inspected:
    """Write contact sheet and page for a folder of labels or a run, into `out` (default: the folder), and return them.

    `rows` images of a folder of labels are shown, spread evenly. Raises UsageProblem for a folder that is neither,
    CcdError for labels that are unfinished or damaged.
    """
    target = folder if out is None else out
    if (folder / INDEX).exists():
        return _labels(folder, target, rows, report)
    try:
        recipe = read_yaml(folder / "recipe.yaml")
    except RecipeError as error:
        raise UsageProblem(
            f"{folder} is neither a folder of labels nor a run.", "Give what ccd label or ccd distill wrote."
        ) from error
    if isinstance(recipe, dict) and recipe.get("task") == "label":
        raise CcdError(f"The labels in {folder} are not finished.", "Continue with: ccd label RECIPE")
    return _run(folder, target)


def _labels(folder: Path, target: Path, rows: int, report: Report) -> Inspected:
    reader = ShardReader(folder, verify=is_quick_to_verify(read_index(folder)))
    try:
        found = Inspected(folder, "labels", *inspect_labels.statistics(reader), target)
        count = reader.index.samples
        chosen = [i * count // min(rows, count) for i in range(min(rows, count))]
        report.begin("Drawing", len(chosen))
        panels, captions = [], []
        for done, number in enumerate(chosen, start=1):
            sample = reader.sample(number)
            panels.append(inspect_labels.row(sample))
            captions.append(inspect_labels.caption(sample))
            report.advance(done)
        report.end()
    finally:
        reader.close()
    if not panels:
        raise CcdError(f"{folder} holds no images: all were dropped.", "See quality.jsonl and the recipe's `drop`.")
    write_sheet(found.contact, sheet(panels, inspect_labels.titles(reader), captions))
    recipe = folder / "recipe.yaml"
    page = render(
        "labels",
        title=f"Labels: {reader.index.name}",
        index=reader.index,
        summary=found.lines(),
        tables=found.filled(),
        contact=found.contact,
        depth_colors=DEFAULT,
        disagreement_colors=inspect_labels.COLORS,
        max_disagreement=inspect_labels.MAX_DISAGREEMENT,
        recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
    )
    write_text(found.page, page)
    return found


def _run(folder: Path, target: Path) -> Inspected:
    files = RunFolder(folder)
    try:
        found = Inspected(folder, "run", *inspect_run.statistics(files), target)
    except (KeyError, TypeError) as error:
        raise CcdError(
            f"{files.recipe} is not the recipe of a run.", "Give a folder that ccd distill wrote."
        ) from error
    plots = inspect_run.plots(files)
    write_sheet(found.contact, _stacked(list(plots.values())))
    page = render(
        "run",
        title=f"Run: {folder.resolve().name}",
        summary=found.lines(),
        tables=found.filled(),
        plots=list(plots),
        finished=files.finished,
        text=(files.card if files.finished else files.recipe).read_text(encoding="utf-8"),
    )
    write_text(found.page, page)
    return found


def _stacked(plots: list[Panel]) -> Panel:
    """Return plots below each other at one width; a note in words where there are none yet."""
    if not plots:
        return sheet([[np.full((32, 192, 3), 240, np.uint8)]], ["no plots yet"], [""])
    scaled = [
        np.asarray(Image.fromarray(plot).resize((WIDTH, max(1, round(plot.shape[0] * WIDTH / plot.shape[1])))))
        for plot in plots
    ]
    return np.concatenate(scaled)


def _keys(row: Row) -> Row:
    return {_key(name): value for name, value in row.items()}


def _key(name: str) -> str:
    return name.lower().replace(" ", "_")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _flat(value: Any) -> Any:
    """A cell for eyes: of settings within it, those that are on."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items() if each) or None
    return value
