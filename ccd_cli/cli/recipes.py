"""`ccd recipes`: list, show and check recipes before running them."""

import json
from dataclasses import dataclass
from typing import Literal

import click
from rich.console import Console
from rich.table import Table

from ccd_cli.cli.options import Group, options_from
from ccd_cli.cli.screen import JsonScreen, Overrides, Screen
from ccd_cli.core.options import option


@dataclass(frozen=True, kw_only=True)
class SchemaSettings:
    """Which recipes are described."""

    task: Literal["distill", "label"] = option("distill", "Task of the recipe.", "Input")


@click.group(cls=Group)
def command() -> None:
    """List, show and check recipes.

    Example: ccd recipes show indoor
    """


@command.command("list")
@options_from(screen=JsonScreen)
def list_recipes(screen: JsonScreen) -> None:
    """List the shipped recipes.

    Example: ccd recipes list --json
    """
    from ccd_cli.config.find import shipped

    found = shipped()
    if screen.as_json:
        screen.document([{"name": r.name, "path": str(r.path), "about": r.about, "launch": r.launch} for r in found])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("description")
    for recipe in found:
        table.add_row(recipe.name, recipe.about)
    Console().print(table)


@command.command()
@click.argument("name")
@options_from(screen=Screen)
def show(name: str, screen: Screen) -> None:
    """Print the file of a recipe; `ccd distill NAME --dry-run` (or `ccd label`) prints it with all defaults.

    Example: ccd recipes show paper/table5-nyu
    """
    from ccd_cli.config.find import find_recipe
    from ccd_cli.core.parse import read_text

    click.echo(read_text(find_recipe(name)), nl=False)


@command.command()
@click.argument("file")
@options_from(changes=Overrides, screen=JsonScreen)
def check(file: str, changes: Overrides, screen: JsonScreen) -> None:
    """Check a recipe and list all of its problems: its keys, and what a run of it would look up.

    Images, labels, the pairs of `eval.pairs` and names of models are problems where they are wrong; models that are only
    not on this machine yet are a note.

    Example: ccd recipes check mine.yaml
    """
    from ccd_cli.api.checks import faulty_models, missing_inputs, missing_models, problems_of
    from ccd_cli.config.find import find_recipe
    from ccd_cli.config.load import load_any_recipe
    from ccd_cli.core.errors import RecipeError
    from ccd_cli.core.paths import shipped_folder

    try:
        recipe = load_any_recipe(file, changes.overrides)
        ships = find_recipe(file).resolve().is_relative_to(shipped_folder().resolve())
        images = not ships or any(text.startswith("images") for text in changes.overrides)  # else a user's to give
        if faults := [*missing_inputs(recipe, images=images), *faulty_models(recipe)]:
            raise RecipeError(file, problems_of(faults))
    except RecipeError as error:
        if not screen.as_json:
            raise
        listed = [{"key": key, "problem": problem} for key, problem in error.problems]
        screen.document({"valid": False, "problems": listed})
        raise click.exceptions.Exit(error.exit_code) from error
    notes = missing_models(recipe, file)
    if screen.as_json:
        plain = recipe.model_dump(mode="json")
        screen.document({"valid": True, "problems": [], "notes": notes, "recipe": plain})
    elif not screen.quiet:
        click.echo(f"{file}: valid ({recipe.task} recipe '{recipe.name}')")
        for note in notes:
            screen.report().note(note)


@command.command()
@options_from(settings=SchemaSettings, screen=Screen)
def schema(settings: SchemaSettings, screen: Screen) -> None:
    """Print the JSON schema of recipes, for completion and checks in editors.

    Example: ccd recipes schema --task label > label.schema.json
    """
    from ccd_cli.config.load import TASKS

    click.echo(json.dumps(TASKS[settings.task].model_json_schema(), indent=2))
