"""`ccd inspect`."""

from __future__ import annotations

import json

import click

from ccd_cli.cli.options import json_option, verbosity
from ccd_cli.cli.report import RichReport


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.option("--out", type=click.Path(file_okay=False), help="Where contact.png and inspect.html go; default DIR.")
@click.option(
    "--rows", type=click.IntRange(1, 100), default=8, show_default=True, help="Photos on the sheet, spread evenly."
)
@verbosity
@json_option
def command(folder: str, out: str | None, rows: int, verbose: bool, quiet: bool, as_json: bool) -> None:
    """Look into a folder of labels or a run: contact sheet, statistics, summary page.

    Writes contact.png and inspect.html, a page that needs nothing else.

    \b
    Examples:
      ccd inspect labels/mine
      ccd inspect runs/indoor --out look --json
    """
    from pathlib import Path

    from rich.markup import escape

    report = RichReport(quiet=quiet, verbose=verbose)
    from ccd_cli.inspection.run import run

    seen = run(Path(folder), None if out is None else Path(out), rows, report)
    for title, lines in seen.shown().items():
        shown = [
            {escape(k): escape(v) if isinstance(v, str) else "-" if v is None else v for k, v in line.items()}
            for line in lines
        ]
        report.table(escape(title), shown)
    report.note(f"Sheet and page: {seen.contact}, {seen.page}")
    if as_json:
        click.echo(json.dumps(seen.document(), indent=2, allow_nan=False))
