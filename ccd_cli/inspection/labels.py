"""What is in a folder of labels: numbers for each teacher, and pictures of some photos."""

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
from ccd_cli.labels.shards import LabelSample, ShardReader
from ccd_cli.media.colorize import INVALID, color_table, colorize

Picture = NDArray[np.uint8]
Tables = dict[str, list[dict[str, Any]]]
FULL = 2.0  # disagreement at which the color map ends


def statistics(reader: ShardReader) -> tuple[dict[str, Any], Tables]:
    """Return numbers of the whole folder, and tables of its teachers and of the photos with the least agreement."""
    index = reader.index
    sums: list[dict[str, float]] = [defaultdict(float) for _ in index.teachers]
    photo_bytes = 0
    apart: list[tuple[float, str, str]] = []
    for facts, sizes in reader.sidecars():
        photo_bytes += sizes.get(facts.photo.file or "", 0)
        if facts.quality.disagreement is not None:
            apart.append((facts.quality.disagreement, facts.key, facts.photo.path))
        for total, labels in zip(sums, facts.labels, strict=True):
            for crop in labels.crops:
                total["labels"] += 1
                total["bytes"] += sizes[crop.file]
                total["valid"] += crop.valid
                total["saturated"] += crop.saturated
                total["flat"] += crop.flat
    values = np.array([value for value, _, _ in apart])
    label_bytes = sum(total["bytes"] for total in sums)
    count = sum(total["labels"] for total in sums)
    whole = {
        "photos": index.samples,
        "dropped": index.dropped,
        "skipped": index.skipped,
        "shards": len(index.shards),
        "MB": sum(shard.bytes for shard in index.shards) / 1e6,
        "MB photos": photo_bytes / 1e6,
        "MB labels": label_bytes / 1e6,
        "of float16": label_bytes / (count * index.size**2 * 2) if count else None,
        **{f"disagreement {name}": _quantile(values, q) for name, q in (("median", 0.5), ("90 %", 0.9), ("most", 1.0))},
    }
    teachers = [
        {
            "teacher": about["teacher"],
            "kind": about["kind"],
            "license": about["license"],
            "labels": int(total["labels"]),
            **{key: total[key] / max(1.0, total["labels"]) for key in ("valid", "saturated", "flat")},
            "bytes a label": int(total["bytes"] / max(1.0, total["labels"])),
        }
        for about, total in zip(index.teachers, sums, strict=True)
    ]
    worst = [{"disagreement": d, "key": key, "photo": photo} for d, key, photo in sorted(apart, reverse=True)[:5]]
    left = [
        {"key": line["key"], "photo": line["photo"], "rule": line["dropped"]}
        for line in read_json_lines(reader.folder / "quality.jsonl")
        if line["dropped"]
    ]
    return whole, {"Teachers": teachers, "Least agreement": worst, "Left out": left[:20]}


def titles(reader: ShardReader) -> list[str]:
    """Return the titles of the sheet's columns."""
    names = [f"{about['teacher']} ({about['kind']})" for about in reader.index.teachers]
    return ["photo", *names, *(["disagreement"] if len(names) > 1 else [])]


def row(sample: LabelSample) -> list[Picture]:
    """Return pictures of a sample's region, [S, S, 3] each: photo, every teacher's map (near = warm), disagreement."""
    facts = sample.facts
    region = Region(*facts.labels[0].crops[0].box)
    maps = [sample.label(i, 0) for i in range(len(facts.labels))]
    kinds = [labels.kind for labels in facts.labels]
    pictures: list[Picture] = [np.asarray(crop_image(sample.photo(), region, facts.size))]
    pictures += [colorize(values, valid, kind) for (values, valid), kind in zip(maps, kinds, strict=True)]
    if len(maps) > 1:
        known = [one for one in disparities([values[None] for values, _ in maps], kinds) if one is not None]
        pairs = [differences(a, b)[0] for a, b in combinations(known, 2)]
        apart = torch.stack(pairs).nanmean(0).numpy() if pairs else np.full((facts.size, facts.size), np.nan)
        levels = np.clip(np.nan_to_num(apart) / FULL * 255, 0, 255).astype(np.uint8)
        picture = color_table("inferno")[levels]
        picture[~np.isfinite(apart)] = INVALID
        pictures.append(picture)
    return pictures


def caption(sample: LabelSample) -> str:
    """Return the words over a row."""
    apart = sample.facts.quality.disagreement
    return f"{sample.key} {sample.facts.photo.path}" + ("" if apart is None else f"  disagreement {apart:.3f}")


def _quantile(values: NDArray[np.float64], q: float) -> float | None:
    return float(np.quantile(values, q)) if values.size else None
