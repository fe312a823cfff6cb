"""`ccd analyze`."""

from __future__ import annotations

import click

from ccd_cli.analyze.settings import Settings
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen, command_line


@click.command(cls=Command, says="Opening datasets")
@options_from(settings=Settings, screen=JsonScreen)
def command(settings: Settings, screen: JsonScreen) -> None:
    """Measure, before training, what label noise and a model's own errors cost each normalization.

    A ground-truth map serves as the student's prediction and a corrupted copy as the label: any loss on uncorrupted pixels
    was spread there by the normalization. With --model, the label is also the model's own map of an image, and three questions are
    answered, with an interval over the images each: where the loss lands on its labels (whether hybrid normalization helps this
    teacher), whether closer crops show it more (whether local-global distillation can), and with several models how alike their
    errors are (whether a second teacher is worth it). Also the paper's Figure 2. Writes analysis.json, tables, plots and
    analysis.html into --out; an interrupted analysis with models resumes.

    \b
    Examples:
      ccd analyze
      ccd analyze --suite my-pairs.yaml --images 50 --draws 5
      ccd analyze --model builtin:tiny --json
      ccd analyze --suite my-pairs.yaml --model TEACHER_A --model TEACHER_B --images 50
    """
    from dataclasses import replace

    from ccd_cli.analyze.inputs import find_inputs

    report = screen.report()
    inputs = find_inputs(settings)  # what is missing costs no import of torch
    from ccd_cli.analyze.report import HTML
    from ccd_cli.analyze.results import figure2_lines, noise_lines
    from ccd_cli.analyze.run import run
    from ccd_cli.analyze.verdicts import TITLES, closeup_lines, landing_lines, second_lines, verdict_lines

    analysis = run(replace(settings, command=command_line()), report, inputs)
    answers = analysis.answers
    tables = {
        "Label noise: loss on uncorrupted pixels (MADs)": noise_lines(analysis.noise(), jitter=False),
        "\nLabels of different scales: loss on all pixels (MADs)": noise_lines(analysis.noise(), jitter=True),
        "\nFigure 2: the central crop after two fits": figure2_lines(analysis.figure2()),
        f"\n{TITLES['landing']}: loss on clean pixels": landing_lines(answers["landing"]),
        f"\n{TITLES['closeups']}": closeup_lines(answers["closeups"]),
        f"\n{TITLES['second']}": second_lines(answers["second"]),
    }
    for title, rows in tables.items():
        report.table(title, rows)
    report.note("")
    for line in [*analysis.findings(), *(analysis.protocol["in_words"] if screen.verbose else [])]:
        report.note(line)
    report.table("\nVerdicts before a training run", verdict_lines(analysis.verdicts()))
    report.note(f"Page, tables and plots: {settings.out}/{HTML}")
    screen.document(analysis.document())
