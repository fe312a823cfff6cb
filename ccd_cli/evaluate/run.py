"""Scores of models, and of predictions that were made elsewhere, on sets with true depth: `ccd eval`.

Samples are read, predicted and scored at the same time, a bounded number ahead. Every image's scores are on the disk before
the next; running again goes on where the last run stopped. Damaged samples are named and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import ccd_cli
from ccd_cli.benchmarks import Benchmark, Source, Spec, spread
from ccd_cli.benchmarks.clip import ClipBenchmark
from ccd_cli.benchmarks.predictors import ModelSource
from ccd_cli.benchmarks.suites import description_digest
from ccd_cli.core.compute import Compute, choose_compute
from ccd_cli.core.errors import CcdError
from ccd_cli.core.lock import lock_for
from ccd_cli.core.paths import folder_name
from ccd_cli.core.report import Report
from ccd_cli.core.shard import FINISH, part_of
from ccd_cli.core.signals import Signals
from ccd_cli.evaluate.baselines import BaselineSource, baseline_sources
from ccd_cli.evaluate.clip import ClipTask
from ccd_cli.evaluate.figures import Gallery
from ccd_cli.evaluate.inputs import Inputs, find_inputs
from ccd_cli.evaluate.report import write_results
from ccd_cli.evaluate.results import Results, Scored
from ccd_cli.evaluate.settings import Settings
from ccd_cli.evaluate.shards import MAPS, PICTURES, other_books, place_of, take_over
from ccd_cli.evaluate.store import ScoreBook, fingerprint
from ccd_cli.evaluate.task import Task
from ccd_cli.metrics.alignment_clip import ClipFit
from ccd_cli.metrics.methods import CameraChoice
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.image import ScoringOptions
from ccd_cli.scoring.protocol import protocol
from ccd_cli.scoring.rows import TAE, Record, summary_row
from ccd_cli.teachers.model import load

NAMED = 10  # samples of a set that are named on the terminal when they cannot be scored
SCORING = 7  # goes up when scores of the same maps change


def run(settings: Settings, report: Report, inputs: Inputs | None = None) -> Results:
    """Score everything that `settings` names; the results are in `settings.out` too.

    With `settings.shard` one shard of it is scored: its scores are kept in `settings.out`, and the results have no rows, which
    depend on all samples. `inputs` is what `find_inputs` returned where the caller has looked already.

    Raises CcdError where no set is found, and Interrupted after Ctrl-C with finished scores in place.
    """
    inputs = inputs or find_inputs(settings)
    sets, missing = inputs.sets, inputs.missing
    for name, reason in missing:
        report.note(f"{name} is skipped: {reason}")
    compute = choose_compute(settings.device, settings.precision, settings.threads, report)
    keys = ("suite", "alignment", "alignment_max_res", "resolution", "camera", "limit")
    asked = {key: getattr(settings, key) for key in keys}
    results = Results(protocol(asked, sets, missing))
    shard, busy = settings.shard, f"Another run writes into {settings.out}."
    with lock_for(settings.out / ".lock", shard, busy), Signals() as signals:
        evaluation = Evaluation(settings, sets, compute, results, signals, report)
        for make in _sources(settings, inputs, compute, report):
            evaluation.score(make())
        if shard is None:
            write_results(results, settings.out, settings.command, compute.describe())
    if shard is not None:
        done = f"is done ({evaluation.samples} samples)" if evaluation.samples else "has nothing to do"
        report.note(f"Shard {shard} {done}. {FINISH}")
    return results


def _sources(settings: Settings, inputs: Inputs, compute: Compute, report: Report) -> Iterator[Callable[[], Source]]:
    """What makes each source when it is called, so that one network at a time is in memory."""
    if (maps := inputs.maps) is not None:
        yield lambda: maps
    for word in inputs.models or ([None] if maps is None else []):
        yield partial(_model, settings, word, inputs, compute, report)
    if settings.baselines:
        yield from baseline_sources(settings.alignment, settings.limit)


def _model(settings: Settings, word: str | None, inputs: Inputs, compute: Compute, report: Report) -> ModelSource:
    words = inputs.models
    model = load(word, settings.arch, settings.resolution, compute, report, runtime=settings.runtime)
    label = model.about.name if word is None else words[word]
    passes = sum(min(len(benchmark), settings.limit or len(benchmark)) for benchmark in inputs.sets)
    told = settings.camera == "set"
    return ModelSource(label, model, settings.resolution, settings.suite, compute, told, passes)


class Evaluation:
    """Scores one source after the other on the same sets; what it finds out goes into `results`."""

    def __init__(
        self,
        settings: Settings,
        sets: list[Benchmark],
        compute: Compute,
        results: Results,
        signals: Signals,
        report: Report,
    ) -> None:
        self.settings, self.sets, self.results = settings, sets, results
        self.signals, self.report = signals, report
        self.alignment = Alignment(settings.alignment, settings.suite, settings.alignment_max_res)
        self.options = ScoringOptions(self.alignment, settings.camera, compute.device)
        self.taken: set[str] = set()
        self.samples = 0  # of this shard
        self._undivided = 0  # sets so far whose scores depend on all samples

    def score(self, source: Source) -> None:
        """Score a source on every set it can say anything about. Raises UsageProblem where the alignment does not suit it,
        Interrupted after a signal.
        """
        alignment = self.alignment
        alignment.check(source.kind)
        if isinstance(source, BaselineSource) and source.label in self.results.protocol["models"]:
            source.label += " (baseline)"  # a model is called that
        if any(benchmark.spec.task == "clip" for benchmark in self.sets):
            ClipFit(alignment.method(source.kind), alignment.taken_as(source.kind))  # refused before hours of work
        folder = self.settings.out / folder_name(source.label, self.taken)
        self.taken.add(folder.name)
        facts = source.facts()
        described = {**facts, "alignment": alignment.method(source.kind)}
        self.results.protocol["models"][source.label] = described
        used: set[str] = set()
        fits: set[str] = set()
        for benchmark in self.sets:
            name = benchmark.spec.name
            if why := source.why_not(benchmark):
                self.report.note(f"{source.label} on {name} is skipped: {why}")
                continue
            records, gallery = self._score_set(source, benchmark, folder, facts)
            used |= {record.get("runtime", "torch") for record in records}
            fits |= {record["alignment"] for record in records if benchmark.spec.task != "pairs"}
            if facts["kind"] == "depth" and fits == {"none"} and alignment.name == "auto":  # told focal lengths: meters
                described |= {"alignment": "none", "kind": "metric"}
            if isinstance(source, ModelSource):
                described["runtime"] = " and ".join(sorted(used))
            for text in (*getattr(source, "notes", ()), *getattr(benchmark, "notes", ())):
                self.report.note(f"{name}: {text}")
            if self.signals.received is not None:
                raise self.signals.interruption("Interrupted.", "Finished scores are in place; run again to go on.")
            if self.settings.shard is not None:
                continue
            self.results.rows.append(summary_row(source.label, name, records, alignment.method(source.kind)))
            self.results.shown.append(Scored(source.label, name, records, gallery))
            for text in _warnings(source.label, benchmark.spec, self.results.rows[-1], self.settings.camera):
                self.report.warn(text)
            for text in () if isinstance(source, BaselineSource) else _doubts(source.label, name, records):
                self.report.warn(text)

    def _score_set(
        self, source: Source, benchmark: Benchmark, folder: Path, facts: dict[str, Any]
    ) -> tuple[list[Record], Gallery]:
        """Score what is not scored yet; return all records of the set, and its figures."""
        settings, name = self.settings, benchmark.spec.name
        common = fingerprint(*_facts_of(benchmark, settings), facts, settings.alignment, settings.alignment_max_res)
        clip = isinstance(benchmark, ClipBenchmark)
        first = range(min(len(benchmark), settings.limit or len(benchmark)))
        wanted = list(first) if clip else spread(len(benchmark), settings.limit)
        keys = [(source.key(benchmark, i), benchmark.fingerprint(i)) for i in range(len(benchmark))]
        undivided = clip or source.of_others  # every score depends on all samples
        if undivided:
            common = fingerprint(common, wanted, keys)
        fingerprints = [fingerprint(common, key) for key in keys]
        left_out = partial(_leave_out, self.results, self.report, source.label, name)
        place, named = place_of(folder, settings.shard), folder_name(name)
        todo = self._of_shard(wanted, undivided)
        if settings.shard is not None and not todo:
            return [], Gallery(place / PICTURES / named, [])
        self.samples += len(todo)
        if settings.shard is None:
            take_over(folder, named, fingerprints, settings.overwrite)
        others = [] if settings.shard is None else other_books(folder, named, settings.shard)
        with ScoreBook(place / f"{named}.jsonl", fingerprints, settings.overwrite, others) as book:
            gallery = Gallery(place / PICTURES / named, book.of(wanted))
            task = Task(source, benchmark, self.options, book, gallery, left_out)
            if not {*todo} <= book.records.keys():
                source.fit(benchmark, wanted, self.signals, self.report)
            if isinstance(benchmark, ClipBenchmark):
                kept = place / MAPS / named / common
                ClipTask(task, benchmark, kept, settings.overwrite).score(todo, self.signals, self.report)
            else:
                task.score(todo, self.signals, self.report)
            return book.of(wanted), gallery

    def _of_shard(self, wanted: list[int], undivided: bool) -> list[int]:
        """Return those of the samples `wanted` of a set that this shard scores; each `undivided` set is scored by one shard."""
        shard = self.settings.shard
        if shard is None or not undivided:
            return part_of(wanted, shard)
        self._undivided += 1
        return wanted if self._undivided % shard.count == shard.number % shard.count else []


def _leave_out(results: Results, report: Report, model: str, dataset: str, image: str, error: CcdError) -> None:
    """Keep why a sample is not scored, and say it unless many were named already."""
    reason = str(error).removeprefix(f"{image}: ")
    results.left_out.append({"model": model, "dataset": dataset, "image": image, "reason": reason})
    known = sum((entry["model"], entry["dataset"]) == (model, dataset) for entry in results.left_out)
    if known <= NAMED:
        report.warn(f"{dataset} {image}: {reason}")
    if known == NAMED:
        report.warn(f"{dataset}: should more samples fail, they are in the report and not named here")


def _facts_of(benchmark: Benchmark, settings: Settings) -> tuple[Any, ...]:
    """What decides a set's truth: its rules, its listing, and the file that describes it."""
    return SCORING, ccd_cli.__version__, asdict(benchmark.spec), benchmark.names(), description_digest(settings.suite)


