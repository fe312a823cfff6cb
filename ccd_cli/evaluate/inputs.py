"""What an evaluation reads: models, sets and predictions, found and checked before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from ccd_cli.benchmarks import Benchmark, open_suite
from ccd_cli.benchmarks.prediction_files import FileSource
from ccd_cli.core.errors import CcdError
from ccd_cli.evaluate.settings import Settings
from ccd_cli.teachers.load import check_runnable, resolve_model
from ccd_cli.teachers.needs import labels_of


@dataclass(frozen=True)
class Inputs:
    """`models`: {model as typed: its name in tables}; the sets; (set, why it is missing); `maps`: precomputed predictions."""

    models: dict[str, str]
    sets: list[Benchmark]
    missing: list[tuple[str, str]]
    maps: FileSource | None = None


def find_inputs(settings: Settings) -> Inputs:
    """Return what `settings` names. Only the generated set imports torch, and it is opened after the other checks.

    Raises CcdError where a model, every set, or the predictions are missing.
    """
    refs = {word: check_runnable(resolve_model(word, settings.arch)) for word in settings.models}
    models = labels_of(refs)
    if settings.predictions is not None:
        FileSource(settings.predictions, settings.prediction_kind, scale=settings.prediction_scale)  # the folder
    sets, missing = open_suite(settings.suite, settings.data_root)
    if settings.predictions is None:
        return Inputs(models, sets, missing)
    maps = FileSource(settings.predictions, settings.prediction_kind, sets, settings.prediction_scale)
    if not models and not any(map(maps.has, sets)):
        raise CcdError(
            f"{settings.predictions} holds no folder of a set, {', '.join(b.spec.name for b in sets)}, and no map under the "
            "names of its images.",
            f"Lay the maps out as DIR/{sets[0].spec.name}/{sets[0].prediction_names(0)[-1]}, in any format of depth; `ccd "
            f"predict IMAGES --save npy --out DIR/{sets[0].spec.name}` does.",
        )
    return Inputs(models, sets, missing, maps)
