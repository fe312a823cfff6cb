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
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    shell_complete=looked_into,
)
@options_from(settings=Settings, screen=JsonScreen)
def command(folders: tuple[Path, ...], settings: Settings, screen: JsonScreen) -> None:
    """One page to look at: predictions, a run, labels, an evaluation; or compare runs.

    Writes one page to open in a browser (inspect.html) and a contact sheet: of predictions a gallery, of several runs their
    settings, scores, curves and samples side by side. An evaluation has its page already.

    \b
    Examples:
      ccd inspect ccd-out --open
      ccd inspect runs/indoor
      ccd inspect runs/indoor runs/indoor-2 --out look
      ccd inspect labels/mine --json
    """
    report = screen.report()
    from ccd_cli.inspection.run import run

    seen = run(folders, settings.out, settings.rows, report)
    for title, lines in seen.shown().items():
        report.table(title, [{k: "-" if v is None else v for k, v in line.items()} for line in lines])
    report.note(f"Page: {seen.page}")
    screen.document(seen.document())
    if settings.open_page and click.launch(seen.page.resolve().as_uri()) != 0:
        report.warn(f"No browser was found; open {seen.page} yourself.")