def _doubts(label: str, name: str, records: list[Record]) -> Iterator[str]:
    """What is odd about the fits of a model's images: pixels that they left out, and a direction that was turned."""
    if partly := [record["unfitted"] for record in records if record.get("unfitted")]:
        yield (
            f"{label} on {name}: {len(partly)} images have pixels that are not predicted > 0 (up to "
            f"{100 * max(partly):.2g} %), which the published fit leaves out: the scores depend on the shift of the disparity. "
            "--alignment midas fits all pixels."
        )
    turned = [record for record in records if isinstance(record.get("scale"), float) and record["scale"] < 0]
    if 2 * len(turned) > len(records):
        yield (
            f"{label} on {name}: the fitted scale is negative in {len(turned)} of {len(records)} images, so near and far are "
            "the other way round than the kind of the predictions says. Check --prediction-kind."
        )


def _warnings(label: str, spec: Spec, row: dict[str, Any], camera: CameraChoice) -> Iterator[str]:
    """What is odd about a row and cannot be seen in its numbers."""
    if row.get("missing", 0) > 0:
        yield (
            f"{label} predicts nothing at {100 * row['missing']:.2g} % of the scored pixels of {row['dataset']}: they "
            "are wrong in every delta and left out of the errors"
        )
    if row["alignment"] == "none" and not spec.metric and spec.task != "pairs":
        yield (
            f"{label} on {row['dataset']}: the ground truth has no meters and nothing was aligned to it, so the errors say "
            "nothing. Give --alignment scale."
        )
    if row["n"] > 1 and row.get(TAE, 0) != row.get(TAE, 0):
        yield (
            f"{label} on {row['dataset']}: no two following frames see a common point, so there is no temporal alignment "
            "error. Check `pose`, the unit of the translations and `intrinsics`."
        )
    if camera == "own" and row["n"] and spec.points and not any(key.startswith("points_") for key in row):
        yield (
            f"{label} on {row['dataset']}: no points. --camera own is for models that predict their camera, and depth "
            "without a shift."
        )
