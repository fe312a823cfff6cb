"""Trivial baselines as sources of predictions: scored as models are, by the same protocol, images and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Benchmark, Prediction, Sample, Source
from ccd_cli.benchmarks.clip import ClipBenchmark
from ccd_cli.core.concurrency import prefetch
from ccd_cli.core.errors import CcdError
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.alignment import IN_DISPARITY
from ccd_cli.scoring.baselines import ABOUT, AffineKind, Baseline, MeanMap, baseline

READERS = 2


class BaselineSource(Source):
    """One trivial baseline, of the `kind` that the alignment fits; `limit`: how many images of a set are scored."""

    batch = 1

    def __init__(self, name: Baseline, kind: AffineKind, limit: int | None = None) -> None:
        self.name: Baseline = name
        self.label: str = name
        self.kind: Kind | None = kind
        self._space: AffineKind = kind
        self._limit = limit
        self._mean = MeanMap(kind)
        self.of_others = name == "mean map"

    def facts(self) -> dict[str, Any]:
        """Return the kind, and what it is."""
        return {"kind": self.kind, "baseline": ABOUT[self.name]}

    def why_not(self, benchmark: Benchmark) -> str:
        """Return why it is not defined on a set; empty where it is."""
        if isinstance(benchmark, ClipBenchmark) and not benchmark.has_depth:
            return "the clip has no ground truth to fit to"
        if benchmark.spec.task == "pairs" and self.of_others:
            return "the set has no ground-truth depth, whose mean it would be"
        if benchmark.spec.task == "pairs" and self.name == "constant":
            return "it calls no point closer than another"
        if self.of_others and min(len(benchmark), self._limit or len(benchmark)) < 2:
            return "a single image is scored, and there is no other whose ground truth it would be"
        return ""

    def fit(self, benchmark: Benchmark, wanted: Sequence[int], signals: Signals, report: Report) -> None:
        """Read what it needs of the samples `wanted`, until a signal comes; samples that cannot be read are left out."""
        if not self.of_others:
            return
        self._mean = MeanMap(self._space)
        report.begin(f"{self.label} of {benchmark.spec.name}, ground truth", len(wanted))
        with ThreadPoolExecutor(READERS) as readers:
            for done, (_, future) in enumerate(prefetch(readers, benchmark.read, wanted, READERS), 1):
                if signals.received is not None:
                    break
                try:
                    self._mean.add(future.result())
                except (CcdError, MemoryError):  # scoring names it
                    continue
                report.advance(done)
        report.end()

    def predict(
        self, benchmark: Benchmark, samples: Sequence[Sample], prepared: Sequence[NDArray[np.float32] | None]
    ) -> list[Prediction | CcdError]:
        """Return its map, or why there is none, for each sample."""
        made: list[Prediction | CcdError] = []
        for sample in samples:
            try:
                made.append(baseline(self.name, sample, self._mean))
            except CcdError as error:
                made.append(error)
        return made


def baseline_sources(alignment: str, limit: int | None) -> list[Callable[[], BaselineSource]]:
    """Return what makes the baselines for an `--alignment` (as disparity, or as affine depth for a fit in depth) and a limit."""
    kind: AffineKind = "disparity" if alignment in {"auto", *IN_DISPARITY} else "affine-depth"
    return [partial(BaselineSource, name, kind, limit) for name in ABOUT]
