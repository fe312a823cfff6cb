"""`ccd inspect`: look into a folder of labels or a run."""

from __future__ import annotations

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
from ccd_cli.inspection.page import page
from ccd_cli.labels.shards import INDEX, ShardReader
from ccd_cli.reports.contact_sheet import Picture, sheet, write_sheet

CONTACT, PAGE = "contact.png", "inspect.html"


@dataclass(frozen=True)
class Inspected:
    """What was found: `what` is "labels" or "run"; numbers of the whole; tables by title; the files that were written."""

    folder: Path
    what: str
    summary: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]]
    contact: Path
    page: Path

    def document(self) -> dict[str, Any]:
        """Return all of it as strict JSON values; names in lower case with underscores."""
        tables = {_key(title): rows for title, rows in self.tables.items()}
        summary = {_key(name): value for name, value in self.summary.items()}
        files = {"contact": str(self.contact), "page": str(self.page)}
        document: dict[str, Any] = plain(
            {"folder": str(self.folder), "what": self.what, "summary": summary, **tables, "files": files}
        )
        return document

    def shown(self) -> dict[str, list[dict[str, Any]]]:
        """Return the tables for eyes: the summary as one of names and values, then the others that have rows."""
        return shown(self.what, self.summary, self.tables)


def shown(
    what: str, summary: dict[str, Any], tables: dict[str, list[dict[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """Return the summary as a table of names and values, then the tables that have rows."""
    lines = [{"": name, "value": _rounded(value)} for name, value in summary.items()]
    return {what.capitalize(): lines, **{title: rows for title, rows in tables.items() if rows}}


def run(folder: Path, out: Path | None, rows: int, report: Report) -> Inspected:
    """Write contact sheet and page for a folder of labels or a run, into `out` (default: the folder), and return them.

    `rows` photos of a folder of labels are shown, spread evenly. Raises UsageProblem for a folder that is neither,
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
        raise CcdError(f"The labels in {folder} are not finished.", "Go on with: ccd label RECIPE")
    return _run(folder, target)


def _labels(folder: Path, target: Path, rows: int, report: Report) -> Inspected:
    reader = ShardReader(folder)
    try:
        summary, tables = inspect_labels.statistics(reader)
        count = reader.index.samples
        chosen = [i * count // min(rows, count) for i in range(min(rows, count))]
        report.begin("Drawing", len(chosen))
        pictures, captions = [], []
        for done, number in enumerate(chosen, start=1):
            sample = reader.sample(number)
            pictures.append(inspect_labels.row(sample))
            captions.append(inspect_labels.caption(sample))
            report.advance(done)
        report.end()
    finally:
        reader.close()
    if not pictures:
        raise CcdError(f"{folder} holds no photos: all were left out.", "See quality.jsonl and the recipe's `drop`.")
    made = sheet(pictures, inspect_labels.titles(reader), captions)
    about = [
        f"Labels of {reader.index.name}, {reader.index.size} pixels a side, {reader.index.crops} crops a photo and teacher.",
        f"License: {reader.index.license}, the strictest among the teachers. Near is warm, gray is unknown; disagreement runs "
        f"from 0 (black) to {inspect_labels.FULL:g} and more (yellow), in mean absolute deviations.",
        f"Made by ccd {reader.index.ccd}; recipe {reader.index.recipe_sha256[:16]}.",
    ]
    text = (folder / "recipe.yaml").read_text(encoding="utf-8") if (folder / "recipe.yaml").is_file() else ""
    return _written(folder, target, "labels", f"Labels: {reader.index.name}", about, summary, tables, made, text)


def _run(folder: Path, target: Path) -> Inspected:
    files = RunFolder(folder)
    try:
        summary, tables = inspect_run.statistics(files)
    except (KeyError, TypeError) as error:
        raise CcdError(
            f"{files.recipe} is not the recipe of a run.", "Give a folder that ccd distill wrote."
        ) from error
    found = inspect_run.plots(files)
    made = _stacked(list(found.values()))
    text = files.card.read_text(encoding="utf-8") if files.finished else files.recipe.read_text(encoding="utf-8")
    return _written(folder, target, "run", f"Run: {folder.resolve().name}", [], summary, tables, made, text)


def _stacked(pictures: list[Picture]) -> Picture:
    """Return pictures below each other at one width of 900 pixels; a note in words where there are none yet."""
    if not pictures:
        return sheet([[np.full((32, 192, 3), 240, np.uint8)]], ["no plots yet"], [""])
    width = 900
    small = [
        np.asarray(Image.fromarray(picture).resize((width, max(1, round(picture.shape[0] * width / picture.shape[1])))))
        for picture in pictures
    ]
    return np.concatenate(small)


def _written(
    folder: Path,
    target: Path,
    what: str,
    title: str,
    about: list[str],
    summary: dict[str, Any],
    tables: dict[str, list[dict[str, Any]]],
    picture: Picture,
    text: str,
) -> Inspected:
    contact, html = target / CONTACT, target / PAGE
    write_sheet(contact, picture)
    write_text(html, page(title, about, shown(what, summary, tables), contact, text))
    return Inspected(folder, what, summary, tables, contact, html)


def _key(name: str) -> str:
    return name.lower().replace(" %", "").replace(" ", "_")


def _rounded(value: Any) -> str | None:
    return f"{value:.4g}" if isinstance(value, float) else None if value is None else str(value)
