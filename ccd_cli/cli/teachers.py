"""`ccd teachers`: which teachers there are, under which license, and their weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ccd_cli.cli.options import json_option, verbosity
from ccd_cli.core.errors import CcdError

if TYPE_CHECKING:
    from ccd_cli.core.report import Report

WIDTH = 160  # what the whole table needs; a narrow terminal wraps its lines, which is better than cut names


@click.group()
def command() -> None:
    """List teachers, and download, verify and remove their weights.

    Example: ccd teachers pull depth-anything-v2-small
    """


@command.command("list")
@click.option("--family", metavar="NAME", help="Only this family; may be a part of its name.")
@click.option(
    "--commercial/--noncommercial",
    "commercial",
    default=None,
    help="Only those that allow commercial use, or only the others (disputed ones are among these).",
)
@click.option("--pulled", is_flag=True, help="Only those whose weights are on this machine.")
@click.option("--markdown", is_flag=True, help="Print the README's table of all published teachers.")
@json_option
@verbosity
def list_teachers(
    family: str | None,
    commercial: bool | None,
    pulled: bool,
    markdown: bool,
    as_json: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """List the catalog: published teachers, built-in ones and your own.

    Example: ccd teachers list --commercial
    """
    from ccd_cli.teachers.custom import custom_problems
    from ccd_cli.teachers.listing import markdown_table, rows

    if markdown:
        click.echo(markdown_table(), nl=False)
        return
    report = _report(verbose, quiet)
    for problem in custom_problems():
        report.warn(problem)
    found = [
        row
        for row in rows()
        if (family is None or family.lower() in row["family"].lower())
        and (commercial is None or row["commercial"] is commercial)
        and (not pulled or row["pulled"])
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _show(found, verbose)


@command.command()
@click.argument("name")
@json_option
@verbosity
def info(name: str, as_json: bool, verbose: bool, quiet: bool) -> None:
    """Show the whole card of one teacher.

    Example: ccd teachers info depth-anything-3-metric-large
    """
    from ccd_cli.teachers.listing import full
    from ccd_cli.teachers.registry import card

    values = full(card(name))
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for key, value in values.items():
        if verbose or value not in ("", None, [], (), {}):
            click.echo(f"{key:<16} {_text(key, value)}")
    if values["requires"]:
        click.echo(f'{"install with":<16} pip install -e ".[{values["requires"]}]"')


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--recipe", metavar="RECIPE", help="Also what this recipe's teachers and student need.")
@click.option("--all-permissive", is_flag=True, help="Also every teacher whose license allows commercial use.")
@click.option("--allow-noncommercial", is_flag=True, help="Take teachers that forbid commercial use, too.")
@click.option("--offline", is_flag=True, help="Ask nobody: only verify what is already here.")
@verbosity
def pull(
    names: tuple[str, ...],
    recipe: str | None,
    all_permissive: bool,
    allow_noncommercial: bool,
    offline: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """Download weights, resuming what broke off, and verify them against the hub's checksums.

    Without a name: what the recipe `indoor` and `ccd predict` use. The hub's address follows HF_ENDPOINT, the account
    HF_TOKEN; HF_HUB_OFFLINE=1 is the same as --offline.

    Example: ccd teachers pull --recipe indoor
    """
    from ccd_cli.teachers.download.choose import default_names, permissive_names, recipe_names
    from ccd_cli.teachers.download.pull import pull as pull_teachers

    chosen = [*names]
    if recipe:
        chosen += recipe_names(recipe)
    if all_permissive:
        chosen += permissive_names()
    report = _report(verbose, quiet)
    if not chosen and (recipe or all_permissive):
        report.note("Nothing to pull: no published teacher is named there.")
        return
    outcomes = pull_teachers(chosen or default_names(), report, allow_noncommercial, offline)
    _fail([outcome.error for outcome in outcomes if outcome.error], len(outcomes))


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
@verbosity
def verify(names: tuple[str, ...], as_json: bool, verbose: bool, quiet: bool) -> None:
    """Hash pulled weights again and compare them with what was recorded; without a name, all of them.

    Example: ccd teachers verify
    """
    from ccd_cli.core.errors import TeacherError
    from ccd_cli.teachers.download.lock import differences, entries
    from ccd_cli.teachers.registry import card

    report = _report(verbose, quiet)
    known = entries()
    results: dict[str, list[str]] = {}
    for name in names or known:
        if name in known:
            results[name] = differences(name, known[name])
        else:
            results[name] = [f"{card(name).name} was not pulled: nothing is recorded to compare with"]
    if as_json:
        click.echo(json.dumps([{"name": n, "ok": not w, "problems": w} for n, w in results.items()], indent=2))
    for name in (name for name, wrong in results.items() if not wrong and not as_json):
        report.note(f"{name}: as recorded, {len(known[name].files)} file(s)")
    if not results:
        report.note("Nothing is pulled yet.")
    hint = "Get it again with: ccd teachers pull"
    wrong = {name: lines for name, lines in results.items() if lines}
    _fail(
        [TeacherError(f"{name}: {'; '.join(lines)}.", f"{hint} {name}") for name, lines in wrong.items()], len(results)
    )


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@verbosity
def remove(names: tuple[str, ...], verbose: bool, quiet: bool) -> None:
    """Delete pulled weights, whole or partial, and say how much space that frees.

    Example: ccd teachers remove marigold-lcm
    """
    from ccd_cli.teachers.download.lock import remove as remove_teacher

    report = _report(verbose, quiet)
    errors: list[CcdError] = []
    for name in dict.fromkeys(names):
        try:
            report.note(f"{name}: removed, {remove_teacher(name, report) / 1e6:,.1f} MB freed")
        except CcdError as error:
            errors.append(error)
    _fail(errors, len(names))


def _report(verbose: bool, quiet: bool) -> Report:
    from ccd_cli.cli.download import DownloadReport

    return DownloadReport(quiet, verbose)


def _fail(errors: list[CcdError], of: int) -> None:
    """Raise the only error, or show all of them and exit as the first asks."""
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
    from rich.table import Table

    from ccd_cli.teachers.listing import megabytes

    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for title in ("family", "kind", "size", "license", "commercial", "pulled", *(("repository",) if verbose else ())):
        table.add_column(title, no_wrap=True, justify="right" if title == "size" else "left")
    words = {True: "yes", False: "no", None: "?"}
    for row in rows:
        cells = [
            row["name"],
            row["family"],
            row["kind"] or "?",
            megabytes(row["size_bytes"]),
            row["license"] or "?",
            words[row["commercial"]],
            words[row["pulled"]],
        ]
        table.add_row(*cells, *([row["repo"] or ""] if verbose else []))
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
