"""report.html: what the page of an evaluation shows; reports/templates/evaluation.html says how."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ccd_cli.evaluate.figures import ERROR_COLORS, ERROR_MAX, PANELS, extremes
from ccd_cli.evaluate.published import Published
from ccd_cli.evaluate.results import Results, Scored
from ccd_cli.media.colorize import DEFAULT
from ccd_cli.metrics.depth import METRICS
from ccd_cli.reports.html import human, number, render
from ccd_cli.scoring.names import MEANING, NAMES, display_name
from ccd_cli.scoring.protocol import in_words
from ccd_cli.scoring.rows import HEADLINES, NOT_SCORES, Record, headline, mean_ranks

FITS = {"metric": "after a shift", "scale": "after a scale", "affine": "after a scale and a shift"}
"""What points are aligned by, in the names of their metrics and in words."""


def page(results: Results, references: Sequence[Published], origin: dict[str, str]) -> str:
    """Return the page as HTML; `references` are the published tables beside it, `origin` where and when it was made."""
    columns = _columns(results)
    titles = {name: rules["title"] for name, rules in results.protocol["datasets"].items()}
    ranks = mean_ranks(results.rows)
    return render(
        "evaluation",
        title=f"Depth evaluation: {results.protocol['suite']}",
        meanings=[text for key, text in MEANING.items() if _has(results, key)],
        compared=len({row["model"] for row in results.rows if row["n"]}) > 1,
        sets=[
            {
                "name": name,
                "title": titles[name],
                "heads": [NAMES[key] for key in keys] or ["–"],
                "galleries": [
                    (shown.model, list(_figures(shown)))
                    for shown in results.shown
                    if shown.dataset == name and shown.records  # else every image failed
                ],
            }
            for name, keys in columns.items()
        ],
        ranked=bool(ranks),
        overview=_overview(results, columns, ranks),
        skipped=_skipped(results),
        protocol=in_words(results.protocol),
        metrics={key: display_name(key) for key in _metrics(results)},
        rows=results.rows,
        titles=titles,
        points=[row for row in results.rows if any(key.startswith("points_") for key in row)],
        fits=FITS,
        references=references,
        pairs=_has(results, "pair_accuracy"),
        maps=_has(results, "abs_rel"),
        depth_colors=DEFAULT,
        error_colors=ERROR_COLORS,
        error_max=ERROR_MAX,
        origin=origin,
        models=[
            f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {human(value)}" for key, value in facts.items() if value)
            for name, facts in results.protocol["models"].items()
        ],
    )


def _columns(results: Results) -> dict[str, list[str]]:
    """The headline metrics of each dataset, by its name."""
    sets = dict.fromkeys(row["dataset"] for row in results.rows)
    return {name: headline([row for row in results.rows if row["dataset"] == name]) for name in sets}


def _overview(results: Results, columns: dict[str, list[str]], ranks: dict[str, float]) -> list[dict[str, Any]]:
    """A line for each model: its headline metrics of every dataset with whether they are the best, and its mean rank."""
    scores = {(row["model"], row["dataset"]): row for row in results.rows}
    models = list(dict.fromkeys(row["model"] for row in results.rows))
    cells: dict[str, list[tuple[float, bool]]] = {model: [] for model in models}
    for name, keys in columns.items():
        for key in keys or [""]:
            sign = HEADLINES.get(key, 1)
            values = {model: scores.get((model, name), {}).get(key, math.nan) for model in models}
            best = max((sign * value for value in values.values() if math.isfinite(value)), default=math.nan)
            for model, value in values.items():
                cells[model].append((value, len(models) > 1 and sign * value == best))
    return [{"model": model, "cells": cells[model], "rank": ranks.get(model, math.nan)} for model in models]


def _metrics(results: Results) -> list[str]:
    """The metrics of the table, standard ones first; those of points stand in a table of their own."""
    known = {*METRICS, *NOT_SCORES}
    extra = dict.fromkeys(
        key for row in results.rows for key in row if key not in known and not key.startswith("points_")
    )
    if not any(row.get("missing") for row in results.rows):
        extra.pop("missing", None)
    return [*(key for key in METRICS if _has(results, key)), *extra]


def _has(results: Results, key: str) -> bool:
    return any(math.isfinite(row.get(key, math.nan)) for row in results.rows)


def _figures(shown: Scored) -> Iterator[dict[str, Any]]:
    """The worst and best images of a model on a dataset."""
    for rank, records in zip(("worst", "best"), extremes(shown.records), strict=True):
        for record in records:
            paths = {name: shown.gallery.path(record["index"], name) for name in PANELS}
            yield {
                "rank": rank,
                "name": str(record["image"]),
                "about": _about(record),
                "panels": [(name.replace("-", " "), path) for name, path in paths.items() if path.is_file()],
            }


def _about(record: Record) -> str:
    scores = [f"{NAMES[key]} {number(record['scores'][key])}" for key in HEADLINES if key in record["scores"]]
    if "pairs" in record:
        fit = f"{record['right']} of {record['pairs']}, {record['group'].replace('_', ' ')}"
    else:
        fit = f"scale {human(record['scale'])}, shift {human(record['shift'])}"
    return ", ".join([*scores, fit])


def _skipped(results: Results) -> list[str]:
    return [
        *(f"{name}: {reason}" for name, reason in results.protocol["missing"].items()),
        *(f"{e['model']}, {e['dataset']}, {e['image']}: {e['reason']}" for e in results.left_out),
    ]
