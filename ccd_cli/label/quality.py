"""How far teachers agree on a photo, and which photos a recipe leaves out for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import combinations
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ccd_cli.config.common import Share
from ccd_cli.core.concurrency import Behind
from ccd_cli.geometry.kinds import Kind
from ccd_cli.label.parts import Part
from ccd_cli.label.plan import key_of
from ccd_cli.labels.format import FloatMap
from ccd_cli.losses.disparity import fit_affine_depth, to_disparity
from ccd_cli.losses.masks import flat_maps
from ccd_cli.losses.normalize import normalize_map

FEWEST = 16  # pixels that two labels must both know


def comparable(kinds: Sequence[Kind]) -> list[bool]:
    """Return which teachers have a disparity: affine depth only beside a teacher of kind depth or metric."""
    anchored = any(kind in ("depth", "metric") for kind in kinds)
    return [kind != "affine-depth" or anchored for kind in kinds]


def disparities(maps: Sequence[FloatMap], kinds: Sequence[Kind]) -> list[tuple[Tensor, Tensor] | None]:
    """Return (disparity [V,S,S], valid bool) of each teacher's labels of one photo; None where there is none.

    Affine depth is fitted to the first teacher of kind depth or metric, view by view.
    """
    labels = [torch.from_numpy(values) for values in maps]
    reference = next((i for i, kind in enumerate(kinds) if kind in ("depth", "metric")), None)
    made: list[tuple[Tensor, Tensor] | None] = []
    for label, kind in zip(labels, kinds, strict=True):
        if kind != "affine-depth":
            made.append(to_disparity(label, kind))
        elif reference is None:
            made.append(None)
        else:
            made.append(to_disparity(fit_affine_depth(label, labels[reference]), "depth"))
    return made


def differences(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Return |N(a) - N(b)| [V,S,S] with N by median and MAD over the pixels that both know; NaN elsewhere.

    A view of which either label is flat, or that has under 16 common pixels, is NaN throughout: it has no scale.
    """
    both = a[1] & b[1]
    left, right = normalize_map(a[0], both)[0], normalize_map(b[0], both)[0]
    usable = ~flat_maps(a[0], both) & ~flat_maps(b[0], both) & (both.sum(dim=(1, 2)) >= FEWEST)
    return torch.where(both & usable[:, None, None], (left - right).abs(), torch.nan)


def disagreement(maps: Sequence[FloatMap], kinds: Sequence[Kind]) -> float | None:
    """Return the mean of `differences` over pixels, then views, then pairs of teachers; None where nothing compares."""
    known = [one for one in disparities(maps, kinds) if one is not None]
    means = [
        mean
        for a, b in combinations(known, 2)
        for mean in differences(a, b).double().nanmean(dim=(1, 2)).tolist()
        if math.isfinite(mean)
    ]
    return round(float(np.mean(means)), 6) if means else None


def shard_lines(
    parts: Sequence[Part], names: Sequence[str], size: int, pool: Executor, workers: int
) -> list[dict[str, Any]]:
    """Return one line of `quality.jsonl`, before the dropping rules, for each photo of a shard; the pool does the work."""
    lines: list[dict[str, Any]] = []
    judging = Behind(pool, 2 * workers, lambda line: lines.append(cast("dict[str, Any]", line)))
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


def drop(lines: list[dict[str, Any]], worst: Share, most: float | None) -> list[dict[str, Any]]:
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
