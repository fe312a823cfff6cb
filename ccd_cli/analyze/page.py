"""analysis.html: one page that needs nothing else. Every name in it is escaped, and a policy lets it fetch nothing."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ccd_cli.analyze.noise import CASES, SCHEMES
from ccd_cli.analyze.results import Analysis, case_name
from ccd_cli.reports.style import STYLE

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_OWN = (
    "img { max-width: 100%; height: auto; border-radius: 8px; } "
    "td small { color: var(--soft); display: block; line-height: 1.1; }"
)
_CAPTIONS = {
    "noise.png": "Mean loss on clean pixels; whiskers are standard errors over images.",
    "both_sides.png": "Both sides of leaving out the normalization: it spreads no noise, and it cannot live with labels of "
    "different scales. Labels divided by their MAD (none, unit) have one scale, and spread noise through that MAD.",
    "example.png": "One image. Left the corrupted label; then where the loss falls. All colored pixels of the label are right "
    "(in the last row up to its scale), so a correct student should have no loss on them.",
    "figure2.png": "The paper's Figure 2: the central crop, scored after a fit to the whole map and after a fit to itself.",
}


def page(analysis: Analysis, pictures: Mapping[str, Path], surroundings: Mapping[str, str]) -> str:
    """Return the page as HTML; `pictures` by file name are put into it."""
    title = f"Label noise and normalization: {analysis.protocol['suite']}"
    rows, fits = analysis.noise(), analysis.figure2()
    parts = [
        f"<h1>{escape(title)}</h1>",
        "<p class=soft>The true map is a perfect student, a corrupted copy its label. Loss on pixels that the corruption did "
        "not touch was carried there by the normalization. Lower is better; nothing was trained.</p>",
        _list(analysis.findings()),
        _left_out(analysis),
        "<h2>Loss on clean pixels, in MADs</h2>" + _noise_table(rows) if rows else "",
        *(_picture(name, path) for name, path in pictures.items() if name != "figure2.png"),
        f"<h2>Figure 2: {escape(analysis.protocol['model']['name'])}</h2>" + _fit_table(fits) if fits else "",
        *(_picture(name, path) for name, path in pictures.items() if name == "figure2.png"),
        _images(analysis.fits) if fits else "",
        "<h2>How it was made</h2>",
        _list(analysis.protocol["in_words"]),
        "<h3>Formulas</h3><p>Global: N(d) = (d − median d) / mean |d − median d|, each map by its own; loss |N(student) − "
        "N(label)|. Hybrid: the same inside each of a pixel's contexts (the label cut into 1, 2 and 4 parts by range, by "
        "quantile, or into 1, 4 and 16 grid cells), the mean over them. Local: the finest parts alone. None: |student − "
        "label|.</p>",
        "<h2>Where this comes from</h2><dl>"
        + "".join(f"<dt>{escape(k)}</dt><dd><code>{escape(v)}</code></dd>" for k, v in surroundings.items())
        + "</dl>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{_OWN}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _noise_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each case; the smallest loss under noise, and all that break under jitter, are marked."""
    cells = {(r["corruption"], r["amount"], r["normalization"], r["contexts"], r["unit_scale"]): r for r in rows}
    head = "<tr><th class=text>corruption</th><th>pixels hit</th>"
    head += "".join(f"<th>{escape(s.name).replace(' ', '<br>')}</th>" for s in SCHEMES) + "</tr>"
    lines = []
    for kind, amount in CASES:
        mine = [cells.get((kind, amount, s.normalization, s.contexts, s.unit)) for s in SCHEMES]
        share = next((row["noisy_share"] for row in mine if row), math.nan)
        text = "".join("<td>–</td>" if row is None else f"<td>{_value(row)}</td>" for row in mine)
        hit = "none (scale)" if kind == "jitter" else f"{100 * share:.1f} %"
        lines.append(f"<tr><td class=text>{escape(case_name(kind, amount))}</td><td>{hit}</td>{text}</tr>")
    images = max(row["images"] for row in rows)
    note = f"<p class=soft>± standard error over {images} images; the pixels hit are a share of the valid ones.</p>"
    return _table(head, lines) + note


def _value(row: Mapping[str, Any]) -> str:
    error = row["std_error"]
    small = f" <small>±{error:.3f}</small>" if math.isfinite(error) and error >= 5e-4 else ""
    return f"{row['clean_loss']:.3f}{small}"


def _fit_table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "<tr><th class=text rowspan=2>set</th><th rowspan=2>images</th><th class=group colspan=2>AbsRel of the crop</th>"
        "<th class=group colspan=2>δ1 of the crop</th><th rowspan=2>gain in AbsRel</th><th rowspan=2>crop fit better</th>"
        "</tr><tr>" + "<th>whole fit</th><th>crop fit</th>" * 2 + "</tr>"
    )
    lines = []
    for row in rows:
        numbers = "".join(
            f"<td>{row[f'{fit}_{key}']:.4f}</td>" for key in ("abs_rel", "delta1") for fit in ("whole", "crop")
        )
        error = row["gain_std_error"]
        gain = f"{row['gain']:+.4f}" + (f" <small>±{error:.4f}</small>" if math.isfinite(error) else "")
        better = f"{row['crop_better']} of {row['n']}"
        lines.append(
            f"<tr><td class=text>{escape(row['dataset'])}</td><td>{row['n']}</td>{numbers}<td>{gain}</td><td>{better}</td></tr>"
        )
    return _table(head, lines)


def _images(fits: Sequence[Mapping[str, Any]]) -> str:
    keys = ("whole_abs_rel", "crop_abs_rel", "whole_delta1", "crop_delta1")
    head = "<tr><th class=text>set</th><th class=text>image</th>" + "".join(
        f"<th>{k.replace('_', ' ')}</th>" for k in keys
    )
    lines = [
        f"<tr><td class=text>{escape(row['dataset'])}</td><td class=text>{escape(row['image'])}</td>"
        + "".join(f"<td>{row[key]:.4f}</td>" for key in keys)
        + "</tr>"
        for row in fits
    ]
    return f"<details><summary>Each image</summary>{_table(head + '</tr>', lines)}</details>"


def _left_out(analysis: Analysis) -> str:
    lines = [f"{name}: {reason}" for name, reason in analysis.protocol["missing"].items()]
    lines += [f"{e['dataset']}, {e['image']} (of {e['of']}): {e['reason']}" for e in analysis.left_out]
    return f"<div class=warn><b>Left out</b>{_list(lines)}</div>" if lines else ""


def _picture(name: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    caption = escape(_CAPTIONS[name])
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _table(head: str, lines: Iterable[str]) -> str:
    return f"<div class=scroll><table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table></div>"


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"
