"""`ccd analyze`: the loss that label noise causes with each normalization, without training; with a model, Figure 2."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from ccd_cli.analyze.inputs import find_sets
from ccd_cli.analyze.noise import VALID_FRACTION, Example, measure
from ccd_cli.analyze.report import write_results
from ccd_cli.analyze.results import Analysis, protocol
from ccd_cli.analyze.settings import Settings
from ccd_cli.benchmarks import Benchmark, Sample, spread
from ccd_cli.core.compute import Compute, choose_compute
from ccd_cli.core.concurrency import prefetch
from ccd_cli.core.errors import CcdError
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals

if TYPE_CHECKING:
    from ccd_cli.benchmarks.predictors import ModelSource

READ_AHEAD = 2
UNFIT = f"not more than {100 * VALID_FRACTION:g} % of the pixels are valid, or they are all the same"
MAX_WARNINGS = 10  # damaged images that are named on the terminal


def run(
    settings: Settings, report: Report, found: tuple[list[Benchmark], list[tuple[str, str]]] | None = None
) -> Analysis:
    """Analyze and write table, JSON and plots into `settings.out`.

    `found` is what `find_sets` returned where the caller has looked already.

    Raises CcdError where no set is found and where no image can be used, Interrupted after Ctrl-C (nothing is written).
    """
    sets, missing = found or find_sets(settings)
    for name, reason in missing:
        report.note(f"{name} is skipped: {reason}")
    compute = choose_compute(settings.device, settings.precision, settings.threads)
    source = None if settings.model is None else _source(settings, settings.model, compute, report)
    with exclusive_lock(settings.out / ".lock", f"Another analysis writes into {settings.out}."), Signals() as signals:
        analysis = Analysis(protocol(settings, sets, missing, source), source is not None)
        _analyze(settings, sets, source, compute, analysis, signals, report)
        if not analysis.measurements and not analysis.fits:
            reasons = "; ".join(dict.fromkeys(entry["reason"].rstrip(".") for entry in analysis.skipped))
            raise CcdError(f"No image of the suite '{settings.suite}' can be analyzed ({reasons}).")
        write_results(analysis, settings.out, settings.command, compute.describe())
    return analysis


def _source(settings: Settings, word: str, compute: Compute, report: Report) -> ModelSource:
    from ccd_cli.benchmarks.predictors import ModelSource  # timm: seconds
    from ccd_cli.teachers.model import load

    model = load(word, settings.arch, settings.resolution, compute, report)
    return ModelSource(model.about.name, model, settings.resolution, settings.suite, compute)


def _analyze(
    settings: Settings,
    sets: list[Benchmark],
    source: ModelSource | None,
    compute: Compute,
    analysis: Analysis,
    signals: Signals,
    report: Report,
) -> None:
    """Read every image once, measure the loss that noise causes on it, and score the model's fits."""
    todo = [(benchmark, index) for benchmark in sets for index in spread(len(benchmark), settings.images)]
    report.begin("Analyzing", len(todo))
    for done, (benchmark, name, sample) in enumerate(_read(todo), start=1):
        dataset = benchmark.spec.name
        if isinstance(sample, CcdError):
            _skip(analysis, report, {"dataset": dataset, "image": name, "stage": "all"}, sample)
        else:
            examples: dict[Any, Example] | None = None if analysis.examples else {}  # the first image with any is shown
            found = measure(sample, dataset, settings.draws, settings.seed, compute.device, examples)
            measurements = list(takewhile(lambda _: signals.received is None, found))
            analysis.measurements += measurements
            if examples:
                analysis.examples, analysis.example_name = examples, f"{dataset}, {sample.name}"
            if not measurements:
                analysis.skipped.append({"dataset": dataset, "image": name, "stage": "noise", "reason": UNFIT})
            if source is not None:
                _fit(source, benchmark, sample, analysis, report)
        if signals.received is not None:
            raise signals.interruption("Interrupted.", "Nothing was written; --images N takes fewer images.")
        report.advance(done)
    report.end()


def _fit(source: ModelSource, benchmark: Benchmark, sample: Sample, analysis: Analysis, report: Report) -> None:
    from ccd_cli.analyze.figure2 import score_image

    try:
        analysis.fits.append(score_image(source, benchmark, sample))
    except CcdError as error:
        entry = {"dataset": benchmark.spec.name, "image": sample.name, "stage": "figure 2"}
        _skip(analysis, report, entry, error)


def _read(todo: list[tuple[Benchmark, int]]) -> Iterator[tuple[Benchmark, str, Sample | CcdError]]:
    """Yield samples in order, read ahead; a damaged one as its error."""
    with ThreadPoolExecutor(1) as pool:
        try:
            for (benchmark, index), future in prefetch(pool, lambda it: it[0].read(it[1]), todo, READ_AHEAD):
                name = benchmark.names()[index]
                try:
                    yield benchmark, name, future.result()
                except CcdError as error:
                    yield benchmark, name, error
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
