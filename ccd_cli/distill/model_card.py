"""The model card of a run: what the student is, where it comes from, under which license, and how well it did."""

from __future__ import annotations

import json
from typing import Any

import ccd_cli
from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.load import recipe_hash
from ccd_cli.distill.state import Run, TrainState
from ccd_cli.geometry.kinds import DIRECTION, UNIT
from ccd_cli.models.arch import Arch
from ccd_cli.teachers.licenses import is_commercial, strictest


def model_card(run: Run, state: TrainState, last_loss: float, comparison: list[dict[str, Any]]) -> str:
    """Return the card as Markdown; `comparison` holds rows of model and scores."""
    recipe, arch = run.recipe, state.student.arch
    init = recipe.student.init + (f" from {recipe.student.weights}" if recipe.student.weights else "")
    parameters = sum(p.numel() for p in state.student.parameters()) / 1e6
    license_name = strictest(run.licenses)
    lines = [
        f"# {recipe.name}",
        "",
        f"A monocular depth model that predicts **{arch.kind}** ({DIRECTION[arch.kind]}; {_unit(arch)}), distilled with "
        f"ccd {ccd_cli.__version__}.",
        "",
        f"* Architecture: `{arch.name}`, {parameters:.1f} M parameters, initialized: {init}",
        *([f"* Its second output marks sky: there predictions are {_far(arch)}"] if arch.sky else []),
        f"* Input resolution in training: {recipe.crops.size} pixels",
        f"* Images: {len(run.stream)} found, {len(run.stream.bad)} unreadable; {state.step} steps of "
        f"{recipe.optim.batch * recipe.optim.accumulate} images",
        f"* Computed on: {run.compute.describe()}",
        f"* Recipe hash: `{recipe_hash(recipe)[:16]}` (the whole recipe is `recipe.yaml` beside this card)",
        "",
        "## License",
        "",
        f"**{license_name}**: the strictest license among its teachers and the weights it began from. "
        + (
            "Commercial use is allowed by it."
            if is_commercial(license_name)
            else "Do not use this model commercially without checking: a teacher's license forbids it, is disputed or is unknown."
        ),
        *(["", "Its images with ground truth may have terms of their own."] if recipe.images.pairs is not None else []),
        "",
        "## Teachers",
        "",
        "| teacher | weight | kind | license | sha256 |",
        "|---|---|---|---|---|",
        *_teachers(run),
        "",
        "## Numbers",
        "",
        *_scores(run, state, last_loss),
        *_table(comparison),
        "",
        "## Limits",
        "",
        f"{_limits(arch)} It inherits its teachers' errors. No score beyond those above was measured.",
        "",
    ]
    return "\n".join(lines)


def _unit(arch: Arch) -> str:
    if arch.canonical_focal is None:
        return UNIT[arch.kind] + (f", at most {arch.max_depth:g}" if arch.max_depth else "")
    return f"meters are output x focal length in pixels / {arch.canonical_focal:g}; without it the scale is unknown"


def _far(arch: Arch) -> str:
    return "the smallest disparity of the image" if arch.kind == "disparity" else "infinitely far"


def _limits(arch: Arch) -> str:
    if arch.canonical_focal is not None:
        return "Meters need the focal length of the camera; without it the map is relative."
    if arch.kind == "metric":
        return "The map is in meters for cameras and scenes like those of its images; another field of view changes its scale."
    unknown = "scale and shift are" if arch.kind == "disparity" else "scale is"
    return f"The map is relative: its {unknown} unknown."


def _teachers(run: Run) -> list[str]:
    networks, shares = run.ensemble.networks, [f"{fraction:.0%}" for fraction in run.ensemble.fractions]
    fillers = {member.fill.teacher.name for member in run.ensemble.members if member.fill is not None}
    shares += ["fills holes" if t.name in fillers else "its errors alone" for t in networks[len(shares) :]]
    rows = []
    for t, share in zip(networks, shares, strict=True):
        exact = t.name == GROUND_TRUTH
        digits = f"`{t.checkpoint_sha256[:16]}`" if t.checkpoint_sha256 else ""
        rows.append(f"| {t.name} | {share} | {'measured' if exact else t.kind} | {t.license} | {digits} |")
    return rows


def _scores(run: Run, state: TrainState, last_loss: float) -> list[str]:
    skipped = state.guard.nonfinite_total
    lines = [f"* Last loss {last_loss:.4f}; {skipped} steps skipped for a loss that was not finite."]
    if clip := run.recipe.optim.clip:
        norms = [json.loads(line)["gradient_norm"] for line in state.lines.content().splitlines()]
        if known := [norm for norm in norms if norm is not None]:
            share = sum(norm > clip for norm in known) / len(known)
            lines.append(f"* Gradient clipping at a norm of {clip:g} acted in {share:.0%} of the steps.")
    if state.step < run.recipe.optim.steps:
        lines.append(
            f"* Stopped early, after {state.step} of {run.recipe.optim.steps} steps: no better score in "
            f"{run.recipe.eval.patience} evaluations."
        )
    best = state.best
    if best is None or run.validation is None:
        return [
            *lines,
            "* No ground truth was given (`eval.pairs`), so no score was measured; the weights are the last step's.",
        ]
    return [
        *lines,
        f"* On {run.validation.name}, {best['images']:.0f} images, best at step {best['step']:.0f}: AbsRel {best['abs_rel']:.4f}, "
        f"RMSE {best['rmse']:.4f}, δ1 {best['delta1']:.4f}. These weights are the best checkpoint; choosing them by this score "
        "favors it.",
        *(f"  * {line}" for line in run.validation.protocol["in_words"]),
    ]


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the comparison as a Markdown table."""
    if not rows:
        return []
    body = [f"| {r['model']} | {r['abs_rel']:.4f} | {r['rmse']:.4f} | {r['delta1']:.4f} |" for r in rows]
    return ["", "| model | AbsRel | RMSE | δ1 |", "|---|---|---|---|", *body]
