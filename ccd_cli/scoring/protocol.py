"""What was done, for files and in words: the same for `ccd eval` and for the scores of a training run."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import ccd_cli
from ccd_cli.benchmarks import Benchmark, Spec
from ccd_cli.geometry.kinds import DIRECTION
from ccd_cli.metrics.alignment import IN_DISPARITY, SUBSAMPLED, UNCLIPPED, Limits, Method, describe, floor_in_words
from ccd_cli.metrics.clouds import THRESHOLD
from ccd_cli.scoring.distance import FEWEST
from ccd_cli.scoring.points import ABOUT

HELD_OUT_SCENES = "eval.scenes"
"""The suite of a run without a user's pairs, whose ground truth has the size of its images."""
WITHOUT_POINTS = ("disparity", "affine-depth")
"""Kinds known up to a shift: of these there is no place in space, so no score of points."""
EXTRA_SCORES = {
    "edges": "Edges (iBims-1): dbe_acc, mean distance in pixels of predicted depth edges to true ones (those over 10 px away are "
    "ignored), dbe_comp, of true edges to predicted ones; mean over images that have an edge.",
    "planes": "Planes (iBims-1): pe_flat, deviation in cm of predicted points from their plane, pe_ori, angle in degrees between "
    "that plane and the one fitted to the ground truth; planes of at least 5 % of the image, scaled by the ratio of the medians.",
    "segments": "Objects (MoGe): local_points, each object's points aligned by a scale and a shift of their own, errors over its "
    "extent; metric and depth models.",
}
"""What the further maps of a user's own sets add, in words."""


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
    tasks = {rules["task"] for rules in made["datasets"].values()}
    own = any(rules["floor"] != "published" for rules in made["datasets"].values())
    by_method: dict[Method, list[str]] = {}
    for label, facts in made["models"].items():
        by_method.setdefault(facts["alignment"], []).append(f"{label} ({facts['kind'] or 'kind not told'})")
    lines = (
        [f"{', '.join(who)}: {_words(method, tasks, own)}." for method, who in by_method.items()]
        if tasks - {"pairs"}
        else []
    )
    lines += _baselines(made, tasks)
    for rules in made["datasets"].values():
        lines.append(
            f"{rules['title']}, {rules['images']} here: {rules['about'].rstrip('.')}{_clip(rules, by_method)}."
        )
    if own and tasks - {"clip"} and made["suite"] != HELD_OUT_SCENES:
        lines.append(
            "Where ground truth has another size than its photo, the prediction is resized to it bilinearly before the fit, and "
            "the camera with it."
        )
    lines += _more(made, tasks)
    if (asked := made["alignment_max_res"]) is not None and set(by_method) & SUBSAMPLED:
        lines.append(
            f"The fit sees {f'columns subsampled to {asked}' if asked else 'every pixel'}, whatever the set says."
        )
    for label, facts in made["models"].items():
        if (runtime := facts.get("runtime", "torch")) != "torch":
            lines.append(f"{label} ran in {runtime}, in {facts['precision'].partition(' ')[0]}.")
    if made["resolution"]:
        lines.append(f"Models see photos at a resolution of {made['resolution']}.")
    if made["limit"]:
        how = "of a clip the first ones" if tasks == {"clip"} else "spread evenly"
        of = made.get("limit_of", "each set")
        lines.append(f"Only {made['limit']} images of {of}, {how}: not comparable with published numbers.")
    return [*lines, f"Metrics: {made['mean']}."] if tasks - {"pairs"} else lines


def _baselines(made: dict[str, Any], tasks: set[str]) -> list[str]:
    """What the trivial baselines are, where there are any."""
    found = {label: facts["baseline"] for label, facts in made["models"].items() if "baseline" in facts}
    if not found:
        return []
    words = f"Trivial baselines do not look at the image. {'; '.join(f'{k}: {v}' for k, v in found.items())}."
    if "none" in {facts["alignment"] for facts in made["models"].values()} and tasks - {"pairs"}:
        words += " They get the scale and the shift that models without an alignment must know."
    if "clip" in tasks:
        words += " The other frames of a clip show the same place, which favors their mean."
    return [words]


