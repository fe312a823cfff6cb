"""What is in a folder of labels: statistics per teacher, and panels of some images."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.core.files import read_json_lines
from ccd_cli.data.crops import Region, crop_image
from ccd_cli.labels.agreement import differences, disparities
from ccd_cli.labels.sample import LabelSample
from ccd_cli.labels.shards import ShardReader
from ccd_cli.media.colorize import INVALID, color_table, colorize
from ccd_cli.reports.contact_sheet import Panel

Tables = dict[str, list[dict[str, Any]]]
MAX_DISAGREEMENT = 2.0  # MADs at the end of the color map
COLORS = "inferno"
QUANTILES = {"median": 0.5, "90th percentile": 0.9, "max": 1.0}


def statistics(reader: ShardReader) -> tuple[dict[str, Any], Tables]:
    """Return a summary of the whole folder, and tables of its teachers and of the images with the largest disagreement."""
    index = reader.index
    sums: list[dict[str, float]] = [defaultdict(float) for _ in index.teachers]
    image_bytes = 0
    disagreements: list[tuple[float, str, str]] = []
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
    dropped = [
        {"key": line["key"], "image": line["photo"], "reason": line["dropped"]}
        for line in read_json_lines(reader.folder / "quality.jsonl")
        if line["dropped"]
    ]
    return summary, {"Teachers": teachers, "Largest disagreement": largest, "Dropped": dropped[:20]}


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
