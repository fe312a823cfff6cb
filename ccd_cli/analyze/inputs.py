"""What an analysis reads, found and checked before torch is loaded."""

from __future__ import annotations

from ccd_cli.analyze.settings import Settings
from ccd_cli.benchmarks import Benchmark, open_suite
from ccd_cli.teachers.load import check_runnable, resolve_model


def find_sets(settings: Settings) -> tuple[list[Benchmark], list[tuple[str, str]]]:
    """Return (sets found, [(name, why it is missing)]), after a check of the model; only the generated set imports torch.

    Raises CcdError where the model or every set is missing.
    """
    if settings.model is not None:
        check_runnable(resolve_model(settings.model, settings.arch))
    return open_suite(settings.suite, settings.data_root)
