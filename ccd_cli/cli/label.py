"""`ccd label`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen, RecipeChanges
from ccd_cli.config.settings import LabelSettings


@click.command(cls=Command)
@click.argument("recipe")
@options_from(changes=RecipeChanges, settings=LabelSettings, screen=JsonScreen)
def command(recipe: str, changes: RecipeChanges, settings: LabelSettings, screen: JsonScreen) -> None:
    """Write multi-teacher pseudo-labels into shards for training (docs/labels.md).

    An interrupted run resumes with the same command and ends in the same bytes, with either engine. --threads and
    --precision set the recipe's keys `threads` and `teachers.N.precision`, because labels depend on them.

    \b
    Examples:
      ccd label label/quickstart
      ccd label recipes/label/indoor.yaml --set images=IMAGES --out labels/mine
      ccd label label/indoor --set images=IMAGES --engine ray --workers 8
      ccd inspect labels/mine
    """
    from ccd_cli.cli.checks import check_inputs
    from ccd_cli.config.load import load_label_recipe, to_yaml

    loaded = load_label_recipe(recipe, changes.overrides)
    if settings.threads is not None:
        loaded = loaded.model_copy(update={"threads": settings.threads})
    if settings.precision != "auto":
        teachers = [teacher.model_copy(update={"precision": settings.precision}) for teacher in loaded.teachers]
        loaded = loaded.model_copy(update={"teachers": teachers})
    if changes.dry_run:
        click.echo(to_yaml(loaded), nl=False)
        return
    report = screen.report()
    folder = Path(settings.out or loaded.out or Path("labels") / loaded.name)
    if settings.overwrite or not (folder / "index.json").exists():  # finished labels need nothing any more
        check_inputs(loaded, recipe)
    report.note(f"Recipe {loaded.name}; loading torch")
    from ccd_cli.core.paths import builtin_path
    from ccd_cli.label.run import EngineOptions, run
    from ccd_cli.media.find import not_read_below

    result = run(
        loaded,
        out=settings.out,
        overwrite=settings.overwrite,
        verify=settings.verify,
        device=settings.device,
        engine=EngineOptions(settings.engine, settings.workers, screen.verbose, settings.runtime),
        report=report,
    )
    report.note(
        f"Done: {result.samples} images in {result.shards} shards, {result.bytes / 1e6:,.1f} MB, license "
        f"{result.license}; {result.folder}"
    )
    if result.dropped:
        report.note(
            f"{result.dropped} images were excluded by the recipe's `drop`; see {result.folder / 'quality.jsonl'}"
        )
    if result.skipped:
        report.warn(f"{result.skipped} images could not be read; see {result.folder / 'skipped.jsonl'}")
    not_read = not_read_below([builtin_path(text) for text in loaded.images.paths])
    if summary := not_read.summary():
        report.warn(f"{summary.removeprefix(', ').capitalize()}.")
    screen.document({**asdict(result), "folder": str(result.folder), "not_read": not_read.as_json()})
