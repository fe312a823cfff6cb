"""What is in a folder of labels: statistics per teacher, and panels of some images, on a sheet and on a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import read_json_lines, write_text
from ccd_cli.core.parse import read_text
from ccd_cli.core.report import Report
from ccd_cli.data.crops import Region, crop_image
from ccd_cli.geometry.kinds import KINDS
from ccd_cli.inspection.found import Inspected, Row, Tables
from ccd_cli.labels.agreement import differences, disparities
from ccd_cli.labels.format import Filled
from ccd_cli.labels.sample import LabelSample
from ccd_cli.labels.shards import INDEX, ShardReader, is_quick_to_verify, read_index
from ccd_cli.media.colorize import DEFAULT, INVALID, color_table, colorize
from ccd_cli.reports.contact_sheet import Panel, panel_uri, sheet, write_sheet
from ccd_cli.reports.html import render

CONTACT, PAGE = "contact.png", "inspect.html"
MAX_DISAGREEMENT = 2.0  # MADs at the end of the color map
COLORS = "inferno"
QUANTILES = {"median": 0.5, "90th percentile": 0.9, "max": 1.0}


def inspect(folder: Path, target: Path, rows: int, report: Report) -> Inspected:
    """Write contact sheet and page of a folder of labels into `target`; `rows` images are shown, spread evenly.

    Raises CcdError for labels that are damaged, or without images.
    """
    reader = ShardReader(folder, verify=is_quick_to_verify(read_index(folder)))
    try:
        files = {"contact": target / CONTACT, "page": target / PAGE}
        found = Inspected(folder, "labels", *statistics(reader), files)
        count = reader.index.samples
        chosen = [i * count // min(rows, count) for i in range(min(rows, count))]
        report.begin("Drawing", len(chosen))
        panels, captions = [], []
        for done, number in enumerate(chosen, start=1):
            sample = reader.sample(number)
            panels.append(row(sample))
            captions.append(caption(sample))
            report.advance(done)
        report.end()
    finally:
        reader.close()
    if not panels:
        raise CcdError(f"{folder} holds no images: all were dropped.", "See quality.jsonl and the recipe's `drop`.")
    heads = titles(reader)
    write_sheet(files["contact"], sheet(panels, heads, captions))
    recipe = folder / "recipe.yaml"
    page = render(
        "labels",
        title=f"Labels: {reader.index.name}",
        index=reader.index,
        summary=found.lines(),
        tables=found.filled(),
        samples=[
            (text, list(zip(heads, map(panel_uri, drawn), strict=True)))
            for text, drawn in zip(captions, panels, strict=True)
        ],
        depth_colors=DEFAULT,
        disagreement_colors=COLORS,
        disagreement_shown=len(reader.index.teachers) > 1,
        max_disagreement=MAX_DISAGREEMENT,
        recipe=read_text(recipe) if recipe.is_file() else "",
    )
    write_text(files["page"], page)
    return found


def statistics(reader: ShardReader) -> tuple[dict[str, Any], Tables]:
    """Return a summary of the whole folder, and tables of its teachers and of the images with the largest disagreement.

    Raises CcdError for an index or `quality.jsonl` that lacks a part.
    """
    index = reader.index
    for about in index.teachers:
        if about.get("kind") not in KINDS or not all(isinstance(about.get(key), str) for key in ("teacher", "license")):
            place = reader.folder / INDEX
            raise CcdError(f"{place} does not tell name, kind and license of every teacher.", "Make the labels again.")
    sums: list[dict[str, float]] = [defaultdict(float) for _ in index.teachers]
    image_bytes = 0
    disagreements: list[tuple[float, str, str]] = []
    fills: list[Filled] = []
    for facts, sizes in reader.sidecars():
        image_bytes += sizes.get(facts.photo.file or "", 0)
        if facts.quality.disagreement is not None:
            disagreements.append((facts.quality.disagreement, facts.key, facts.photo.path))
        for total, labels in zip(sums, facts.labels, strict=True):
            for crop in labels.crops:
                total["labels"] += 1
                total["bytes"] += sizes[crop.file]
                total["valid"] += crop.valid
                total["saturated"] += crop.saturated
                total["flat"] += crop.flat
                fills += [] if crop.fill is None else [crop.fill]
    values = np.array([value for value, _, _ in disagreements])
    label_bytes = sum(total["bytes"] for total in sums)
    count = sum(total["labels"] for total in sums)
    summary = {
        "images": index.samples,
        "dropped": index.dropped,
        "skipped": index.skipped,
        "shards": len(index.shards),
        "total MB": sum(shard.bytes for shard in index.shards) / 1e6,
        "image MB": image_bytes / 1e6,
        "label MB": label_bytes / 1e6,
        "fraction of float16 size": label_bytes / (count * index.size**2 * 2) if count else None,
        **{f"disagreement {name}": _quantile(values, q) for name, q in QUANTILES.items()},
        **_of_filled(fills),
    }
    teachers = [
        {
            "teacher": about["teacher"],
            "kind": about["kind"],
            "license": about["license"],
            "labels": int(total["labels"]),
            **{key: total[key] / max(1.0, total["labels"]) for key in ("valid", "saturated", "flat")},
            "bytes per label": int(total["bytes"] / max(1.0, total["labels"])),
        }
        for about, total in zip(index.teachers, sums, strict=True)
    ]
    largest = [
        {"disagreement": d, "key": key, "image": path} for d, key, path in sorted(disagreements, reverse=True)[:5]
    ]
    quality = reader.folder / "quality.jsonl"
    try:
        dropped = [
            {"key": line["key"], "image": line["photo"], "reason": line["dropped"]}
            for line in read_json_lines(quality)
            if line["dropped"]
        ]
    except (KeyError, TypeError) as error:
        raise CcdError(f"{quality} is damaged.", "Make the labels again.") from error
    return summary, {"Teachers": teachers, "Largest disagreement": largest, "Dropped": dropped[:20]}


def _of_filled(fills: Sequence[Filled]) -> Row:
    """Return how the holes of ground truth were filled, over all crops; nothing where no network fills them."""
    if not fills:
        return {}
    errors = np.array([fill.error for fill in fills if fill.error is not None])
    return {
        "filled fraction": float(np.mean([fill.filled for fill in fills])),
        "crops not filled": sum(fill.refused for fill in fills),
        "fit error median": _quantile(errors, 0.5),
    }


def titles(reader: ShardReader) -> list[str]:
    """Return the titles of the sheet's columns."""
    names = [f"{about['teacher']} ({about['kind']})" for about in reader.index.teachers]
    return ["image", *names, *(["disagreement"] if len(names) > 1 else [])]


