"""`ccd label`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ccd_cli.cli.options import json_option, recipe_options, runtime_options, verbosity
from ccd_cli.cli.report import RichReport


@click.command()
@recipe_options
@click.option("--out", type=click.Path(file_okay=False), help="Folder of the labels; default labels/<recipe name>.")
@click.option("--overwrite", is_flag=True, help="Remove the labels in the folder and start anew.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What runs the teachers: this process, or workers on a Ray cluster (RAY_ADDRESS, else one started here).",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 4096),
    help="Ray workers, each with a teacher of its own; default: one a GPU, else as many as the cores allow.",
)
@runtime_options
@verbosity
@json_option
def command(
    recipe: str,
    overrides: tuple[str, ...],
    dry_run: bool,
    out: str | None,
    overwrite: bool,
    engine: str,
    workers: int | None,
    device: str,
    precision: str,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Label photos with several teachers, one after another, into shards to learn from (docs/LABELS.md).

    Stopped anywhere, the same command goes on and ends in the same bytes, with either engine. --threads and --precision
    are short for the recipe's keys `threads` and `teachers.N.precision`: labels depend on them.

    \b
    Examples:
      ccd label label/quickstart
      ccd label recipes/label/indoor.yaml --set images=PHOTOS --out labels/mine
      ccd label label/indoor --set images=PHOTOS --engine ray --workers 8
      ccd inspect labels/mine
    """
    from ccd_cli.config.load import load_label_recipe, to_yaml
    from ccd_cli.core.files import plain

    loaded = load_label_recipe(recipe, overrides)
    if threads is not None:
        loaded = loaded.model_copy(update={"threads": threads})
    if precision != "auto":
        teachers = [teacher.model_copy(update={"precision": precision}) for teacher in loaded.teachers]
        loaded = loaded.model_copy(update={"teachers": teachers})
    if dry_run:
        click.echo(to_yaml(loaded), nl=False)
        return
    report = RichReport(quiet=quiet, verbose=verbose)
    report.note(f"Recipe {loaded.name}; loading torch")
    from ccd_cli.label.run import EngineOptions, run

    result = run(
        loaded,
        out=out,
        overwrite=overwrite,
        device=device,
        engine=EngineOptions(engine, workers, verbose),
        report=report,
    )
    report.note(
        f"Done: {result.samples} photos in {result.shards} shards, {result.bytes / 1e6:,.1f} MB, license {result.license}; "
        f"{result.folder}"
    )
    if result.dropped:
        report.note(
            f"{result.dropped} photos were left out by the recipe's rules; see {result.folder / 'quality.jsonl'}"
        )
    if result.skipped:
        report.warn(f"{result.skipped} photos could not be read; see {result.folder / 'skipped.jsonl'}")
    if as_json:
        click.echo(json.dumps(plain({**asdict(result), "folder": str(result.folder)}), indent=2))
