"""How far teachers agree on a photo, and which photos a recipe leaves out for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, cast

import numpy as np

from ccd_cli.config.common import Fraction
from ccd_cli.core.concurrency import BackgroundWork
from ccd_cli.label.parts import Part
from ccd_cli.label.plan import key_of
from ccd_cli.labels.agreement import disagreement


def shard_lines(
    parts: Sequence[Part], names: Sequence[str], size: int, pool: Executor, workers: int
) -> list[dict[str, Any]]:
    """Return one line of `quality.jsonl`, before the dropping rules, for each photo of a shard; the pool does the work."""
    lines: list[dict[str, Any]] = []
    judging = BackgroundWork(pool, 2 * workers, lambda line: lines.append(cast("dict[str, Any]", line)))
    for i, pngs in enumerate(zip(*(part.pngs() for part in parts), strict=True)):
        judging.add(_line, parts, names, size, i, pngs)
    judging.finish()
    return lines


def _line(
    parts: Sequence[Part], names: Sequence[str], size: int, photo: int, pngs: Sequence[list[bytes]]
) -> dict[str, Any]:
    seen, apart = parts[0].seen[photo], None
    if len(parts) > 1:
        maps = [part.decoded(photo, made, size) for part, made in zip(parts, pngs, strict=True)]
        apart = disagreement(maps, [part.kind for part in parts])
    return {
        "key": key_of(seen.position),
        "photo": seen.path.as_posix(),
        "sha256": seen.sha256,
        "disagreement": apart,
        "agreement": None if apart is None else round(math.exp(-apart), 6),
        "teachers": [
            {"teacher": name, **_over_crops(part.crops[photo])} for name, part in zip(names, parts, strict=True)
        ],
    }


def drop(lines: list[dict[str, Any]], worst: Fraction, most: float | None) -> list[dict[str, Any]]:
    """Return the lines with `dropped`: null, or the rule that leaves the photo out.

    `worst` is the share of the comparable photos that goes, rounded down, by disagreement (equal ones: the later first);
    `most` the largest disagreement that stays.
    """
    ranked = sorted((line for line in lines if line["disagreement"] is not None), key=_rank, reverse=True)
    gone = {line["key"] for line in ranked[: int(worst * len(ranked))]}
    made = []
    for line in lines:
        reason = None
        if most is not None and line["disagreement"] is not None and line["disagreement"] > most:
            reason = f"disagreement above {most:g}"
        elif line["key"] in gone:
            reason = f"among the worst {100 * worst:g} %"
        made.append({**line, "dropped": reason})
    return made


def _rank(line: dict[str, Any]) -> tuple[float, str]:
    return line["disagreement"], line["key"]


def _over_crops(crops: list[dict[str, Any]]) -> dict[str, float]:
    """Return the means over one photo's crops."""
    return {key: round(float(np.mean([crop[key] for crop in crops])), 6) for key in ("valid", "saturated", "flat")}
