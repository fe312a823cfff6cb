"""`ccd inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from ccd_cli.cli.complete import looked_into
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen
from ccd_cli.inspection.settings import Settings


@click.command(cls=Command, says="Reading the folder")
@click.argument(
    "folder",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    shell_complete=looked_into,
)
@options_from(settings=Settings, screen=JsonScreen)
def command(folder: Path, settings: Settings, screen: JsonScreen) -> None:
    """Inspect a folder of labels or a training run: contact sheet, statistics, summary page.

    Writes contact.png and inspect.html, a self-contained page.

    \b
    Examples:
      ccd inspect labels/mine
      ccd inspect runs/indoor --out look --json
    """
    report = screen.report()
    from ccd_cli.inspection.run import run

    seen = run(folder, settings.out, settings.rows, report)
    for title, lines in seen.shown().items():
        report.table(title, [{k: "-" if v is None else v for k, v in line.items()} for line in lines])
    report.note(f"Contact sheet and page: {seen.contact}, {seen.page}")
    screen.document(seen.document())
