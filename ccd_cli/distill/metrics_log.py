"""What a distillation run writes while it goes and when it ends: metrics, states, scores, pictures, card."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

import ccd_cli
from ccd_cli.config.load import recipe_hash
from ccd_cli.core.files import disk_error, json_line, read_json_lines, write_json, write_text
from ccd_cli.core.report import Report
from ccd_cli.distill.model_card import model_card
from ccd_cli.distill.plots import plot_metrics, plot_scores
from ccd_cli.distill.run_folder import save_state
from ccd_cli.distill.samples import Samples, prepare_samples
from ccd_cli.distill.setup import Job
from ccd_cli.distill.validation import compare
from ccd_cli.geometry.kinds import DIRECTION, UNIT
from ccd_cli.models.checkpoint import save_model
from ccd_cli.teachers.licenses import is_commercial, strictest

SHOWN = ("loss", "shared", "local_global", "gradient", "feature", "drift")


@dataclass(frozen=True)
class Result:
    """What a finished run left: its folder, the last step, the last loss and the best scores (empty without pairs)."""

    folder: Path
    steps: int
    loss: float
    scores: dict[str, float]
    skipped: int


class Records:
    """Writes a run's folder. In processes other than the first it writes nothing."""

    def __init__(self, job: Job, report: Report) -> None:
        self.job, self.report = job, report
        self.recipe, self.folder, self.main = job.recipe, job.folder, job.runtime.main
        self.metrics: Any = None
        self.events: Any = None
        self.samples: Samples | None = None
        self.last_loss = float("nan")

    def __enter__(self) -> Self:
        if not self.main:
            return self
        earlier = read_json_lines(self.folder.metrics)
        if earlier and earlier[-1]["loss"] is not None:
            self.last_loss = earlier[-1]["loss"]
        self.metrics = self.folder.metrics.open("a", encoding="utf-8")
        if self.recipe.log.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(self.folder.events), purge_step=self.job.step + 1)
        self.samples = prepare_samples(self.job)
        self.report.begin("Distilling", self.recipe.optim.steps, self.job.step)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.main:
            return
        self.report.end()
        with contextlib.suppress(OSError):
            self.metrics.close()
            if self.events is not None:
                self.events.close()

    def step(
        self, step: int, figures: dict[str, float], teacher: str, lr: float, norm: float | None, speed: float
    ) -> None:
        """Write one line of metrics, whole and flushed, and show it."""
        self.last_loss = figures["loss"]
        if not self.main:
            return
        line = {
            "step": step,
            **figures,
            "lr": lr,
            "teacher": teacher,
            "gradient_norm": norm,
            "images_per_second": speed,
        }
        if norm is None:
            line["skipped"] = True
        try:
            self.metrics.write(json_line(line))
            self.metrics.flush()
        except OSError as error:
            raise disk_error(error, self.folder.metrics) from error
        self._events({f"train/{key}": value for key, value in line.items() if isinstance(value, float)}, step)
        shown = {key: figures[key] for key in SHOWN if key in figures}
        self.report.advance(step, **shown, **{"img/s": speed})

    def warn_once(self, text: str) -> None:
        """Show a guard's warning, if there is one."""
        if text and self.main:
            self.report.warn(text)

    def at_intervals(self, step: int) -> None:
        """Score, draw and save where the recipe says so; the last step is left to `finish`."""
        recipe = self.recipe
        if not self.main or step == recipe.optim.steps:
            return
        if self.job.validation is not None and step % recipe.eval.every == 0:
            self.score(step)
        if step % recipe.log.samples_every == 0:
            self._draw_samples(step)
        if step % recipe.optim.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Save all state for `--resume`, and the student as it is now unless a scored one is kept."""
        if not self.main:
            return
        job = self.job
        state = {
            "step": job.step,
            "student": job.student.state_dict(),
            "mean": None if job.mean is None else job.mean.state_dict(),
            "projection": None if job.projection is None else job.projection.state_dict(),
            "optimizer": job.optimizer.state_dict(),
            "scaler": job.scaler.state_dict(),
            "guard": job.guard.state(),
            "history": job.history,
            "best": job.best,
            "first_samples": job.first_samples,
            "bad": [(str(path), reason) for path, reason in sorted(job.stream.bad.items())],
            "threads": torch.get_num_threads(),
            "device": job.runtime.device.type,
            "precision": job.runtime.precision,
            "world": job.runtime.world,
            "photos": len(job.stream),
            "source_hash": job.stream.digest,
            "hashes": job.hashes,
            "recipe_hash": recipe_hash(job.recipe),
            "version": ccd_cli.__version__,
        }
        save_state(self.folder, state)
        if job.best is None:
            self._save_student(job.step)

    def score(self, step: int) -> None:
        """Score the student on the user's pairs, keep it if it is the best, and say so."""
        job = self.job
        assert job.validation is not None
        scores = {"step": float(step), **job.validation.score(job.evaluated, self.recipe.crops.size)}
        job.history.append(scores)
        best = job.best is None or not job.best["abs_rel"] <= scores["abs_rel"]  # a NaN never stays best
        if best:
            job.best = scores
            self._save_student(step)
        self._events({f"eval/{key}": scores[key] for key in ("abs_rel", "rmse", "delta1", "delta2", "delta3")}, step)
        kept = "best so far, kept" if best else f"best stays step {job.best['step']:.0f}" if job.best else ""
        self.report.note(
            f"Step {step}: AbsRel {scores['abs_rel']:.4f}, delta1 {scores['delta1']:.4f} on {scores['images']:.0f} images; {kept}"
        )
        self._write_scores()

    def finish(self) -> Result:
        """Score, save, draw and write the card; returns the pipeline's result."""
        job = self.job
        if self.main:
            if job.validation is not None and (not job.history or job.history[-1]["step"] < job.step):
                self.score(job.step)
            self.save()
            self._draw_samples(job.step)
            plot_metrics(read_json_lines(self.folder.metrics), self.folder.plots)
            if job.history:
                plot_scores(job.history, self.folder.plots)
            comparison = self._compare()
            self._write_scores(comparison)
            self._write_card(comparison)
        skipped = len(job.stream.bad)
        return Result(self.folder.path, job.step, self.last_loss, job.best or {}, skipped)

    def _events(self, values: dict[str, Any], step: int) -> None:
        """Add numbers and pictures to TensorBoard; where that fails, say so once and go on without."""
        if self.events is None:
            return
        try:
            for key, value in values.items():
                if isinstance(value, np.ndarray):
                    self.events.add_image(key, value, step, dataformats="HWC")
                else:
                    self.events.add_scalar(key, value, step)
        except OSError as error:
            self.events = None
            self.report.warn(f"TensorBoard events stop here ({error.strerror or error}); the run goes on.")

    def _compare(self) -> list[dict[str, Any]]:
        job = self.job
        if job.validation is None or not self.recipe.eval.compare:
            return []
        self.report.end()
        self.report.note("Scoring teachers, the untrained student and maps that know nothing, for comparison")
        untrained = job.untrained.to(job.runtime.device)
        rows = compare(job.validation, job.ensemble, untrained, job.best, self.recipe.crops.size)
        self.report.table(f"On {job.validation.name} (least squares in disparity, {len(job.validation)} images)", rows)
        return rows

    def _draw_samples(self, step: int) -> None:
        if self.samples is not None:
            self._events({"samples": self.samples.draw(self.job, step)}, step)

    def _save_student(self, step: int) -> None:
        job = self.job
        license_name = strictest(job.license_sources)
        metadata = {
            "format": "pt",
            "kind": job.student.arch.kind,
            "direction": DIRECTION[job.student.arch.kind],
            "unit": UNIT[job.student.arch.kind],
            "resolution": str(self.recipe.crops.size),
            "license": license_name,
            "step": str(step),
            "recipe_hash": recipe_hash(self.recipe),
            "teachers": ";".join(f"{m.teacher.name}={m.teacher.checkpoint_sha256}" for m in job.ensemble.members),
            "ccd_version": ccd_cli.__version__,
        }
        arch = replace(job.student.arch, resolution=self.recipe.crops.size)  # the side it knows is its default
        save_model(self.folder.student, job.evaluated, arch, metadata)

    def _write_scores(self, comparison: list[dict[str, Any]] | None = None) -> None:
        job = self.job
        pairs = None if job.validation is None else job.validation.name
        value = {
            "pairs": pairs,
            "alignment": None if job.validation is None else job.validation.protocol["alignment"],
            "protocol": None if job.validation is None else job.validation.protocol,
            "resolution": self.recipe.crops.size,
            "best": job.best,
            "history": job.history,
            "comparison": comparison or [],
        }
        write_json(self.folder.eval, value)

    def _write_card(self, comparison: list[dict[str, Any]]) -> None:
        job, recipe = self.job, self.recipe
        license_name = strictest(job.license_sources)
        shares = np.array([m.weight for m in job.ensemble.members]) / sum(m.weight for m in job.ensemble.members)
        facts = {
            "version": ccd_cli.__version__,
            "kind": job.student.arch.kind,
            "direction": DIRECTION[job.student.arch.kind],
            "unit": UNIT[job.student.arch.kind],
            "arch": job.student.arch.name,
            "parameters": sum(p.numel() for p in job.student.parameters()),
            "init": recipe.student.init + (f" from {recipe.student.weights}" if recipe.student.weights else ""),
            "resolution": recipe.crops.size,
            "photos": len(job.stream),
            "skipped": len(job.stream.bad),
            "steps": job.step,
            "batch": recipe.optim.batch * recipe.optim.accumulate,
            "runtime": job.runtime.describe(),
            "recipe_hash": recipe_hash(recipe),
            "license": license_name,
            "license_note": "Commercial use is allowed by it."
            if is_commercial(license_name)
            else "Do not use this model commercially without checking: a teacher's license forbids it, is disputed or is unknown.",
            "teachers": [
                {
                    "name": member.teacher.name,
                    "share": share,
                    "kind": member.teacher.kind,
                    "license": member.teacher.license,
                    "sha256": member.teacher.checkpoint_sha256,
                }
                for member, share in zip(job.ensemble.members, shares, strict=True)
            ],
            "numbers": [*self._numbers(), *_markdown(comparison)],
        }
        write_text(self.folder.card, model_card(recipe.name, facts))

    def _numbers(self) -> list[str]:
        job = self.job
        lines = [
            f"* Last loss {self.last_loss:.4f}; {job.guard.nonfinite_total} steps skipped for a loss that was not finite."
        ]
        if job.best is None or job.validation is None:
            return [
                *lines,
                "* No ground truth was given (`eval.pairs`), so no score was measured; the weights are the last step's.",
            ]
        b = job.best
        return [
            *lines,
            f"* On `{job.validation.name}` ({b['images']:.0f} pairs, least squares in disparity, mean over images), best at step "
            f"{b['step']:.0f}: AbsRel {b['abs_rel']:.4f}, RMSE {b['rmse']:.4f}, delta1 {b['delta1']:.4f}. These weights are kept; "
            "choosing them by this score favors it.",
        ]


def _markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Return the comparison as a Markdown table."""
    if not rows:
        return []
    body = [f"| {r['model']} | {r['abs_rel']:.4f} | {r['rmse']:.4f} | {r['delta1']:.4f} |" for r in rows]
    return ["", "| model | AbsRel | RMSE | delta1 |", "|---|---|---|---|", *body]
