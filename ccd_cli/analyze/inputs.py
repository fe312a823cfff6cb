"""What an analysis reads, found and checked before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from ccd_cli.analyze.settings import Settings
from ccd_cli.benchmarks import Benchmark, open_suite
from ccd_cli.teachers.load import check_runnable, resolve_model
from ccd_cli.teachers.needs import labels_of


@dataclass(frozen=True)
class Inputs:
    """The sets; (set, why it is missing); `models`: {model as typed: its name in tables}."""

    sets: list[Benchmark]
    missing: list[tuple[str, str]]
    models: dict[str, str]


def find_inputs(settings: Settings) -> Inputs:
    """Return what `settings` names, after a check of the models; only the generated set imports torch.

    Raises CcdError where a model or every set is missing.
    """
    refs = {word: check_runnable(resolve_model(word, settings.arch)) for word in settings.models}
    sets, missing = open_suite(settings.suite, settings.data_root)
    return Inputs(sets, missing, labels_of(refs))
