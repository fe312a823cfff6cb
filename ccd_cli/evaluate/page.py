"""report.html: one page that needs nothing else. Every name in it is escaped, and a policy lets it fetch nothing."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ccd_cli.evaluate.figures import ERROR_COLORS, ERROR_MAX, PANELS, extremes
from ccd_cli.evaluate.published import Published
from ccd_cli.evaluate.results import Results, Scored
from ccd_cli.media.colorize import DEFAULT, color_table
from ccd_cli.metrics.depth import METRICS
from ccd_cli.reports.style import SCRIPT, STYLE
from ccd_cli.scoring.protocol import in_words
from ccd_cli.scoring.rows import HEADLINES, NOT_SCORES, Record, headline, mean_ranks

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
NO_PICTURES = "Its pictures were not kept: --overwrite draws them."
FITTED = {"metric": "after a shift", "scale": "after a scale", "affine": "after a scale and a shift"}
"""What points are aligned by, in the names of their scores and in words."""
NAMES = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel",
    "rmse": "RMSE",
    "rmse_log": "RMSE log",
    "silog": "SILog",
    "irmse": "iRMSE",
    "delta1": "δ1",
    "delta2": "δ2",
    "delta3": "δ3",
    "boundary_f1": "boundary F1",
    "moge_boundary_f1": "boundary F1 (MoGe)",
    "pair_accuracy": "pairs right",
    "tae": "TAE",
}
SHORT = {"abs_rel": "AbsRel", "delta1": "δ1", "pair_accuracy": "pairs right", "tae": "TAE"}
"""Headline scores."""
MEANING = {
    "abs_rel": "AbsRel: mean relative error, lower is better. δ1: share of pixels within 25 %, higher is better.",
    "pair_accuracy": "Pairs right: share of pairs whose closer point is predicted closer, higher is better; guessing gives 0.5.",
    "tae": "TAE: temporal alignment error, lower is better; 0 where the frames of a clip agree with each other.",
}
"""What scores mean, where a table holds them."""


def page(results: Results, references: Sequence[Published], surroundings: dict[str, str]) -> str:
    """Return the page as HTML."""
    suite = results.protocol["suite"]
    titles = {name: rules["title"] for name, rules in results.protocol["datasets"].items()}
    sets = list(dict.fromkeys(row["dataset"] for row in results.rows))
    parts = [
        f"<h1>Depth evaluation: {escape(str(suite))}</h1>",
        f"<p class=soft>{' '.join(text for key, text in MEANING.items() if _any(results, key))} "
        "The best of each column is marked.</p>",
        _overview(results, sets, titles),
        _left_out(results),
        "<h2>How it was scored</h2>",
        _list(in_words(results.protocol)),
        "<h2>All metrics</h2><p class=soft>Click a heading to sort.</p>",
        _all_metrics(results, titles),
        _points(results, titles),
        _published(references, sets, titles),
        _pictures(results, sets, titles),
        "<h2>Where this comes from</h2>",
        "<dl>"
        + "".join(f"<dt>{escape(k)}</dt><dd><code>{escape(v)}</code></dd>" for k, v in surroundings.items())
        + "</dl>",
        _models(results),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Depth evaluation: {escape(str(suite))}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<script>{SCRIPT}</script></body></html>\n"
    )


def _overview(results: Results, sets: list[str], titles: dict[str, str]) -> str:
    """A row for each model, two columns for each set."""
    ranks = mean_ranks(results.rows)
    cells = {(row["model"], row["dataset"]): row for row in results.rows}
    models = list(dict.fromkeys(row["model"] for row in results.rows))
    columns = [
        (name, key) for name in sets for key in headline([row for row in results.rows if row["dataset"] == name])
    ]
    best = {
        (name, key): max(
            (HEADLINES[key] * row[key] for row in results.rows if row["dataset"] == name and _finite(row.get(key))),
            default=math.nan,
        )
        for name, key in columns
    }
    wide = {name: sum(name == one for one, _ in columns) for name in sets}
    group = "".join(
        f"<th class=group colspan={max(1, wide[name])}>{escape(titles.get(name, name))}</th>" for name in sets
    )
    rank_head = "<th rowspan=2>mean rank</th>" if ranks else ""
    heads = "".join(
        "".join(f"<th>{SHORT[key]}</th>" for one, key in columns if one == name) or "<th>–</th>" for name in sets
    )
    head = f"<tr><th class=text rowspan=2>model</th>{group}{rank_head}</tr><tr>{heads}</tr>"
    lines = []
    for model in models:
        line = f"<td class=text>{escape(model)}</td>"
        for name in sets:
            row = cells.get((model, name), {})
            for key in [key for one, key in columns if one == name] or ["nothing"]:
                value = row.get(key, math.nan)
                mark = (
                    " class=best" if len(models) > 1 and HEADLINES.get(key, 1) * value == best.get((name, key)) else ""
                )
                line += f"<td{mark}>{_number(value)}</td>"
        lines.append(f"<tr>{line}{f'<td>{_number(ranks.get(model, math.nan), 2)}</td>' if ranks else ''}</tr>")
    return _table(head, lines)


def _any(results: Results, key: str) -> bool:
    return any(_finite(row.get(key)) for row in results.rows)


def _finite(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)


def _all_metrics(results: Results, titles: dict[str, str]) -> str:
    known = {*METRICS, *NOT_SCORES}
    extra = dict.fromkeys(
        key for row in results.rows for key in row if key not in known and not key.startswith("points_")
    )
    if not any(row.get("missing") for row in results.rows):
        extra.pop("missing", None)
    keys = [*(key for key in METRICS if _any(results, key)), *extra]
    text = ("model", "set", "alignment")
    heads = [f"<th class=text><button>{name}</button></th>" for name in text]
    heads += [f"<th><button>{escape(_name(key))}</button></th>" for key in ("images", *keys)]
    lines = []
    for row in results.rows:
        words = (row["model"], titles.get(row["dataset"], row["dataset"]), row["alignment"])
        line = "".join(f'<td class=text data-value="{escape(str(w))}">{escape(str(w))}</td>' for w in words)
        line += f'<td data-value="{row["n"]}">{row["n"]}</td>'
        line += "".join(f'<td data-value="{_raw(row.get(k))}">{_number(row.get(k, math.nan))}</td>' for k in keys)
        lines.append(f"<tr>{line}</tr>")
    return _table(f"<tr>{''.join(heads)}</tr>", lines, "sortable")


def _points(results: Results, titles: dict[str, str]) -> str:
    """The scores of points, which are many, in a table of their own."""
    rows = [row for row in results.rows if any(key.startswith("points_") for key in row)]
    if not rows:
        return ""
    group = "".join(f"<th class=group colspan=2>{words}</th>" for words in FITTED.values())
    head = f"<tr><th class=text rowspan=2>model</th><th class=text rowspan=2>set</th>{group}</tr>"
    head += f"<tr>{'<th>Rel</th><th>δ1</th>' * len(FITTED)}</tr>"
    lines = []
    for row in rows:
        line = "".join(
            f"<td class=text>{escape(w)}</td>" for w in (row["model"], titles.get(row["dataset"], row["dataset"]))
        )
        line += "".join(
            f"<td>{_number(row.get(f'points_{fit}_{score}', math.nan))}</td>"
            for fit in FITTED
            for score in ("rel", "delta1")
        )
        lines.append(f"<tr>{line}</tr>")
    return (
        "<h2>Points</h2><p class=soft>Rel: mean distance to the true point over the true point's distance from the camera, lower "
        f"is better. δ1: share of points within 25 %, higher is better.</p>{_table(head, lines)}"
    )


def _name(key: str) -> str:
    """A score's name for eyes; parts of the pair accuracy are named after what they are of."""
    part = key.removeprefix("pair_accuracy_")
    return part.replace("_", " ") if part != key else NAMES.get(key, key)


