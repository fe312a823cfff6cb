"""What a run says of its student: scores on the way, which keep the best checkpoint, and the summary at its end."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import read_json_lines, write_json
from ccd_cli.core.processes import by_first
from ccd_cli.distill import checkpoint
from ccd_cli.distill.metrics_log import MetricsLog
from ccd_cli.distill.model_card import model_card
from ccd_cli.distill.plots import plot_metrics, plot_scores
from ccd_cli.distill.run_files import read_metrics, read_scores
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.samples import Samples
from ccd_cli.distill.state import Run, TrainState, whole_student
from ccd_cli.distill.validation import compare
from ccd_cli.scoring.names import NAMES


@dataclass(frozen=True)
class Result:
    """What a finished run left: its folder, the last step, the last loss and the best scores (empty without pairs)."""

    folder: Path
    steps: int
    loss: float
    scores: dict[str, float]
    skipped: int


def at_intervals(run: Run, state: TrainState, samples: Samples | None, log: MetricsLog) -> bool:
    """Score, draw and save where the recipe says so, in the first process; the last step is left to `finish`.

    Returns whether this was the last step, by number or because scores no longer get better; the same in all processes.
    """
    recipe, step = run.recipe, state.step
    if step == recipe.optim.steps:
        return True
    scores = run.validation is not None and step % recipe.eval.every == 0
    draws = recipe.log.samples > 0 and step % recipe.log.samples_every == 0
    if scores or draws:
        with whole_student(run, state):
            if scores and run.compute.main:
                _score_or_keep(run, state, log)
            if draws and samples is not None:
                log.events({"samples": samples.draw(run, state)}, step)
    if scores and recipe.eval.patience and by_first(lambda: state.stalled(recipe.eval.patience), run.compute):
        log.report.note(
            f"Step {step}: no better score in {recipe.eval.patience} evaluations, so the run ends here (eval.patience)"
        )
        return True
    if step % recipe.optim.checkpoint_every == 0:
        checkpoint.save(run, state)
    return False


def _score_or_keep(run: Run, state: TrainState, log: MetricsLog) -> None:
    """Score the student; where that fails, save first what was learned, unless the other processes hold parts of it."""
    try:
        score(run, state, log)
    except CcdError:
        if not (run.recipe.student.sharded and run.compute.world > 1):
            with suppress(CcdError):
                checkpoint.save(run, state)
        raise


def score(run: Run, state: TrainState, log: MetricsLog) -> None:
    """Score the student on the validation set, save it if it is the best so far, and report it."""
    assert run.validation is not None
    step = state.step
    scores = {"step": float(step), **run.validation.score(state.evaluated, run.recipe.crops.size)}
    if state.history and state.history[-1]["images"] != scores["images"]:
        raise CcdError(
            f"The validation set has {scores['images']:.0f} images that can be scored and had {state.history[-1]['images']:.0f}: "
            "means over other images cannot be compared.",
            "Restore it and resume, or start over with --overwrite.",
        )
    if run.validation.unreadable and not state.history:
        first = next(iter(run.validation.unreadable.values())).message
        log.report.warn(
            f"{len(run.validation.unreadable)} of {len(run.validation)} validation images are excluded from every score: {first}"
        )
    state.history.append(scores)
    is_best = is_better(scores, state.best)
    if is_best:
        state.best = scores
        state.best_weights = {name: t.detach().cpu().clone() for name, t in state.evaluated.state_dict().items()}
        checkpoint.save_student(run, state)
    log.events({f"eval/{key}": scores[key] for key in ("abs_rel", "rmse", "delta1", "delta2", "delta3")}, step)
    best = "best so far, saved" if is_best else f"best is still step {state.best['step']:.0f}" if state.best else ""
    log.report.note(
        f"Step {step}: AbsRel {scores['abs_rel']:.4f}, δ1 {scores['delta1']:.4f} on {scores['images']:.0f} images; {best}"
    )
    write_scores(run, state, [])


def is_better(scores: dict[str, float], best: dict[str, float] | None) -> bool:
    """Return whether scores make a new best: the first ones do, later ones by a smaller AbsRel; NaN never replaces a number."""
    return best is None or math.isnan(best["abs_rel"]) or scores["abs_rel"] < best["abs_rel"]


def finish(run: Run, state: TrainState, samples: Samples | None, log: MetricsLog) -> Result:
    """Score, save, draw and write the card, in the first process; returns the run's result."""
    with whole_student(run, state):
        scored = bool(state.history) and state.history[-1]["step"] == state.step
        if run.compute.main and run.validation is not None and not scored:
            _score_or_keep(run, state, log)
    checkpoint.save(run, state)
    with whole_student(run, state):
        if run.compute.main:
            _write_the_rest(run, state, samples, log)
    return Result(run.folder.path, state.step, log.last_loss, state.best or {}, len(run.stream.bad))


def _write_the_rest(run: Run, state: TrainState, samples: Samples | None, log: MetricsLog) -> None:
    """Write what a finished run has beside its state."""
    checkpoint.save_student(run, state)  # whatever happened to an earlier one since it was written
    state.lines.restore(run.folder.metrics)
    if samples is not None:
        log.events({"samples": samples.draw(run, state)}, state.step)
    plot_metrics(read_json_lines(run.folder.metrics), run.folder.plots)
    if state.history:
        plot_scores(state.history, run.folder.plots)
    comparison = _comparison(run, state, log)
    write_scores(run, state, comparison)
    card = model_card(run, state, log.last_loss, comparison)
    run.folder.finish(card)


def finished_result(folder: RunFolder) -> Result:
    """Return the result of a run that ended earlier; raises CcdError where its files are damaged."""
    lines, best = read_metrics(folder), read_scores(folder)["best"]
    if not lines:
        raise CcdError(f"{folder.metrics} is empty, and the run is finished.", "Start over with --overwrite.")
    last = lines[-1]
    loss = float("nan") if last["loss"] is None else last["loss"]
    return Result(folder.path, last["step"], loss, best or {}, len(read_json_lines(folder.skipped)))


def write_scores(run: Run, state: TrainState, comparison: list[dict[str, Any]]) -> None:
    """Write `eval.json`: how was scored, every score, the best, and the rows of the comparison."""
    protocol = None if run.validation is None else run.validation.protocol
    value = {
        "pairs": None if run.validation is None else run.validation.name,
        "images": [] if run.validation is None else run.validation.names(),
        "alignment": None if protocol is None else protocol["alignment"],
        "protocol": protocol,
        "resolution": run.recipe.crops.size,
        "best": state.best,
        "history": state.history,
        "comparison": comparison,
    }
    write_json(run.folder.eval, value)


def _comparison(run: Run, state: TrainState, log: MetricsLog) -> list[dict[str, Any]]:
    if run.validation is None or not run.recipe.eval.compare:
        return []
    log.report.end()
    log.report.note("Scoring teachers, the untrained student and trivial baselines, for comparison")
    untrained = run.untrained.to(run.compute.device)
    rows = compare(run.validation, run.ensemble, untrained, state.best, run.recipe.crops.size)
    title = f"On {run.validation.name}, {len(run.validation)} images"
    log.report.table(title, [{NAMES.get(key, key): value for key, value in row.items()} for row in rows])
    return rows
