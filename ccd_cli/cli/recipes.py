"""`ccd recipes`: list, show, explain, write and check recipes before running them."""

import json
from dataclasses import dataclass
from typing import Literal

import click

from ccd_cli.cli.complete import keys, recipes
from ccd_cli.cli.options import Group, options_from
from ccd_cli.cli.screen import JsonScreen, Overrides, Screen
from ccd_cli.core.options import option


@dataclass(frozen=True, kw_only=True)
class SchemaSettings:
    """Which recipes are described."""

    task: Literal["distill", "label"] = option("distill", "Task of the recipe.", "Input")


@dataclass(frozen=True, kw_only=True)
class NewSettings:
    """What a new recipe is like."""

    base: str = option(
        "indoor",
        "Recipe that it is like: a file or the name of a shipped one.",
        "Input",
        flags="--from",
        metavar="RECIPE",
    )


@click.group(cls=Group)
def command() -> None:
    """List, show, explain, write and check recipes.

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
    from rich.console import Console

    from ccd_cli.terminal.table import show_table

    show_table(Console(), [{"recipe": recipe.name, "description": recipe.about} for recipe in found])


@command.command()
@click.argument("name", shell_complete=recipes)
@options_from(screen=JsonScreen)
def show(name: str, screen: JsonScreen) -> None:
    """Print the file of a recipe; `ccd distill NAME --dry-run` (or `ccd label`) prints it with all defaults.

    Example: ccd recipes show paper/table5-nyu
    """
    from ccd_cli.config.find import find_recipe
    from ccd_cli.core.parse import read_text

    path = find_recipe(name)
    text = read_text(path)
    screen.document({"name": name, "path": str(path), "text": text})
    if not screen.as_json:
        click.echo(text, nl=False)


@command.command(says="Reading the shipped recipes")
@click.argument("key", shell_complete=keys)
@options_from(screen=JsonScreen)
def explain(key: str, screen: JsonScreen) -> None:
    """Explain a recipe key: type, default, reason, source, and what the shipped recipes set it to.

    KEY is a path, such as optim.steps, teachers.N.weight or a section, such as loss.

    Example: ccd recipes explain optim.steps
    """
    from ccd_cli.config.keys import explain as explain_key

    found = explain_key(key)
    if screen.as_json:
        screen.document(found)
        return
    from ccd_cli.cli.explain import lines

    click.echo("\n\n".join("\n".join(lines(each)) for each in found))


@command.command("new", says="Reading the base recipe")
@click.argument("name")
@options_from(settings=NewSettings, screen=JsonScreen)
def write_new(name: str, settings: NewSettings, screen: JsonScreen) -> None:
    """Write a commented recipe like another one: every key that it sets and the other common keys, each with its reason.

    NAME becomes NAME.yaml in this folder; a path with .yaml is taken as it is. The JSON schema for editors is written beside
    it. Files are not overwritten.

    \b
    Examples:
      ccd recipes new mine --from indoor
      ccd recipes new recipes/labels.yaml --from label/indoor
    """
    from ccd_cli.config.new import write_recipe

    written = write_recipe(name, settings.base)
    screen.document(
        {"name": written.name, "from": written.base, "path": str(written.path), "schema": str(written.schema)}
    )
    report = screen.report()
    report.note(
        f"Wrote {written.path}, and {written.schema} for editors. Check it with: ccd recipes check {written.path}"
    )


@command.command(says="Reading the recipe")
@click.argument("file", shell_complete=recipes)
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
    from ccd_cli.config.schema import json_schema

    click.echo(json.dumps(json_schema(settings.task), indent=2))