def _published(references: Sequence[Published], sets: list[str], titles: dict[str, str]) -> str:
    if not references:
        return ""
    made = [
        "<h2>Published numbers, for reference</h2><p class=soft>As printed. They can be compared where protocol and images "
        "are the same.</p>"
    ]
    for table in references:
        known = [name for name in sets if name in table.sets()]
        head = "<th class=text>method</th>" + "".join(f"<th>{escape(titles.get(name, name))}</th>" for name in known)
        lines = [
            f"<tr><td class=text>{escape(method)}</td>"
            + "".join(f"<td>{escape(' / '.join(cells.get(name, ('–', '–'))))}</td>" for name in known)
            + "</tr>"
            for method, cells in table.rows
        ]
        about = f"<p class=soft>{escape(table.scores)}. {escape(table.source)}. {escape(table.protocol)}</p>"
        made.append(
            f"<details><summary>{escape(table.title)}</summary>{about}{_table(f'<tr>{head}</tr>', lines)}</details>"
        )
    return "\n".join(made)


def _pictures(results: Results, sets: list[str], titles: dict[str, str]) -> str:
    pairs = " A ring marks the point that is closer, green pairs are predicted right, red ones wrong." * _any(
        results, "pair_accuracy"
    )
    made = [
        "<h2>Worst and best images</h2><p class=soft>By the first score of the set. Prediction (after alignment) and truth share "
        f"the truth's color range; gray is unknown or not scored.{pairs}</p>",
        f"<div class=bars><span>far<i style='{_gradient(DEFAULT)}'></i>near</span>"
        f"<span>error 0<i style='{_gradient(ERROR_COLORS)}'></i>{100 * ERROR_MAX:.0f} % and more</span></div>",
    ]
    for name in sets:
        made.append(f"<h3>{escape(titles.get(name, name))}</h3>")
        made += [_extremes(shown) for shown in results.shown if shown.dataset == name]
    return "\n".join(made)