def row(sample: LabelSample) -> list[Panel]:
    """Return panels of a sample's first crop, uint8 [S, S, 3] each: image, every teacher's map (near = warm), disagreement."""
    facts = sample.facts
    region = Region(*facts.labels[0].crops[0].box)
    maps = [sample.label(i, 0) for i in range(len(facts.labels))]
    kinds = [labels.kind for labels in facts.labels]
    panels: list[Panel] = [np.asarray(crop_image(sample.photo(), region, facts.size))]
    panels += [colorize(_finite(values), valid, kind) for (values, valid), kind in zip(maps, kinds, strict=True)]
    if len(maps) > 1:
        known = [one for one in disparities([values[None] for values, _ in maps], kinds) if one is not None]
        pairs = [differences(a, b)[0] for a, b in combinations(known, 2)]
        spread = torch.stack(pairs).nanmean(0).numpy() if pairs else np.full((facts.size, facts.size), np.nan)
        levels = np.clip(np.nan_to_num(spread) / MAX_DISAGREEMENT * 255, 0, 255).astype(np.uint8)
        panel = color_table(COLORS)[levels]
        panel[~np.isfinite(spread)] = INVALID
        panels.append(panel)
    return panels


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a label with infinite depth, which has no color, as the farthest that float32 knows."""
    return np.where(np.isposinf(values), np.finfo(np.float32).max, values)


def caption(sample: LabelSample) -> str:
    """Return the caption of a row: key, path and disagreement."""
    disagreement = sample.facts.quality.disagreement
    return f"{sample.key} {sample.facts.photo.path}" + (
        "" if disagreement is None else f"  disagreement {disagreement:.3f}"
    )


def _quantile(values: NDArray[np.float64], q: float) -> float | None:
    return float(np.quantile(values, q)) if values.size else None
