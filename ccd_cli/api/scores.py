"""Scores: of one map against ground truth, of models on sets, and the analysis of label noise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from ccd_cli.api.depth import DepthMap
from ccd_cli.api.options import map_of, number_of, settings_from
from ccd_cli.api.reporting import plain_errors, report_for
from ccd_cli.benchmarks import Prediction
from ccd_cli.benchmarks.prediction_files import resized, same_view
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.nearest import choose_from
from ccd_cli.core.settings import Precision, RuntimeChoice
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.metrics.alignment import SUBSAMPLED, Floor, Limits
from ccd_cli.metrics.methods import AlignmentChoice, CameraChoice
from ccd_cli.metrics.score import score_map
from ccd_cli.scoring.alignment import Alignment

Words = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class MetricLimits(TypedDict, total=False):
    """What is scored, and where aligned depth ends; the keys `min`, `max` and `cap` of a user's own set (docs/pairs.md)."""

    min_depth: float
    max_depth: float
    cap: float | None
    floor: Floor
    alignment_max_res: int | None


class EvalOptions(TypedDict, total=False):
    """The options of `ccd eval`."""

    data_root: str | os.PathLike[str]
    predictions: str | os.PathLike[str] | None
    prediction_kind: Kind | None
    prediction_scale: float | None
    baselines: bool
    arch: str | None
    resolution: int | None
    alignment: AlignmentChoice
    alignment_max_res: int | None
    camera: CameraChoice
    limit: int | None
    shard: str | None
    overwrite: bool
    device: str
    precision: Precision
    runtime: RuntimeChoice
    threads: int | None


