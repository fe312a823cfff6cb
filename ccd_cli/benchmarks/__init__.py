"""Photos with true depth on which models are scored: one way to read them, one table entry a set."""

from ccd_cli.benchmarks.base import Benchmark, Sample, Spec, spread
from ccd_cli.benchmarks.suites import open_suite

__all__ = ["Benchmark", "Sample", "Spec", "open_suite", "spread"]
