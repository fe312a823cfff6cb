"""Photos with ground-truth depth on which models are scored: one way to read them, one table entry a set.

The names are imported when they are used: the tables of sets beside them need no numpy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccd_cli.benchmarks.base import Benchmark, Prediction, Sample, Source, Spec, spread
    from ccd_cli.benchmarks.suites import is_custom_suite, open_suite

__all__ = ["Benchmark", "Prediction", "Sample", "Source", "Spec", "is_custom_suite", "open_suite", "spread"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ccd_cli.benchmarks import base, suites

    return getattr(suites if hasattr(suites, name) else base, name)
