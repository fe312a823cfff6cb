"""`ccd recipes`: see and check before running."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from ccd_cli.cli.options import json_option


@click.group()
def command() -> None:
    """List, show and check recipes.

    Example: ccd recipes show indoor
    """


@command.command("list")
@json_option
def list_recipes(as_json: bool) -> None:
    """List the shipped recipes.

    Example: ccd recipes list --json
    """
    from ccd_cli.config.load import shipped

    found = shipped()
    if as_json:
        rows = [{"name": r.name, "path": str(r.path), "about": r.about, "launch": r.launch} for r in found]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it is")
    for recipe in found:
        table.add_row(recipe.name, recipe.about)
    Console().print(table)


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a recipe as it is written; `ccd distill NAME --dry-run` (or `ccd label`) prints it resolved.

    Example: ccd recipes show paper/table5-nyu
    """
    from ccd_cli.config.load import find_recipe

    click.echo(find_recipe(name).read_text(encoding="utf-8"), nl=False)


@command.command()
@click.argument("file")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one recipe key; may be repeated."
)
@json_option
def check(file: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a recipe and list all its problems at once.

    Example: ccd recipes check mine.yaml
    """
    from ccd_cli.config.load import load_any_recipe
    from ccd_cli.core.errors import RecipeError

    try:
        recipe = load_any_recipe(file, overrides)
    except RecipeError as error:
        if not as_json:
            raise
        problems = [{"key": key, "problem": problem} for key, problem in error.problems]
        click.echo(json.dumps({"valid": False, "problems": problems}, indent=2))
        raise click.exceptions.Exit(error.exit_code) from error
    if as_json:
        click.echo(json.dumps({"valid": True, "problems": [], "recipe": recipe.model_dump(mode="json")}, indent=2))
    else:
        click.echo(f"{file}: valid ({recipe.task} recipe '{recipe.name}')")


@command.command()
@click.option(
    "--task", type=click.Choice(["distill", "label"]), default="distill", show_default=True, help="Whose keys."
)
def schema(task: str) -> None:
    """Print the JSON schema of recipes, for editors.

    Example: ccd recipes schema --task label > label.schema.json
    """
    from ccd_cli.config.load import TASKS

    click.echo(json.dumps(TASKS[task].model_json_schema(), indent=2))
