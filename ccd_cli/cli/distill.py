"""`ccd distill`."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ccd_cli.cli.complete import recipes
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen, Overrides
from ccd_cli.config.settings import DistillSettings, ProcessSettings, RehearsalSettings
from ccd_cli.core.errors import CcdError, Interrupted, UsageProblem
from ccd_cli.core.launch import follow_parent, launch, launched

if TYPE_CHECKING:
    from ccd_cli.config.distill import DistillRecipe


@click.command(cls=Command, says="Reading the recipe")
@click.argument("recipe", shell_complete=recipes)
@options_from(
    changes=Overrides, settings=DistillSettings, many=ProcessSettings, asked=RehearsalSettings, screen=JsonScreen
)
def command(
    recipe: str,
    changes: Overrides,
    settings: DistillSettings,
    many: ProcessSettings,
    asked: RehearsalSettings,
    screen: JsonScreen,
) -> None:
    """Train a student by distillation; teachers label the images during training.

    RECIPE is a file or the name of a shipped recipe (`ccd recipes list`). Several GPUs: --processes N.

    \b
    Examples:
      ccd distill recipes/indoor.yaml --set images=IMAGES
      ccd distill indoor --set images=IMAGES --set optim.batch=4 --out runs/mine
      ccd distill indoor --set images=IMAGES --resume
      ccd distill indoor --set images=IMAGES --profile 20
    """
    from ccd_cli.api.recipes import run_distill
    from ccd_cli.config.load import load_recipe

    loaded = load_recipe(recipe, changes.overrides)
    if many.processes > 1 and not launched():
        if loaded.optim.batch % many.processes:
            raise UsageProblem(
                f"optim.batch {loaded.optim.batch} cannot be shared by {many.processes} processes.",
                "Use a multiple of their number.",
            )
        raise SystemExit(launch(many.processes, sys.argv[1:]))
    follow_parent()
    if asked.wanted:
        _rehearse(loaded, recipe, settings, asked, screen)
        return
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


def _rehearse(
    loaded: DistillRecipe, source: str, settings: DistillSettings, asked: RehearsalSettings, screen: JsonScreen
) -> None:
    """Print what `--dry-run` or `--profile` find."""
    from ccd_cli.api.recipes import rehearse_distill
    from ccd_cli.config.load import to_yaml
    from ccd_cli.core.report import Report, Silent

    first = int(os.environ.get("RANK", "0")) == 0  # of several processes the first one prints
    if asked.dry_run and first and not screen.as_json:
        click.echo(to_yaml(loaded), nl=False)
    report: Report = screen.report() if first else Silent()
    try:
        found = rehearse_distill(loaded, source, settings, asked, report)
    except CcdError as error:
        if isinstance(error, Interrupted) or asked.profile is not None or settings.resume or screen.as_json:
            raise
        report.warn(f"A run would not start, and so there is no table of costs: {error.message} {error.hint}")
        return
    if not first:
        return
    if asked.dry_run:
        from ccd_cli.rehearsal.cost import cost_notes, cost_table

        report.table(f"{found['name']} on {found['device']}", cost_table(found))
        for note in cost_notes(found):
            report.note(note)
        screen.document({"recipe": loaded.model_dump(mode="json"), **found})
        return
    from ccd_cli.rehearsal.profile import NAMES, profile_table

    speed = f"{found['images_per_second']:.3g} images a second"
    report.table(f"{found['name']} on {found['device']}: {found['steps']} steps, {speed}", profile_table(found))
    report.note(f"Slowest: {NAMES[found['slowest']]}. {found['advice']}")
    screen.document(found)
