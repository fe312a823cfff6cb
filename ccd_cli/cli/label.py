"""`ccd label`."""

from __future__ import annotations

from dataclasses import asdict

import click

from ccd_cli.cli.complete import recipes
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen, RecipeChanges
from ccd_cli.config.settings import LabelSettings


@click.command(cls=Command, says="Reading the recipe")
@click.argument("recipe", shell_complete=recipes)
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
    from ccd_cli.api.recipes import run_label, with_settings
    from ccd_cli.config.load import load_label_recipe, to_yaml

    loaded = with_settings(load_label_recipe(recipe, changes.overrides), settings)
    if changes.dry_run:
        click.echo(to_yaml(loaded), nl=False)
        return
    report = screen.report()
    result = run_label(loaded, recipe, settings, report, screen.verbose)
    from ccd_cli.media.find import not_read_below

    if settings.shard is None:
        report.note(
            f"Done: {result.samples} images in {result.shards} shards, {result.bytes / 1e6:,.1f} MB, license "
            f"{result.license}; {result.folder}"
        )
    if result.filled is not None:
        crops = result.samples * (1 + loaded.crops.patches)
        report.note(
            f"Ground truth: {100 * result.filled:.1f} % of the pixels were filled; {result.refused} of {crops} crops stay as they "
            "were measured, since no fit was accepted"
        )
    if result.dropped and settings.shard is None:
        report.note(
            f"{result.dropped} images were excluded by the recipe's `drop`; see {result.folder / 'quality.jsonl'}"
        )
    not_read = not_read_below(loaded.images.paths)
    if summary := not_read.summary():
        report.warn(f"{summary.removeprefix(', ').capitalize()}.")
    screen.document({**asdict(result), "folder": str(result.folder), "not_read": not_read.as_json()})
