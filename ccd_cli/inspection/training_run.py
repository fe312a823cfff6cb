"""What is in a run folder: its progress, its scores and its plots."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import read_json_lines
from ccd_cli.distill.run_folder import RunFolder

Picture = NDArray[np.uint8]
Tables = dict[str, list[dict[str, Any]]]


def statistics(folder: RunFolder) -> tuple[dict[str, Any], Tables]:
    """Return where a run stands, and tables of its teachers, its scores and its comparison with others if there is one."""
    recipe = read_yaml(folder.recipe)
    lines = read_json_lines(folder.metrics)
    last = lines[-1] if lines else {}
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    run = {
        "state": "finished" if folder.finished else "unfinished",
        "step": last.get("step", 0),
        "steps": recipe["optim"]["steps"],
        "loss at first": losses[0] if losses else None,
        "loss at last": losses[-1] if losses else None,
        "drift": last.get("drift"),
        "images a second": float(np.median([line["images_per_second"] for line in lines])) if lines else None,
        "steps skipped": sum(1 for line in lines if line.get("skipped")),
        "photos skipped": len(read_json_lines(folder.skipped)),
    }
    tables: Tables = {"Teachers": [dict(teacher) for teacher in recipe["teachers"]]}
    if folder.eval.exists():
        try:
            scores = json.loads(folder.eval.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CcdError(f"{folder.eval} is damaged.", "Remove it, or run again.") from error
        if scores.get("best"):
            tables["Best scores"] = [scores["best"]]
        if scores.get("comparison"):
            tables["Beside others"] = scores["comparison"]
    return run, tables


def plots(folder: RunFolder) -> dict[str, Picture]:
    """Return the plots by name, uint8 RGB; raises CcdError for one that cannot be read."""
    found = {}
    for path in sorted(folder.plots.glob("*.png")):
        try:
            with Image.open(path) as image:
                found[path.stem] = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise CcdError(f"{path} cannot be read.", "Remove it and run again.") from error
    return found
