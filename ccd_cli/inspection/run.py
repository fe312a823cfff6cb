"""`ccd inspect`: look into what ccd wrote, a folder by itself or several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import CcdError, RecipeError, UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.inspection import compare, evaluation, gallery, labels, training_run
from ccd_cli.inspection.found import Inspected
from ccd_cli.inspection.predictions import has_predictions
from ccd_cli.labels.shards import INDEX

COMPARED = Path("inspect-out")
"""Where the page of several runs goes by default: it belongs to none of them."""


def run(folders: Sequence[Path], out: Path | None, rows: int, report: Report) -> Inspected:
    """Write the page of a folder of labels, a run, or predictions into `out` (default: the folder), or of several runs, and
    return what it shows; an evaluation has its page.

    `rows` images of labels and predictions are on the contact sheet, spread evenly. Raises UsageProblem for a folder that is none
    of these and for several that are not all runs, CcdError for labels that are unfinished or damaged.
    """
    if len(folders) > 1:
        for folder in folders:
            if not _is_run(folder):
                raise UsageProblem(
                    f"{folder} is no run, and only runs are compared.", "Inspect folders of other things one by one."
                )
        return compare.inspect(folders, COMPARED if out is None else out)
    (folder,) = folders
    target = folder if out is None else out
    if (folder / INDEX).exists():
        return labels.inspect(folder, target, rows, report)
    if evaluation.is_evaluation(folder):
        return evaluation.inspect(folder)
    if _is_run(folder):
        return training_run.inspect(folder, target)
    if has_predictions(folder):
        return gallery.inspect(folder, target, rows, report)
    raise UsageProblem(
        f"{folder} holds neither labels nor a run, an evaluation or predictions.",
        "Give what ccd label, distill, eval or predict wrote.",
    )


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run's; raises CcdError where it is one of unfinished labels."""
    try:
        recipe = read_yaml(folder / "recipe.yaml")
    except RecipeError:
        return False
    if isinstance(recipe, dict) and recipe.get("task") == "label":
        command = f"ccd label {quote(str(folder / 'recipe.yaml'))} --out {quote(str(folder))}"
        raise CcdError(f"The labels in {folder} are not finished.", f"Continue with: {command}")
    return True
