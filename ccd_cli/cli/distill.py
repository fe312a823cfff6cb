"""`ccd distill`."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

import click

from ccd_cli.cli.complete import recipes
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen, RecipeChanges
from ccd_cli.config.settings import DistillSettings, ProcessSettings
from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.launch import follow_parent, launch, launched


@click.command(cls=Command, says="Reading the recipe")
@click.argument("recipe", shell_complete=recipes)
@options_from(changes=RecipeChanges, settings=DistillSettings, many=ProcessSettings, screen=JsonScreen)
def command(
    recipe: str, changes: RecipeChanges, settings: DistillSettings, many: ProcessSettings, screen: JsonScreen
) -> None:
    """Train a student by distillation; teachers label the images during training.

    RECIPE is a file or the name of a shipped recipe (`ccd recipes list`). Several GPUs: --processes N.

    \b
    Examples:
      ccd distill recipes/indoor.yaml --set images=IMAGES
      ccd distill indoor --set images=IMAGES --set optim.batch=4 --out runs/mine
      ccd distill indoor --set images=IMAGES --resume
    """
    from ccd_cli.api.recipes import run_distill
    from ccd_cli.config.load import load_recipe, to_yaml

    loaded = load_recipe(recipe, changes.overrides)
    if changes.dry_run:
        click.echo(to_yaml(loaded), nl=False)
        return
    if many.processes > 1 and not launched():
        if loaded.optim.batch % many.processes:
            raise UsageProblem(
                f"optim.batch {loaded.optim.batch} cannot be shared by {many.processes} processes.",
                "Use a multiple of their number.",
            )
        raise SystemExit(launch(many.processes, sys.argv[1:]))
    follow_parent()
    report = screen.report()
    result = run_distill(loaded, recipe, settings, report)
    from ccd_cli.media.find import not_read_below

    if int(os.environ.get("RANK", "0")) > 0:
        return  # of several processes the first one prints
    report.note(
        f"Done: {result.steps} steps, final loss {result.loss:.4f}. Student, model card and plots are in {result.folder}; "
        f"on one page: ccd inspect {result.folder} --open"
    )
    if result.scores:
        report.note(f"Best checkpoint: AbsRel {result.scores['abs_rel']:.4f} at step {result.scores['step']:.0f}")
    not_read = not_read_below(loaded.images.paths)
    if summary := not_read.summary():
        report.warn(f"{summary.removeprefix(', ').capitalize()}.")
    screen.document({**asdict(result), "folder": str(result.folder), "not_read": not_read.as_json()})
