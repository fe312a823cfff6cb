"""`ccd analyze`."""

from __future__ import annotations

import json

import click

from ccd_cli.cli.options import json_option, runtime_options, verbosity
from ccd_cli.cli.report import RichReport


@click.command()
@click.option(
    "--suite",
    default="builtin",
    show_default=True,
    metavar="builtin|FILE",
    help="Photos with true depth: builtin (generated scenes, no download), a YAML file of your own pairs, or what else "
    "`ccd eval --suite` knows.",
)
@click.option(
    "--model", metavar="MODEL", help="Also the paper's Figure 2 for this catalog name, run folder or checkpoint."
)
@click.option("--arch", metavar="NAME", help="Architecture of a checkpoint file that does not tell it.")
@click.option(
    "--resolution",
    type=click.IntRange(min=14),
    metavar="N",
    help="Side in pixels at which the model sees photos. Default: its own.",
)
@click.option(
    "--data-root",
    type=click.Path(file_okay=False),
    envvar="CCD_DATA",
    default="data",
    show_default="$CCD_DATA, else data",
    help="Folder of the published sets.",
)
@click.option(
    "--images", type=click.IntRange(min=1), default=12, show_default=True, help="Images of each set, spread evenly."
)
@click.option(
    "--draws",
    type=click.IntRange(1, 10_000),
    default=3,
    show_default=True,
    help="Random corruptions of each kind an image.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the corruptions.")
@click.option(
    "--out", type=click.Path(file_okay=False), default="analyze-out", show_default=True, help="Where results go."
)
@runtime_options
@verbosity
@json_option
def command(
    suite: str,
    model: str | None,
    arch: str | None,
    resolution: int | None,
    data_root: str,
    images: int,
    draws: int,
    seed: int,
    out: str,
    device: str,
    precision: str,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Show how much label noise each normalization spreads, without training.

    A true map is the student, a corrupted copy the label: loss on pixels that are right was carried there by the
    normalization. With --model also what a fit of scale and shift to a crop alone gains (the paper's Figure 2).
    Writes analysis.json, analysis.csv, draws.csv, plots and analysis.html into --out.

    \b
    Examples:
      ccd analyze
      ccd analyze --suite my-pairs.yaml --images 50 --draws 5
      ccd analyze --model builtin:tiny --json
    """
    import shlex
    import sys
    from pathlib import Path

    from rich.markup import escape

    report = RichReport(quiet=quiet, verbose=verbose)
    from ccd_cli.analyze.report import HTML
    from ccd_cli.analyze.results import figure2_lines, noise_lines
    from ccd_cli.analyze.run import run
    from ccd_cli.analyze.settings import Settings

    analysis = run(
        Settings(
            suite=suite,
            model=model,
            arch=arch,
            data_root=Path(data_root),
            resolution=resolution,
            out=Path(out),
            images=images,
            draws=draws,
            seed=seed,
            device=device,
            precision=precision,
            threads=threads,
            command=shlex.join(["ccd", *sys.argv[1:]]),
        ),
        report,
    )
    tables = {
        "Noise in labels: loss on the pixels that are right (MADs)": noise_lines(analysis.noise(), jitter=False),
        "\nLabels of different scales: loss on all pixels (MADs)": noise_lines(analysis.noise(), jitter=True),
        "\nFigure 2: the central crop after two fits": figure2_lines(analysis.figure2()),
    }
    for title, lines in tables.items():
        report.table(
            escape(title), [{k: escape(v) if isinstance(v, str) else v for k, v in line.items()} for line in lines]
        )
    report.note("")
    for line in [*analysis.findings(), *(analysis.protocol["in_words"] if verbose else [])]:
        report.note(line)
    report.note(f"Page, tables and plots: {out}/{HTML}")
    if as_json:
        click.echo(json.dumps(analysis.document(), indent=2, allow_nan=False))
