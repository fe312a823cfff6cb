"""`ccd analyze`: the loss that label noise causes with each normalization, without training; with models, what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import ccd_cli
from ccd_cli.analyze.inputs import Inputs, find_inputs
from ccd_cli.analyze.noise import VALID_FRACTION, Example, measure
from ccd_cli.analyze.report import write_results
from ccd_cli.analyze.results import Analysis, protocol
from ccd_cli.analyze.settings import Settings
from ccd_cli.benchmarks import Benchmark, Sample, spread
from ccd_cli.benchmarks.suites import description_digest
from ccd_cli.core.compute import Compute, choose_compute
from ccd_cli.core.concurrency import prefetch
from ccd_cli.core.errors import CcdError
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals

if TYPE_CHECKING:
    from ccd_cli.analyze.teachers import Kept
    from ccd_cli.benchmarks.predictors import ModelSource

KEPT = "models.jsonl"
READ_AHEAD = 2
UNFIT = f"not more than {100 * VALID_FRACTION:g} % of the pixels are valid, or they are all the same"
MAX_WARNINGS = 10  # damaged images that are named on the terminal


def run(settings: Settings, report: Report, inputs: Inputs | None = None) -> Analysis:
    """Analyze and write table, JSON and plots into `settings.out`.

    `inputs` is what `find_inputs` returned where the caller has looked already. What models said about an image is kept in
    `models.jsonl`, so that an analysis that was interrupted, or one of more images, predicts only what is new.

    Raises CcdError where no set is found and where no image can be used, Interrupted after Ctrl-C (only `models.jsonl` is written).
    """
    inputs = inputs or find_inputs(settings)
    for name, reason in inputs.missing:
        report.note(f"{name} is skipped: {reason}")
    compute = choose_compute(settings.device, settings.precision, settings.threads, report)
    sources = [_source(settings, word, label, compute, report) for word, label in inputs.models.items()]
    _warn_of_twins(sources, report)
    with exclusive_lock(settings.out / ".lock", f"Another analysis writes into {settings.out}."), Signals() as signals:
        analysis = Analysis(protocol(settings, inputs, sources), bool(sources))
        _analyze(settings, inputs.sets, sources, compute, analysis, signals, report)
        if not analysis.measurements and not any(analysis.models.values()):
            reasons = "; ".join(dict.fromkeys(entry["reason"].rstrip(".") for entry in analysis.skipped))
            raise CcdError(f"No image of the suite '{settings.suite}' can be analyzed ({reasons}).")
        write_results(analysis, settings.out, settings.command, compute.describe())
    return analysis


def _source(settings: Settings, word: str, label: str, compute: Compute, report: Report) -> ModelSource:
    from ccd_cli.benchmarks.predictors import ModelSource  # timm: seconds
    from ccd_cli.teachers.model import load

    model = load(word, settings.arch, settings.resolution, compute, report)
    return ModelSource(label, model, settings.resolution, settings.suite, compute)


def _warn_of_twins(sources: list[ModelSource], report: Report) -> None:
    """Say where two models are the same weights: their errors correlate by 1, and say nothing about a second teacher."""
    first: dict[str, str] = {}
    for source in sources:
        digits = str(source.facts()["sha256"])
        if digits in first:
            report.warn(f"{source.label} and {first[digits]} are the same weights: their errors are the same as well.")
        first.setdefault(digits, source.label)


def _analyze(
    settings: Settings,
    sets: list[Benchmark],
    sources: list[ModelSource],
    compute: Compute,
    analysis: Analysis,
    signals: Signals,
    report: Report,
) -> None:
    """Read every image once, measure the loss that noise causes on it, and what the models say about it."""
    todo = [(benchmark, index) for benchmark in sets for index in spread(len(benchmark), settings.images)]

    def ask(benchmark: Benchmark, sample: Sample) -> dict[str, Any] | None:
        from ccd_cli.analyze.teachers import measure  # timm: seconds

        asked = (settings.patches, settings.seed)
        return measure(sources, benchmark, sample, asked, compute.device, lambda: signals.received is not None)

    with _kept(settings, sources) as kept:
        report.begin("Analyzing", len(todo))
        for done, (benchmark, index, sample) in enumerate(_read(todo), start=1):
            dataset, name = benchmark.spec.name, benchmark.names()[index]
            if isinstance(sample, CcdError):
                _skip(analysis, report, {"dataset": dataset, "image": name, "stage": "all"}, sample)
            else:
                examples: dict[Any, Example] | None = (
                    None if analysis.examples else {}
                )  # the first image with any is shown
                found = measure(sample, dataset, settings.draws, settings.seed, compute.device, examples)
                measurements = list(takewhile(lambda _: signals.received is None, found))
                analysis.measurements += measurements
                if examples:
                    analysis.examples, analysis.example_name = examples, f"{dataset}, {sample.name}"
                if not measurements:
                    analysis.skipped.append({"dataset": dataset, "image": name, "stage": "noise", "reason": UNFIT})
                if kept is not None:
                    _add(analysis, kept, kept.mark(benchmark, index), partial(ask, benchmark, sample), report)
            if signals.received is not None:
                how = "the same command resumes" if sources else "nothing was written"
                raise signals.interruption("Interrupted.", f"Finished: {done - 1} of {len(todo)} images; {how}.")
            report.advance(done)
        report.end()


def _kept(settings: Settings, sources: list[ModelSource]) -> AbstractContextManager[Kept | None]:
    if not sources:
        return nullcontext()
    from ccd_cli.analyze.teachers import Kept  # timm: seconds

    truth = [ccd_cli.__version__, settings.suite, description_digest(settings.suite)]
    facts = [*truth, settings.patches, settings.seed, [(source.label, source.facts()) for source in sources]]
    return Kept(settings.out / KEPT, facts)


def _add(analysis: Analysis, kept: Kept, mark: str, ask: Callable[[], dict[str, Any] | None], report: Report) -> None:
    """Add what the models say about one image to the analysis: measured earlier, or now; nothing where a signal came."""
    found = kept.get(mark)
    if found is None:
        if (made := ask()) is None:
            return
        found = kept.add(mark, made)
    for question, rows in analysis.models.items():
        rows += found[question]
    for entry in found["skipped"]:
        _skip(analysis, report, entry, CcdError(entry["reason"]))


def _read(todo: list[tuple[Benchmark, int]]) -> Iterator[tuple[Benchmark, int, Sample | CcdError]]:
    """Yield samples in order, read ahead; a damaged one as its error."""
    with ThreadPoolExecutor(1) as pool:
        try:
            for (benchmark, index), future in prefetch(pool, lambda it: it[0].read(it[1]), todo, READ_AHEAD):
                try:
                    yield benchmark, index, future.result()
                except CcdError as error:
                    yield benchmark, index, error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _skip(analysis: Analysis, report: Report, entry: dict[str, str], error: CcdError) -> None:
    """List an image (`dataset`, `image`, `stage`) as skipped with the reason, and say it unless many were named already."""
    reason = str(error).removeprefix(f"{entry['image']}: ")
    analysis.skipped.append({**entry, "reason": reason})
    count = sum(other["reason"] != UNFIT for other in analysis.skipped)
    stage = "" if entry["stage"] == "all" else f" for {entry['stage']}"
    if count <= MAX_WARNINGS:
        report.warn(f"{entry['dataset']} {entry['image']}: skipped{stage}: {reason}")
    if count == MAX_WARNINGS:
        report.warn("further skipped images are listed on the page and not named here")
