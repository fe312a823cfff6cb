"""`ccd eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen, command_line
from ccd_cli.evaluate.settings import Settings

if TYPE_CHECKING:
    from ccd_cli.evaluate.results import Results
    from ccd_cli.terminal.report import RichReport


@click.command(cls=Command, says="Opening models and datasets")
@options_from(settings=Settings, screen=JsonScreen)
def command(settings: Settings, screen: JsonScreen) -> None:
    """Score models, or precomputed predictions, on datasets with ground-truth depth.

    Writes results.json, per_image.csv and report.html into --out, and the scores of every image as soon as they are
    computed: an interrupted evaluation resumes with the same command, a finished one only rewrites its report.

    \b
    Examples:
      ccd eval --suite builtin --model builtin:tiny
      ccd eval --model runs/indoor --model depth-anything-v2-small --data-root DATA
      ccd eval --predictions MAPS --prediction-kind disparity --data-root DATA --json
      ccd eval --suite da-2k --model runs/indoor --data-root DATA
    """
    from dataclasses import replace

    from ccd_cli.evaluate.inputs import find_inputs

    report = screen.report()
    inputs = find_inputs(settings)  # what is missing costs no import of torch
    from ccd_cli.evaluate.run import run

    results = run(replace(settings, command=command_line()), report, inputs)
    screen.document(results.document())
    if settings.shard is None:
        _show(results, report, settings.out, screen.verbose)
    if results.left_out:
        where = f"{settings.out}/report.html lists them" if settings.shard is None else "the report will list them"
        click.echo(f"ccd: {len(results.left_out)} samples were skipped; {where}.", err=True)
        raise click.exceptions.Exit(1)


def _show(results: Results, report: RichReport, out: Path, verbose: bool) -> None:
    """Show the scores, published ones beside them, and the protocol."""
    from ccd_cli.evaluate.report import HTML, published_lines, references, summary
    from ccd_cli.scoring.protocol import in_words

    def table(title: str, lines: list[dict[str, object]]) -> None:
        report.table(title, [{key: str(value) for key, value in line.items()} for line in lines])

    lines = summary(results)
    plain_sets = any(row["dataset"] in line for row in results.rows for line in lines)
    table("AbsRel / δ1 (images)" if plain_sets else "Scores", lines)
    sets = list(dict.fromkeys(row["dataset"] for row in results.rows))
    known = references(results)
    for published in known if verbose else known[:1]:
        table(
            f"\nPublished, {published.scores}: {published.title}. {published.protocol}",
            published_lines(published, sets),
        )
    report.note("")
    for line in in_words(results.protocol):
        report.note(line)
    report.note(f"Report{' with more published numbers' if len(known) > 1 else ''}: {out}/{HTML}")
