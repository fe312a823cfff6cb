"""Scoring one source on one set: read ahead, predict in batches, score behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Benchmark, Prediction, Sample, Source
from ccd_cli.core.concurrency import BackgroundWork, chunks, prefetch
from ccd_cli.core.errors import CcdError
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals
from ccd_cli.evaluate.figures import Gallery, Panels, draw
from ccd_cli.evaluate.pairs import draw_pairs
from ccd_cli.evaluate.store import ScoreBook
from ccd_cli.scoring.image import ScoringOptions, score
from ccd_cli.scoring.names import NAMES
from ccd_cli.scoring.pairs import score_pairs
from ccd_cli.scoring.rows import Record

READERS = SCORERS = 2

Prepared = tuple[Sample, NDArray[np.float32] | None]
LeftOut = Callable[[str, CcdError], None]
Scored = tuple[int, Record | CcdError, Panels | None]


PROGRESS_SCORE = {"depth": "abs_rel", "pairs": "pair_accuracy", "clip": "abs_rel"}
"""Score whose mean progress shows."""


class Task:
    """One source, one set, and where scores and pictures go. `left_out(image, error)` hears of what cannot be scored."""

    def __init__(
        self,
        source: Source,
        benchmark: Benchmark,
        options: ScoringOptions,
        book: ScoreBook,
        gallery: Gallery,
        left_out: LeftOut,
    ) -> None:
        self.source, self.benchmark, self.options = source, benchmark, options
        self.book, self.gallery, self.left_out = book, gallery, left_out
        self.names = benchmark.names()

    def score(self, wanted: list[int], signals: Signals, report: Report) -> None:
        """Score those of the samples `wanted` that are not in the book yet, until a signal comes; in order."""
        todo = [i for i in wanted if i not in self.book.records]
        what = f"{self.source.label} on {self.benchmark.spec.name}"
        if not todo:
            report.note(f"{what}: scored already (--overwrite does it again)")
            return
        done, size = len(wanted) - len(todo), self.source.batch
        score_key = PROGRESS_SCORE[self.benchmark.spec.task]
        report.begin(what, len(wanted), done)
        values: list[float] = []  # of those scored now

        def take(result: Any) -> None:
            nonlocal done
            done += 1
            index, record, panels = result
            if isinstance(record, CcdError):
                self.left_out(self.names[index], record)
                return
            self.gallery.add(record, panels)  # before its record: after a kill in between it is drawn again
            self.book.add(record | ran_in(self.source))
            values.append(record["scores"][score_key])
            report.advance(done, **{f"mean {NAMES[score_key]}": fmean(values)})

        with ThreadPoolExecutor(SCORERS) as scorers:
            behind = BackgroundWork(scorers, SCORERS + size - 1, take)
            for index, sample, prediction in predicted(self.source, self.benchmark, todo, self.left_out, signals):
                behind.add(partial(self._scored, index, sample, prediction))
            behind.finish()
        report.end()

    def _scored(self, index: int, sample: Sample, prediction: Prediction | CcdError) -> Scored:
        if isinstance(prediction, CcdError):
            return index, prediction, None
        try:
            if sample.pairs is None:
                spec = self.benchmark.spec
                unfitted = self.options.alignment.unfitted(spec, prediction, sample)
                made, aligned = score(spec, sample, prediction, self.options)
                made |= {"unfitted": unfitted} if unfitted else {}
                panels = partial(draw, sample, aligned, sample.mask)
            else:
                kind = self.options.alignment.taken_as(prediction.kind)
                made = score_pairs(sample, prediction, kind)
                panels = partial(draw_pairs, sample, prediction, kind)
        except CcdError as error:
            return index, error, None
        except MemoryError:
            return index, CcdError("does not fit into memory"), None
        record = {"index": index, **made, "image": self.names[index]}
        return index, record, panels() if self.gallery.wants(record) else None


def ran_in(source: Source) -> Record:
    """Return what the record of a new score says of the software that ran the network; nothing for torch and for files."""
    runtime = getattr(source, "runtime", "torch")
    return {} if runtime == "torch" else {"runtime": runtime}


def predicted(
    source: Source, benchmark: Benchmark, todo: list[int], left_out: LeftOut, signals: Signals
) -> Iterator[tuple[int, Sample, Prediction | CcdError]]:
    """Give (index, sample, its map or why there is none) of the samples `todo`, in order, until a signal comes.

    Samples are read in threads, a bounded number ahead, and predicted in batches; those that cannot be read go to `left_out`.
    """

    def read(index: int) -> Prepared:
        return benchmark.read(index), source.prepare(benchmark, index)

    names, size = benchmark.names(), source.batch
    with ThreadPoolExecutor(READERS) as readers:
        for chunk in chunks(prefetch(readers, read, todo, READERS + size - 1), size):
            if signals.received is not None:
                return
            ready: list[tuple[int, Prepared]] = []
            for index, future in chunk:
                try:
                    ready.append((index, future.result()))
                except CcdError as error:
                    left_out(names[index], error)
                except MemoryError:
                    left_out(names[index], CcdError("does not fit into memory"))
            if ready:
                samples, prepared = [s for _, (s, _) in ready], [p for _, (_, p) in ready]
                made = source.predict(benchmark, samples, prepared)
                for (index, _), sample, prediction in zip(ready, samples, made, strict=True):
                    yield index, sample, prediction