def _more(made: dict[str, Any], tasks: set[str]) -> list[str]:
    """What is scored beside depth: points, pairs, steadiness."""
    lines = []
    with_points = any(facts["kind"] not in WITHOUT_POINTS for facts in made["models"].values())
    if with_points and any(rules["points"] for rules in made["datasets"].values()):
        lines.append(
            f"Points, on sets with cameras, of metric and depth models: {ABOUT[made['camera']]}; aligned by weighted L1 on a "
            "64x64 sample (MoGe): by a shift (metric models on sets in meters), a scale, a scale and a shift. Maps known up "
            "to a shift (disparity, affine depth) have no points."
        )
    if "pairs" in tasks:
        who = ", ".join(
            f"{label} ({DIRECTION.get(facts['kind'] or '', 'as the alignment says')})"
            for label, facts in made["models"].items()
        )
        lines.append(f"Pairs of points, no alignment: {who}.")
    extras = {key for rules in made["datasets"].values() for key in rules["extras"]}
    if not with_points:
        extras.discard("segments")
    lines += [EXTRA_SCORES[key] for key in EXTRA_SCORES if key in extras]
    for rules in made["datasets"].values():
        if rules.get("bins"):
            edges = ", ".join(f"{edge:g}" for edge in rules["bins"])
            lines.append(
                f"{rules['title']}, ranges of the true distance divided at {edges} m: AbsRel, RMSE and δ1 of the pixels of each, "
                f"mean over images that have at least {FEWEST} of them. Coverage: the fraction of scored pixels that are predicted."
            )
    if any(rules.get("clouds") for rules in made["datasets"].values()):
        lines.append(
            "Clouds: aligned depth and ground truth unprojected with the set's camera on the scored pixels; Chamfer distance (both "
            f"mean nearest distances together, meters) and F-score (within {THRESHOLD:g} m), as the Monocular Depth Estimation "
            "Challenge has them."
        )
    if "clip" in tasks:
        lines.append(
            "Clips: one scale and one shift for all frames. TAE, the temporal alignment error (Video Depth Anything): depth "
            "carried into the next frame and back by the true poses, mean |carried - there| / there, mean over directed "
            "pairs of frames; a fraction, where its authors print it times 100."
        )
    return lines


def _rules(spec: Spec) -> dict[str, Any]:
    least, most = spec.depth_range
    return {
        "title": spec.title,
        "depth_range": [least, most if math.isfinite(most) else None],
        "resolution": spec.resolution,
        "alignment_max_res": spec.max_res,
        "about": spec.about,
        "task": spec.task,
        "points": spec.points,
        "metric": spec.metric,
        "floor": spec.floor,
        "extras": list(spec.extras),
        "bins": list(spec.bins),
        "clouds": spec.clouds,
    }


def _words(method: Method, tasks: set[str], own: bool) -> str:
    """What `describe` says about a method, without the range and the floor of a user's `own` sets, which is theirs."""
    if method == "none":
        return "none, depth as predicted"
    each = "for each image" if tasks - {"clip"} else "for the whole clip"
    words = describe(method, Limits(floor="image" if own else "published")).split(", per image")[0]
    if own:
        words = words.split(", floor ")[0]
    return f"{method}, {words}, {each}"


def _clip(rules: dict[str, Any], methods: Collection[Method]) -> str:
    """What happens to aligned depth on a set: the floor of its disparity, and where it is clipped."""
    least, most = rules["depth_range"]
    if rules["task"] == "pairs":
        return ""
    floor = ""
    if rules["floor"] != "published" and IN_DISPARITY & set(methods):
        floor = (
            f"; fitted disparity not below {floor_in_words(Limits((least, most or math.inf), None, rules['floor']))}"
        )
        if rules["task"] == "clip":
            floor = floor.replace("of the image", "of the clip")
    if all(method in UNCLIPPED for method in methods):
        return floor
    unit = " m" if rules["metric"] else ""
    if not most:
        return f"{floor}; aligned depth not below {least:g}{unit}"
    return f"{floor}; aligned depth clipped to {least:g} - {most:g}{unit}"
