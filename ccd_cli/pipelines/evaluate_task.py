"""Scoring one source on one set: read ahead, predict in batches, score behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Signals
from ccd_cli.data.benchmarks import Benchmark, Sample
from ccd_cli.pipelines.evaluate_pictures import Gallery, Panels, draw
from ccd_cli.pipelines.evaluate_score import Alignment, score
from ccd_cli.pipelines.evaluate_sources import Prediction, Source
from ccd_cli.pipelines.evaluate_store import Record, ScoreBook
from ccd_cli.pipelines.overlap import Behind, ahead, chunks

READERS = SCORERS = 2

Prepared = tuple[Sample, NDArray[np.float32] | None]
Scored = tuple[int, Record | CcdError, Panels | None]


class Task:
    """One source, one set, and where scores and pictures go. `left_out(image, error)` hears of what cannot be scored."""

    def __init__(
        self,
        source: Source,
        benchmark: Benchmark,
        alignment: Alignment,
        book: ScoreBook,
        gallery: Gallery,
        left_out: Callable[[str, CcdError], None],
    ) -> None:
        self.source, self.benchmark, self.alignment = source, benchmark, alignment
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
        report.begin(what, len(wanted), done)

        def take(result: Any) -> None:
            nonlocal done
            done += 1
            index, record, panels = result
            if isinstance(record, CcdError):
                self.left_out(self.names[index], record)
                return
            self.gallery.add(record, panels)  # before its record: after a kill in between it is drawn again
            self.book.add(record)
            report.advance(done, abs_rel=record["scores"]["abs_rel"])

        with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(SCORERS) as scorers:
            behind = Behind(scorers, SCORERS + size - 1, take)
            for chunk in chunks(ahead(readers, self._read, todo, READERS + size - 1), size):
                if signals.received is not None:
                    break
                for index, sample, prediction in self._predicted(chunk):
                    behind.add(partial(self._scored, index, sample, prediction))
            behind.finish()
        report.end()

    def _read(self, index: int) -> Prepared:
        return self.benchmark.read(index), self.source.prepare(self.benchmark, index)

    def _predicted(
        self, chunk: list[tuple[int, Future[Prepared]]]
    ) -> Iterator[tuple[int, Sample, Prediction | CcdError]]:
        read: list[tuple[int, Prepared]] = []
        for index, future in chunk:
            try:
                read.append((index, future.result()))
            except CcdError as error:
                self.left_out(self.names[index], error)
            except MemoryError:
                self.left_out(self.names[index], CcdError("does not fit into memory"))
        if read:
            samples, prepared = [s for _, (s, _) in read], [p for _, (_, p) in read]
            made = self.source.predict(self.benchmark, samples, prepared)
            for (index, _), sample, prediction in zip(read, samples, made, strict=True):
                yield index, sample, prediction

    def _scored(self, index: int, sample: Sample, prediction: Prediction | CcdError) -> Scored:
        if isinstance(prediction, CcdError):
            return index, prediction, None
        try:
            made, aligned = score(self.benchmark.spec, sample, prediction, self.alignment)
        except CcdError as error:
            return index, error, None
        except MemoryError:
            return index, CcdError("does not fit into memory"), None
        record = {"index": index, **made, "image": self.names[index]}
        return index, record, draw(sample, aligned, sample.mask) if self.gallery.wants(record) else None
