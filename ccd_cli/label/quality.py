"""How far the teachers agree on an image, and which images the recipe's rules drop for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from pydantic import Field, TypeAdapter

from ccd_cli.config.common import Fraction, Section
from ccd_cli.core.concurrency import BackgroundWork
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import read_json_lines
from ccd_cli.label.parts import Part
from ccd_cli.label.plan import key_of
from ccd_cli.label.threads import ImageThreads
from ccd_cli.labels.agreement import disagreement
from ccd_cli.labels.format import Natural, Sha256

Line = dict[str, Any]
"""A line of `quality.jsonl`: key, photo, sha256, disagreement, agreement, teachers; `dropped` once the rules ran."""


class _FillLine(Section):
    filled: Fraction
    refused: Natural


class _TeacherLine(Section):
    teacher: str
    valid: Fraction
    saturated: Fraction
    flat: Fraction
    fill: _FillLine | None = None


class _Line(Section):
    key: Annotated[str, Field(pattern=r"^\d{9}$")]
    photo: str
    sha256: Sha256
    disagreement: float | None
    agreement: float | None
    teachers: list[_TeacherLine]


class _Judged(_Line):
    dropped: str | None


_LINES, _JUDGED = TypeAdapter(list[_Line]), TypeAdapter(list[_Judged])


def score_shard(parts: Sequence[Part], names: Sequence[str], size: int, threads: ImageThreads) -> list[Line]:
    """Return one line of `quality.jsonl`, before the drop rules, for each image of a shard with labels `size` px wide."""
    lines: list[Line] = []
    scoring = BackgroundWork(threads, threads.ahead, lambda line: lines.append(cast(Line, line)))
    for image, pngs in enumerate(zip(*(part.pngs() for part in parts), strict=True)):
        scoring.add(_score_image, parts, names, size, image, pngs)
    scoring.finish()
    return lines


def _score_image(
    parts: Sequence[Part], names: Sequence[str], size: int, image: int, pngs: Sequence[list[bytes]]
) -> Line:
    facts, score = parts[0].images[image], None
    if len(parts) > 1:
        maps = [part.decoded(image, labels, size) for part, labels in zip(parts, pngs, strict=True)]
        score = disagreement(maps, [part.kind for part in parts])
    return {
        "key": key_of(facts.position),
        "photo": facts.path.as_posix(),
        "sha256": facts.sha256,
        "disagreement": score,
        "agreement": None if score is None else round(math.exp(-score), 6),
        "teachers": [
            {"teacher": name, **_mean_over_crops(part.crops[image])} for name, part in zip(names, parts, strict=True)
        ],
    }


def read_scores(path: Path) -> list[Line]:
    """Return a shard's lines before the drop rules; raises CcdError where they are damaged."""
    try:
        return [line.model_dump(exclude_unset=True) for line in _LINES.validate_json(path.read_bytes())]
    except (OSError, ValueError) as error:
        raise CcdError(f"{path} is damaged.", "Remove it and run again.") from error


def read_quality(path: Path) -> list[Line]:
    """Return the whole lines of `quality.jsonl`; raises CcdError for one that is no such line."""
    try:
        return [line.model_dump(exclude_unset=True) for line in _JUDGED.validate_python(read_json_lines(path))]
    except ValueError as error:
        raise CcdError(f"{path} is damaged.", "Restore it, or start over with --overwrite.") from error


def apply_drop_rules(lines: list[Line], worst: Fraction, limit: float | None) -> list[Line]:
    """Return the lines with `dropped`: null, or the rule that excludes the image from the shards.

    `worst` is the fraction of the images with a disagreement that is dropped, rounded down to whole images, largest
    disagreement first (of equal ones the later first); `limit` the largest disagreement that is retained.
    """
    scored = [line for line in lines if line["disagreement"] is not None]
    ranked = sorted(scored, key=lambda line: (line["disagreement"], line["key"]), reverse=True)
    worst_keys = {line["key"] for line in ranked[: int(worst * len(ranked))]}

    def reason(line: Line) -> str | None:
        if limit is not None and line["disagreement"] is not None and line["disagreement"] > limit:
            return f"disagreement above {limit:g}"
        return f"among the worst {100 * worst:g} %" if line["key"] in worst_keys else None

    return [{**line, "dropped": reason(line)} for line in lines]


def fill_of(lines: Sequence[Line], teacher: int) -> dict[str, float | int]:
    """Return what lines of quality say of the holes that a network filled for a teacher; nothing where none fills.

    `filled` is the mean fraction of the pixels, `refused` the number of crops without an accepted fit.
    """
    found = [fill for line in lines if (fill := line["teachers"][teacher].get("fill")) is not None]
    if not found:
        return {}
    filled = round(float(np.mean([fill["filled"] for fill in found])), 6)
    return {"filled": filled, "refused": sum(fill["refused"] for fill in found)}


def _mean_over_crops(crops: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of one image's facts over its crops, of filled ground truth with how many crops were refused."""
    means: dict[str, Any] = {key: _mean([crop[key] for crop in crops]) for key in ("valid", "saturated", "flat")}
    fills = [crop["fill"] for crop in crops if "fill" in crop]
    if fills:
        means["fill"] = {
            "filled": _mean([fill["filled"] for fill in fills]),
            "refused": sum(fill["refused"] for fill in fills),
        }
    return means


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 6)
