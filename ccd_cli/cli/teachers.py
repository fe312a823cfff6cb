"""`ccd teachers`: the model catalog, licenses and weights."""

from dataclasses import dataclass
from typing import Any

import click

from ccd_cli.cli.complete import published, teachers
from ccd_cli.cli.options import Group, options_from
from ccd_cli.cli.screen import JsonScreen
from ccd_cli.core.errors import CcdError
from ccd_cli.core.options import option


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which models of the catalog are listed, and how."""

    family: str | None = option(None, "Only families whose name contains this.", "Input", metavar="NAME")
    commercial: bool | None = option(
        None,
        "Only models whose license allows commercial use, or only the others (including disputed and unknown licenses).",
        "Input",
        flags="--commercial/--noncommercial",
    )
    pulled: bool = option(False, "Only models whose weights are on this machine.", "Input")
    markdown: bool = option(False, "Print the guide's table of all published models.", "Output")


@dataclass(frozen=True, kw_only=True)
class PullSettings:
    """What is downloaded beside the named models."""

    recipe: str | None = option(
        None, "Also the models that this recipe's teachers and student need.", "Input", metavar="RECIPE"
    )
    all_permissive: bool = option(False, "Also every model whose license allows commercial use.", "Input")
    allow_noncommercial: bool = option(False, "Allow models whose license forbids commercial use.", "Input")
    offline: bool = option(False, "No network access: only verify weights on this machine.", "Other")


@click.group(cls=Group)
def command() -> None:
    """List the model catalog; download, verify and remove weights.

    Example: ccd teachers pull depth-anything-v2-small
    """


@command.command("list")
@options_from(chosen=Filter, screen=JsonScreen)
def list_teachers(chosen: Filter, screen: JsonScreen) -> None:
    """List the model catalog: published, built-in and custom models.

    Example: ccd teachers list --commercial
    """
    from ccd_cli.teachers.custom import custom_problems
    from ccd_cli.teachers.download.lock import lock_problem
    from ccd_cli.teachers.listing import chosen_rows, markdown_table

    if chosen.markdown:
        click.echo(markdown_table(), nl=False)
        return
    report = screen.report()
    for problem in (*custom_problems(), *filter(None, [lock_problem()])):
        report.warn(problem)
    found = chosen_rows(chosen.family, chosen.commercial, chosen.pulled)
    if screen.as_json:
        screen.document(found)
    else:
        _show(found, screen.verbose)


@command.command()
@click.argument("name", shell_complete=teachers)
@options_from(screen=JsonScreen)
def info(name: str, screen: JsonScreen) -> None:
    """Show the model card: source, license, paper, preprocessing, kind of output.

    Example: ccd teachers info depth-anything-3-metric-large
    """
    from ccd_cli.teachers.download.lock import lock_problem
    from ccd_cli.teachers.listing import full
    from ccd_cli.teachers.registry import card

    values = full(card(name))
    if values["repo"] and (problem := lock_problem()):
        screen.report().warn(problem)
    if screen.as_json:
        screen.document(values)
        return
    for key, value in values.items():
        if screen.verbose or value not in ("", None, [], (), {}):
            click.echo(f"{key:<16} {_text(key, value)}")
    if values["requires"]:
        click.echo(f'{"install with":<16} pip install -e ".[{values["requires"]}]"')


@command.command(says="Looking up the models")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=published)
@options_from(settings=PullSettings, screen=JsonScreen)
def pull(names: tuple[str, ...], settings: PullSettings, screen: JsonScreen) -> None:
    """Download weights, resume partial downloads, and verify them against the hub's checksums.

    Without a NAME: the models of the recipe `indoor` and of `ccd predict`. HF_ENDPOINT sets the hub's address, HF_TOKEN the
    account; HF_HUB_OFFLINE=1 is the same as --offline.

    Example: ccd teachers pull --recipe indoor
    """
    from ccd_cli.teachers.download.choose import default_names, permissive_names, recipe_names
    from ccd_cli.teachers.download.pull import pull as pull_teachers

    chosen = [*names]
    if settings.recipe:
        chosen += recipe_names(settings.recipe)
    if settings.all_permissive:
        chosen += permissive_names()
    report = screen.download_report()
    if not chosen and (settings.recipe or settings.all_permissive):
        report.note("Nothing to pull: no published model is named there.")
        screen.document([])
        return
    outcomes = pull_teachers(chosen or default_names(), report, settings.allow_noncommercial, settings.offline)
    screen.document([{"name": each.name, "status": each.status, "problem": str(each.error or "")} for each in outcomes])
    _fail([outcome.error for outcome in outcomes if outcome.error], len(outcomes))


@command.command(says="Comparing checksums")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=published)
@options_from(screen=JsonScreen)
def verify(names: tuple[str, ...], screen: JsonScreen) -> None:
    """Compare the sha256 of downloaded weights with the recorded one; without a NAME, of all models.

    Weights that were placed by hand have no recorded checksum: they are named with their sha256.

    Example: ccd teachers verify
    """
    from ccd_cli.core.errors import TeacherError
    from ccd_cli.models.files import sha256_tree
    from ccd_cli.teachers.download.lock import differences, entries, placed_by_hand
    from ccd_cli.teachers.registry import card

    report = screen.report()
    recorded, by_hand = entries(), placed_by_hand()
    results: dict[str, list[str]] = {}
    unverified: dict[str, str] = {}
    for name in dict.fromkeys(names or [*recorded, *by_hand]):
        if name in recorded:
            results[name] = differences(name, recorded[name])
        elif name in by_hand:
            place = by_hand[name]
            unverified[name] = f"{place} was placed by hand: no checksum is recorded; sha256 {sha256_tree(place)}"
        else:
            results[name] = [f"{card(name).name} was not pulled: no checksum is recorded"]
    screen.document(
        [{"name": n, "ok": not w, "problems": w} for n, w in results.items()]
        + [{"name": n, "ok": None, "problems": [text]} for n, text in unverified.items()]
    )
    for name in (name for name, wrong in results.items() if not wrong and not screen.as_json):
        report.note(f"{name}: verified, {len(recorded[name].files)} file(s)")
    for name, text in unverified.items():
        report.warn(f"{name}: {text}")
    if not results and not unverified:
        report.note("Nothing is pulled yet.")
    hint = "Download it again with: ccd teachers pull"
    wrong = {name: lines for name, lines in results.items() if lines}
    _fail(
        [TeacherError(f"{name}: {'; '.join(lines)}.", f"{hint} {name}") for name, lines in wrong.items()], len(results)
    )


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=published)
@options_from(screen=JsonScreen)
def remove(names: tuple[str, ...], screen: JsonScreen) -> None:
    """Delete downloaded weights, complete or partial, and print how much space that frees.

    Example: ccd teachers remove marigold-lcm
    """
    from ccd_cli.teachers.download.lock import remove as remove_teacher

    report = screen.report()
    errors: list[CcdError] = []
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(names):
        try:
            freed = remove_teacher(name, report)
        except CcdError as error:
            errors.append(error)
            rows.append({"name": name, "freed_bytes": 0, "problem": str(error)})
        else:
            report.note(f"{name}: removed, {freed / 1e6:,.1f} MB freed")
            rows.append({"name": name, "freed_bytes": freed, "problem": ""})
    screen.document(rows)
    _fail(errors, len(names))


def _fail(errors: list[CcdError], of: int) -> None:
    """Raise a single error; print several and exit with the first one's code."""
    if len(errors) == 1 and of == 1:
        raise errors[0]
    if errors:
        from ccd_cli.cli.main import show

        for error in errors:
            show(error)
        click.echo(f"ccd: {len(errors)} of {of} failed", err=True)
        raise click.exceptions.Exit(errors[0].exit_code)


def _text(key: str, value: Any) -> str:
    from ccd_cli.teachers.listing import megabytes

    if key == "size_bytes" and value:
        return megabytes(value)
    if key == "parameters" and value:
        return f"{value / 1e6:,.1f} million"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(_text("", item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text('', v)}" for k, v in value.items())
    return str(value)


def _show(rows: list[dict[str, Any]], verbose: bool) -> None:
    from rich.console import Console

    from ccd_cli.teachers.licenses import DISPUTED_MARK
    from ccd_cli.teachers.listing import commercial_words, megabytes
    from ccd_cli.terminal.table import show_table

    words = commercial_words()
    shown = [
        {
            "name": row["name"],
            "family": row["family"],
            "kind": row["kind"] or "?",
            "size": megabytes(row["size_bytes"]),
            "license": (row["license"] or "?").removesuffix(f" ({DISPUTED_MARK})"),
            "commercial": words[row["name"]],
            "pulled": {True: "yes", False: "no", None: "?"}[row["pulled"]],
            **({"repository": row["repo"] or ""} if verbose else {}),
        }
        for row in rows
    ]
    show_table(Console(), shown, right=["size"])