def _extremes(shown: Scored) -> str:
    worst, best = extremes(shown.records)
    figures = [_figure(shown, record, "worst") for record in worst] + [
        _figure(shown, record, "best") for record in best
    ]
    found = "".join(figures) or "<p class=soft>Nothing was scored.</p>"
    return f"<details open><summary>{escape(shown.model)}</summary>{found}</details>"


def _figure(shown: Scored, record: Record, what: str) -> str:
    scores, images = record["scores"], []
    for panel in PANELS:
        path = shown.gallery.path(record["index"], panel)
        if path.is_file():
            data = base64.b64encode(path.read_bytes()).decode()
            images.append(
                f'<div><img loading=lazy alt="{panel}" src="data:image/jpeg;base64,{data}"><span>{panel}</span></div>'
            )
    strip = f"<div class=strip>{''.join(images)}</div>" if images else f"<p class=soft>{NO_PICTURES}</p>"
    if "pairs" in record:
        fit = f"{record['right']} of {record['pairs']}, {record['group'].replace('_', ' ')}"
    else:
        fit = f"scale {record['scale']:.4g}, shift {record['shift']:.4g}"
    about = ", ".join([*(f"{SHORT[key]} {_number(scores[key])}" for key in SHORT if key in scores), fit])
    return f"<figure>{strip}<figcaption><b>{what}</b> {escape(str(record['image']))}: {about}</figcaption></figure>"


def _left_out(results: Results) -> str:
    lines = [f"{name}: {reason}" for name, reason in results.protocol["missing"].items()]
    for entry in results.left_out:
        lines.append(f"{entry['model']}, {entry['dataset']}, {entry['image']}: {entry['reason']}")
    return f"<div class=warn><b>Not scored</b>{_list(lines)}</div>" if lines else ""


def _models(results: Results) -> str:
    facts = results.protocol["models"]
    lines = [f"{name}: " + ", ".join(f"{k} {v}" for k, v in about.items() if v) for name, about in facts.items()]
    return f"<h3>Models</h3>{_list(lines)}"


def _table(head: str, lines: Iterable[str], kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f"<div class=scroll><table{name}><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table></div>"


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _gradient(cmap: str) -> str:
    colors = (f"rgb({r},{g},{b})" for r, g, b in color_table(cmap)[::32].tolist())
    return f"background:linear-gradient(to right,{','.join(colors)})"


def _number(value: Any, digits: int = 4) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}f}" if isinstance(value, float | int) and math.isfinite(value) else "–"


def _raw(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float | int) else ""