class AnalyzeOptions(TypedDict, total=False):
    """The options of `ccd analyze`."""

    data_root: str | os.PathLike[str]
    arch: str | None
    resolution: int | None
    images: int
    draws: int
    patches: int
    seed: int
    device: str
    precision: Precision
    threads: int | None


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: `rows`, one dict a model and set with the metrics of `ccd eval --json` (NaN, where that has null);
    the `protocol` they were made by; samples that were `left_out`, with the reason; the `folder` with report.html.
    """

    rows: list[dict[str, Any]]
    protocol: dict[str, Any]
    left_out: list[dict[str, str]]
    folder: Path


def metrics(
    pred: NDArray[Any] | DepthMap,
    gt: NDArray[Any] | DepthMap,
    *,
    kind: Kind | None = None,
    alignment: AlignmentChoice = "auto",
    valid: NDArray[np.bool_] | None = None,
    **limits: Unpack[MetricLimits],
) -> dict[str, float]:
    """Return the depth metrics of one image, as `ccd eval` computes them on a set of one's own.

    `pred` [h, w] is a `DepthMap`, or an array of `kind`; of another size than `gt` it is resized bilinearly, of another shape
    refused, and where it is not finite it is missing. `gt` [H, W] is depth, in meters for metric maps; scored are the pixels with
    `min_depth` < gt < `max_depth` (0.001 and 10000) that are in `valid` [H, W]. `alignment` as of `ccd eval`: auto is least squares
    for scale and shift in the space of the kind, none for metric. Aligned depth is clipped to `min_depth` and `cap` (default:
    `max_depth`; after a fit in disparity the largest `gt`); `floor="published"` and `alignment_max_res` give the arithmetic of the
    published protocols.

    The keys are abs_rel, sq_rel, rmse, rmse_log, log10, silog, irmse, delta1, delta2, delta3 (Eigen et al. 2014, as in Marigold's
    script; fractions, silog times 100) and missing, the fraction of pixels without a prediction. Raises CcdError for other shapes,
    without a pixel to score, for a kind that is not told, and where the alignment does not suit it. Imports no torch.
    """
    with plain_errors():
        rules = {"min_depth": 1e-3, "max_depth": 1e4, "cap": None, "floor": None, "alignment_max_res": None, **limits}
        if unknown := set(rules) - set(MetricLimits.__annotations__):
            raise UsageProblem(
                f"There is no argument '{min(unknown)}'.", choose_from(min(unknown), MetricLimits.__annotations__)
            )
        for name in ("min_depth", "max_depth", "cap"):
            if rules[name] != float("inf") and (name, rules[name]) != ("cap", None):
                number_of(name, rules[name], float)
        if rules["alignment_max_res"] is not None:
            number_of("alignment_max_res", rules["alignment_max_res"], int, (0, None))
        values, told = (pred.values, pred.kind) if isinstance(pred, DepthMap) else (map_of("pred", pred), kind)
        if kind not in (None, told) or (told is not None and told not in KINDS):
            raise UsageProblem(f"The prediction is not of kind '{kind}'.", f"Kinds: {', '.join(KINDS)}.")
        depth = gt.values if isinstance(gt, DepthMap) else map_of("gt", gt)
        if isinstance(gt, DepthMap) and gt.kind not in ("metric", "depth"):
            raise UsageProblem(f"Ground truth is depth, not a {gt.kind} map.")
        chosen = Alignment(alignment, "", rules["alignment_max_res"])  # type: ignore[arg-type]
        if told is None and alignment == "auto":
            raise UsageProblem("An array does not say what its values mean.", f"Give kind: {', '.join(KINDS)}.")
        chosen.check(told)
        method = chosen.method(told)
        mask = _mask(depth, valid, float(rules["min_depth"]), float(rules["max_depth"]))  # type: ignore[arg-type]
        if not same_view(values.shape, depth.shape):
            raise CcdError(
                f"pred is {values.shape[0]}x{values.shape[1]} and gt {depth.shape[0]}x{depth.shape[1]}: cropped, stretched or "
                "turned, so it is not resized."
            )
        infinite = pred._core.infinite if isinstance(pred, DepthMap) else None
        made = resized(Prediction(values, told, np.isfinite(values), infinite=infinite), depth.shape)
        scores = score_map(method, made.told, depth, mask, chosen.taken_as(told), _limits(rules, method))[1]
        return {name: float(score) for name, score in scores.items()}


def evaluate(
    models: Words = (),
    *,
    suite: str | os.PathLike[str] = "zero-shot",
    out: str | os.PathLike[str] = "eval-out",
    progress: bool = False,
    **options: Unpack[EvalOptions],
) -> Evaluation:
    """Score models, or precomputed `predictions`, on a set or suite with ground truth, as `ccd eval` does.

    `models`: one or several names, run folders or checkpoints; none, without `predictions`: the default model. Scores of every
    image are kept in `out`, so that an interrupted evaluation resumes. Samples that cannot be read are in `left_out`, with a
    warning. Raises CcdError where a model, the predictions or every set is missing, Interrupted after Ctrl-C.
    """
    with plain_errors():
        from ccd_cli.evaluate.inputs import find_inputs
        from ccd_cli.evaluate.settings import Settings

        settings = settings_from(Settings, {**options, "models": models, "suite": suite, "out": out})
        inputs = find_inputs(settings)
        from ccd_cli.evaluate.run import run

        results = run(settings, report_for(progress), inputs)
        return Evaluation(results.rows, results.protocol, results.left_out, settings.out)


def analyze(
    suite: str | os.PathLike[str] = "builtin",
    *,
    model: Words = (),
    out: str | os.PathLike[str] = "analyze-out",
    progress: bool = False,
    **options: Unpack[AnalyzeOptions],
) -> dict[str, Any]:
    """Measure how much label noise each normalization spreads, as `ccd analyze` does, and return its JSON document.

    `model`: one or several, whose own errors are measured as well. The keys are protocol, noise, figure2, models (with the
    verdicts; both None without `model`) and skipped. Tables, plots and page go into `out`. Raises CcdError where no image can be
    used, Interrupted after Ctrl-C.
    """
    with plain_errors():
        from ccd_cli.analyze.inputs import find_inputs
        from ccd_cli.analyze.settings import Settings

        settings = settings_from(Settings, {**options, "suite": suite, "models": model or (), "out": out})
        found = find_inputs(settings)
        from ccd_cli.analyze.run import run

        return run(settings, report_for(progress), found).document()


def _mask(depth: NDArray[np.float32], valid: NDArray[np.bool_] | None, least: float, most: float) -> NDArray[np.bool_]:
    """The pixels that are scored. Raises CcdError for a mask of another size, and where nothing is left."""
    if not 0 <= least < most:
        raise UsageProblem(f"min_depth and max_depth must be 0 <= min < max, not {least:g} and {most:g}.")
    if valid is not None and (np.shape(valid) != depth.shape or np.asarray(valid).dtype != np.bool_):
        raise CcdError(f"valid is bool and of the size of gt, {depth.shape[0]}x{depth.shape[1]}.")
    with np.errstate(invalid="ignore"):
        mask: NDArray[np.bool_] = (depth > least) & (depth < most) & (True if valid is None else valid)
    if not mask.any():
        raise CcdError(
            f"No pixel of gt between {least:g} and {most:g} is left to score.", "Check its unit and the mask."
        )
    return mask


def _limits(rules: dict[str, Any], method: str) -> Limits:
    cap = rules["cap"]
    floor: Floor = rules["floor"] or ("image" if cap is None else "range")
    if floor not in ("published", "image", "range"):
        raise UsageProblem(f"floor {floor!r}: unknown value.", choose_from(str(floor), ("published", "image", "range")))
    end = float(rules["max_depth"]) if cap is None else float(cap)
    return Limits(
        (float(rules["min_depth"]), end), (rules["alignment_max_res"] or None) if method in SUBSAMPLED else None, floor
    )
