"""`ccd analyze`."""

from __future__ import annotations

import click

from ccd_cli.analyze.settings import Settings
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen, command_line


@click.command(cls=Command, says="Opening datasets")
@options_from(settings=Settings, screen=JsonScreen)
def command(settings: Settings, screen: JsonScreen) -> None:
    """Measure how much label noise each normalization spreads, without training.

    A ground-truth map serves as the student's prediction and a corrupted copy as the label: any loss on uncorrupted pixels
    was spread there by the normalization. With --model, also the error of a fit of scale and shift to a crop alone (the
    paper's Figure 2). Writes analysis.json, analysis.csv, draws.csv, plots and analysis.html into --out.

    \b
    Examples:
      ccd analyze
      ccd analyze --suite my-pairs.yaml --images 50 --draws 5
      ccd analyze --model builtin:tiny --json
    """
    from dataclasses import replace

    from ccd_cli.analyze.inputs import find_sets

    report = screen.report()
    found = find_sets(settings)  # what is missing costs no import of torch
    from ccd_cli.analyze.report import HTML
    from ccd_cli.analyze.results import figure2_lines, noise_lines
    from ccd_cli.analyze.run import run

    analysis = run(replace(settings, command=command_line()), report, found)
    tables = {
        "Label noise: loss on uncorrupted pixels (MADs)": noise_lines(analysis.noise(), jitter=False),
        "\nLabels of different scales: loss on all pixels (MADs)": noise_lines(analysis.noise(), jitter=True),
        "\nFigure 2: the central crop after two fits": figure2_lines(analysis.figure2()),
    }
    for title, lines in tables.items():
        report.table(title, lines)
    report.note("")
    for line in [*analysis.findings(), *(analysis.protocol["in_words"] if screen.verbose else [])]:
        report.note(line)
    report.note(f"Page, tables and plots: {settings.out}/{HTML}")
    screen.document(analysis.document())
