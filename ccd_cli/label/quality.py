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
from ccd_cli.labels.format import Sha256

Line = dict[str, Any]
"""A line of `quality.jsonl`: key, photo, sha256, disagreement, agreement, teachers; `dropped` once the rules ran."""


class _TeacherLine(Section):
    teacher: str
    valid: Fraction
    saturated: Fraction
    flat: Fraction


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
        return [line.model_dump() for line in _LINES.validate_json(path.read_bytes())]
    except (OSError, ValueError) as error:
        raise CcdError(f"{path} is damaged.", "Remove it and run again.") from error


def read_quality(path: Path) -> list[Line]:
    """Return the whole lines of `quality.jsonl`; raises CcdError for one that is no such line."""
    try:
        return [line.model_dump() for line in _JUDGED.validate_python(read_json_lines(path))]
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


def _mean_over_crops(crops: list[dict[str, Any]]) -> dict[str, float]:
    """Return the means of one image's facts over its crops."""
    return {key: round(float(np.mean([crop[key] for crop in crops])), 6) for key in ("valid", "saturated", "flat")}
