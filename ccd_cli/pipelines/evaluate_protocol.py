"""What was done, for files and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ccd_cli
from ccd_cli.core.align import SUBSAMPLED, UNCLIPPED, describe
from ccd_cli.data.benchmarks import Benchmark, Spec


def protocol(asked: dict[str, Any], sets: Sequence[Benchmark], missing: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the protocol as JSON values: what was `asked`, every set's rules, and a place for the models."""
    return {
        **asked,
        "mean": "each image by itself, then the plain mean over images",
        "datasets": {b.spec.name: {"images": len(b), **_rules(b.spec)} for b in sets},
        "models": {},
        "missing": dict(missing),
        "version": ccd_cli.__version__,
    }


def in_words(made: dict[str, Any]) -> list[str]:
    """Return sentences about a protocol: how predictions were aligned, what is scored in each set, how it is averaged."""
    by_method: dict[str, list[str]] = {}
    for label, facts in made["models"].items():
        by_method.setdefault(facts["alignment"], []).append(f"{label} ({facts['kind'] or 'kind not told'})")
    lines = [f"{', '.join(who)}: {_words(method)}." for method, who in by_method.items()]
    clipped = any(method not in UNCLIPPED for method in by_method)
    for rules in made["datasets"].values():
        lines.append(f"{rules['title']}, {rules['images']} here: {rules['about'].rstrip('.')}{_clip(rules, clipped)}.")
    if (asked := made["alignment_max_res"]) is not None and set(by_method) & SUBSAMPLED:
        lines.append(
            f"The fit sees {f'columns subsampled to {asked}' if asked else 'every pixel'}, whatever the set says."
        )
    if made["resolution"]:
        lines.append(f"Models see photos at a resolution of {made['resolution']}.")
    if made["limit"]:
        lines.append(f"Only {made['limit']} images of each set, spread evenly: not comparable with published numbers.")
    return [*lines, f"Metrics: {made['mean']}."]


def _rules(spec: Spec) -> dict[str, Any]:
    least, most = spec.depth_range
    return {
        "title": spec.title,
        "depth_range": [least, most if math.isfinite(most) else None],
        "resolution": spec.resolution,
        "alignment_max_res": spec.max_res,
        "about": spec.about,
    }


def _words(method: str) -> str:
    """What `describe` says about a method, without the range, which is the set's."""
    if method == "none":
        return "none, depth as predicted"
    return f"{method}, {describe(method).split(', per image')[0]}, for each image"  # type: ignore[arg-type]


def _clip(rules: dict[str, Any], clipped: bool) -> str:
    least, most = rules["depth_range"]
    if not clipped:
        return ""
    return f"; aligned depth clipped to {least:g} - {most:g} m" if most else f"; aligned depth not below {least:g} m"
