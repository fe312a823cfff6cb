"""Photos with true depth on which models are scored: one way to read them, one table entry a set."""

from ccd_cli.benchmarks.base import Benchmark, Prediction, Sample, Source, Spec, spread
from ccd_cli.benchmarks.suites import is_custom_suite, open_suite

__all__ = ["Benchmark", "Prediction", "Sample", "Source", "Spec", "is_custom_suite", "open_suite", "spread"]
