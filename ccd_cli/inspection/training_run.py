"""What is in a run folder: its progress, its metrics and its plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import read_json_lines
from ccd_cli.distill.run_files import read_metrics, read_recipe, read_scores
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.reports.contact_sheet import Panel

PLOTS = ("loss", "scores", "drift", "samples")  # in this order, others after them
Tables = dict[str, list[dict[str, Any]]]


def statistics(folder: RunFolder) -> tuple[dict[str, Any], Tables]:
    """Return the progress of a run, and tables of its teachers, its best validation and its comparison with others, if any.

    Raises CcdError where a file is damaged: a finished run's are what `run.json` says, a running one's lines have every step.
    """
    if folder.finished and (damaged := folder.damaged()):
        raise CcdError(
            f"{', '.join(damaged)} of the finished run {folder.path}: damaged, changed or missing.",
            f"Make it again with: {folder.resume_command}",
        )
    recipe, lines = read_recipe(folder), _lines(folder)
    last = lines[-1] if lines else {}
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    speeds = [line["images_per_second"] for line in lines if line.get("images_per_second") is not None]
    run = {
        "state": "finished" if folder.finished else "unfinished",
        "step": last.get("step", 0),
        "steps": recipe["optim"]["steps"],
        "first loss": losses[0] if losses else None,
        "last loss": losses[-1] if losses else None,
        "drift": last.get("drift"),
        "images per second": float(np.median(speeds)) if speeds else None,
        "steps skipped": sum(1 for line in lines if line.get("skipped")),
        "images skipped": len(read_json_lines(folder.skipped)),
    }
    tables: Tables = {"Teachers": [dict(teacher) for teacher in recipe["teachers"]]}
    if folder.eval.exists():
        scores = read_scores(folder)
        if scores.get("best"):
            best = scores["best"]
            counts = {name: int(best[name]) for name in ("step", "images") if best.get(name) is not None}
            tables["Best validation"] = [{**best, **counts}]
        if scores.get("comparison"):
            tables["Comparison"] = scores["comparison"]
    return run, tables


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
    for path in sorted(folder.plots.glob("*.png"), key=lambda path: (order.get(path.stem, len(order)), path.stem)):
        try:
            with Image.open(path) as image:
                found[path] = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise CcdError(f"{path} cannot be read.", "Remove it and run again.") from error
    return found
