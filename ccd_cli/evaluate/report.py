"""The files of an evaluation: results.json, per_image.csv and report.html; and the scores as rows for a terminal."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from ccd_cli.benchmarks import is_custom_suite
from ccd_cli.core.files import atomic_write, write_json, write_text
from ccd_cli.evaluate.page import page
from ccd_cli.evaluate.published import Published, published
from ccd_cli.evaluate.results import Results
from ccd_cli.metrics.depth import METRICS
from ccd_cli.reports.html import number
from ccd_cli.reports.provenance import provenance
from ccd_cli.scoring.names import NAMES
from ccd_cli.scoring.rows import headline, mean_ranks

JSON, CSV, HTML = "results.json", "per_image.csv", "report.html"


def write_results(results: Results, out: Path, command: str, device: str) -> None:
    """Write the three files into `out`. The first two say nothing about when and where: the same scores are the same bytes."""
    write_json(out / JSON, results.document())
    _write_csv(out / CSV, results)
    write_text(out / HTML, page(results, references(results), provenance(command, device)))


def references(results: Results) -> list[Published]:
    """Return the published tables for the datasets that were scored; none for a suite of one's own, whatever its names."""
    if is_custom_suite(results.protocol["suite"]):
        return []
    return published([row["dataset"] for row in results.rows if row["n"]])


def summary(results: Results) -> list[dict[str, object]]:
    """Return a line for each model: its headline metrics on every dataset, and with several models their mean rank."""
    ranks = mean_ranks(results.rows)
    cells = {(row["model"], row["dataset"]): row for row in results.rows}
    sets = list(dict.fromkeys(row["dataset"] for row in results.rows))
    lines = []
    for model in dict.fromkeys(row["model"] for row in results.rows):
        line: dict[str, object] = {"model": model}
        for name in sets:
            row = cells.get((model, name))
            keys = headline([row for row in results.rows if row["dataset"] == name])
            line[_named(name, keys)] = (
                "–" if row is None else " / ".join(number(row.get(key, math.nan)) for key in keys) + _count(row)
            )
        if ranks:
            line["mean rank"] = f"{ranks[model]:.2f}" if model in ranks else "–"
        lines.append(line)
    return lines


def _named(name: str, keys: list[str]) -> str:
    """A dataset's heading: its name, and its metrics where they are not AbsRel and delta1."""
    return name if keys == ["abs_rel", "delta1"] else f"{name}: {' / '.join(NAMES[key] for key in keys) or 'nothing'}"


def _count(row: dict[str, Any]) -> str:
    return f" ({row['pairs']} pairs)" if "pairs" in row else f" ({row['n']})"


def published_lines(table: Published, sets: list[str]) -> list[dict[str, object]]:
    """Return a line for each method of a published table: its scores, as printed."""
    known = [name for name in sets if name in table.sets()]
    return [
        {"method": method, **{name: " / ".join(cells.get(name, ("–", "–"))) for name in known}}
        for method, cells in table.rows
    ]


def _write_csv(path: Path, results: Results) -> None:
    extra = [key for shown in results.shown for r in shown.records for key in r["scores"] if key not in METRICS]
    metrics = [*METRICS, *dict.fromkeys(extra)]
    records = [record for shown in results.shown for record in shown.records]
    facts = ["image", "pixels", "alignment", "scale", "shift"]
    facts += [key for key in ("group", "pairs") if any(key in record for record in records)]
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "dataset", *facts, *metrics])
        for shown in results.shown:
            for record in shown.records:
                values = [*(record.get(key, "") for key in facts), *(record["scores"].get(key, "") for key in metrics)]
                writer.writerow([shown.model, shown.dataset, *map(_plain, values)])


def _plain(value: Any) -> Any:
    """A value for a table; NaN stays empty."""
    return "" if isinstance(value, float) and not math.isfinite(value) else value
