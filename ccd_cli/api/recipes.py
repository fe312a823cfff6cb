"""Runs of recipes: `distill` and `label`, for the commands of these names and for Python."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccd_cli.api.checks import check_inputs
from ccd_cli.api.options import settings_from, text_of
from ccd_cli.api.reporting import plain_errors, report_for
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.label import LabelRecipe
from ccd_cli.config.load import load_label_recipe, load_recipe
from ccd_cli.config.settings import DistillSettings, LabelSettings, RehearsalSettings
from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.core.settings import EngineName

if TYPE_CHECKING:
    from ccd_cli.distill.results import Result as DistillResult
    from ccd_cli.label.run import Result as LabelResult

Recipe = str | os.PathLike[str] | Mapping[str, Any]


def distill(
    recipe: Recipe,
    *,
    set: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
    **overrides: Any,
) -> DistillResult:
    """Train a student as `ccd distill` does, and return what the run left: folder, steps, loss, scores, skipped.

    `recipe`: a file, the name of a shipped recipe, or plain values. Keys are overridden by `set={"optim.steps": 100}` or by
    keywords, two underscores for a dot: `images="IMAGES", optim__steps=100`; a dict changes the keys that it names. `device`,
    `precision` and `threads` are keywords, too. `out`: the run folder (`runs/NAME`), `resume` continues the run in it, `overwrite`
    starts over.

    Raises RecipeError with every problem of the recipe, CcdError for what is missing, both before any time is spent;
    TrainingStopped by a guard and Interrupted after Ctrl-C, both with the state saved.
    """
    with plain_errors():
        given = {"out": out, "resume": resume, "overwrite": overwrite}
        settings, changes = _split(DistillSettings, given, {**overrides})
        source = _source(recipe)
        loaded = load_recipe(source, [*_changes(set or {}), *_changes(changes)])
        return run_distill(loaded, source, settings, report_for(progress))


def label(
    recipe: Recipe,
    *,
    set: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    engine: EngineName = "local",
    overwrite: bool = False,
    progress: bool = False,
    **overrides: Any,
) -> LabelResult:
    """Write pseudo-labels as `ccd label` does, and return what the folder holds: folder, samples, dropped, skipped, shards, bytes,
    license; of filled ground truth the mean fraction `filled` and how many crops were `refused`, else None.

    `recipe`, `set` and keywords as of `distill`; `device`, `precision`, `threads`, `workers` and `verify` are keywords, too. `out`:
    the folder (`labels/NAME`); an interrupted run resumes. Raises as `distill`.
    """
    with plain_errors():
        given = {"out": out, "engine": engine, "overwrite": overwrite}
        settings, changes = _split(LabelSettings, given, {**overrides})
        source = _source(recipe)
        loaded = load_label_recipe(source, [*_changes(set or {}), *_changes(changes)])
        return run_label(with_settings(loaded, settings), source, settings, report_for(progress))


def run_distill(
    loaded: DistillRecipe, source: str | Mapping[str, Any], settings: DistillSettings, report: Report
) -> DistillResult:
    """Check everything that a recipe names, before torch is imported, and run it; `source` is the recipe as it was typed."""
    if not settings.resume:  # a finished run needs nothing any more; an unfinished one is compared with its state
        check_inputs(loaded, source if isinstance(source, str) else "")
    report.note(f"Recipe {loaded.name}; loading torch")
    from ccd_cli.distill.train import run

    result = run(loaded, settings, report)
    if result.skipped and int(os.environ.get("RANK", "0")) == 0:
        report.warn(f"{result.skipped} images could not be read; see {result.folder / 'skipped.jsonl'}")
    return result


def rehearse_distill(
    loaded: DistillRecipe, source: str, settings: DistillSettings, asked: RehearsalSettings, report: Report
) -> dict[str, Any]:
    """Do what `--dry-run` or `--profile` ask for, with all checks of a run, and return the result; `source` as in `run_distill`."""
    if settings.resume:
        raise UsageProblem("--dry-run and --profile are about a new run.", "Leave --resume out.")
    check_inputs(loaded, source)
    report.note(f"Recipe {loaded.name}; loading torch")
    if asked.profile is not None:
        from ccd_cli.rehearsal.profile import profile

        return profile(loaded, settings, asked.profile, report)
    from ccd_cli.rehearsal.cost import dry_run

    return dry_run(loaded, settings, report)


def run_label(
    loaded: LabelRecipe,
    source: str | Mapping[str, Any],
    settings: LabelSettings,
    report: Report,
    verbose: bool = False,
) -> LabelResult:
    """Check everything that a label recipe names, before torch is imported, and run it; `verbose` shows Ray's own messages."""
    folder = Path(settings.out or loaded.out or Path("labels") / loaded.name)
    if settings.overwrite or not (folder / "index.json").exists():  # finished labels need nothing any more
        check_inputs(loaded, source if isinstance(source, str) else "")
    report.note(f"Recipe {loaded.name}; loading torch")
    from ccd_cli.label.run import EngineOptions, run

    result = run(
        loaded,
        out=settings.out,
        overwrite=settings.overwrite,
        verify=settings.verify,
        device=settings.device,
        engine=EngineOptions(settings.engine, settings.workers, verbose, settings.runtime, settings.shard),
        report=report,
    )
    if result.skipped:
        where = "" if settings.shard else f"; see {result.folder / 'skipped.jsonl'}"
        report.warn(f"{result.skipped} images could not be read{where}")
    return result


def with_settings(loaded: LabelRecipe, settings: LabelSettings) -> LabelRecipe:
    """Return the recipe with the settings that labels depend on: `threads`, and the precision of every teacher."""
    if settings.threads is not None:
        loaded = loaded.model_copy(update={"threads": settings.threads})
    if settings.precision != "auto":
        teachers = [teacher.model_copy(update={"precision": settings.precision}) for teacher in loaded.teachers]
        loaded = loaded.model_copy(update={"teachers": teachers})
    return loaded


def _source(recipe: Recipe) -> str | Mapping[str, Any]:
    return recipe if isinstance(recipe, Mapping) else text_of("recipe", recipe)


def _split(settings: type[Any], given: dict[str, Any], keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return (the settings, the other keywords as {key path: value})."""
    names = {each.name for each in fields(settings)}
    taken = {name: keywords.pop(name) for name in [*keywords] if name in names}
    return settings_from(settings, {**given, **taken}), {
        name.replace("__", "."): value for name, value in keywords.items()
    }


def _changes(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give (key path, plain value) of every leaf: a dict changes the keys that it names."""
    if not isinstance(values, Mapping):
        raise UsageProblem(f"set is a dict of key paths to values, not {type(values).__name__}.")
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _changes(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: Any) -> Any:
    """Return a value as YAML would give it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
