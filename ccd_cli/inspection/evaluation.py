"""What is in the folder of an evaluation: its scores; its page was written with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError
from ccd_cli.core.parse import parse_json, read_text
from ccd_cli.inspection.found import Inspected

JSON, HTML = "results.json", "report.html"
_AGAIN = "Run ccd eval again with the same options: finished scores are in place."


def is_evaluation(folder: Path) -> bool:
    """Return whether `ccd eval` wrote into a folder."""
    return (folder / JSON).is_file() and b'"protocol"' in (folder / JSON).read_bytes()[:200]


def inspect(folder: Path) -> Inspected:
    """Return the scores of an evaluation and where its page is; raises CcdError where one of the two is missing or damaged."""
    try:
        document = parse_json(read_text(folder / JSON))
        protocol, rows = document["protocol"], document["results"]
        summary: dict[str, Any] = {
            "suite": protocol["suite"],
            "datasets": [rules["title"] for rules in protocol["datasets"].values()],
            "models": list(protocol["models"]),
            "images not scored": len(protocol["left_out"]),
            "datasets not found": list(protocol["missing"]) or None,
        }
        scores = [{key: value for key, value in row.items() if value is not None} for row in rows]
        names = dict.fromkeys(name for row in scores for name in row)
        tables = {"Scores": [{name: row.get(name) for name in names} for row in scores]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CcdError(f"{folder / JSON} is damaged.", _AGAIN) from error
    if not (folder / HTML).is_file():
        raise CcdError(f"{folder / HTML} is missing.", _AGAIN)
    return Inspected(folder, "evaluation", summary, tables, {"page": folder / HTML})
