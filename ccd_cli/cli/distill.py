"""`ccd distill`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click

from ccd_cli.cli.options import json_option, recipe_options, runtime_options, verbosity
from ccd_cli.cli.report import RichReport


@click.command()
@recipe_options
@click.option("--out", type=click.Path(file_okay=False), help="Run folder; default runs/<recipe name>.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder, exactly where its saved state is.")
@click.option("--overwrite", is_flag=True, help="Remove the run in the folder and start anew.")
@runtime_options
@verbosity
@json_option
def command(
    recipe: str,
    overrides: tuple[str, ...],
    dry_run: bool,
    out: str | None,
    resume: bool,
    overwrite: bool,
    device: str,
    precision: str,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a student on photos that teachers label while it trains.

    RECIPE is a file or the name of a shipped recipe (`ccd recipes list`). Many GPUs: torchrun --nproc-per-node N -m
    ccd_cli.cli.main distill RECIPE.

    \b
    Examples:
      ccd distill recipes/indoor.yaml --set images=PHOTOS
      ccd distill indoor --set images=PHOTOS --set optim.batch=4 --out runs/mine
      ccd distill indoor --set images=PHOTOS --resume
    """
    from ccd_cli.config.load import load_recipe, to_yaml
    from ccd_cli.core.files import plain

    loaded = load_recipe(recipe, overrides)
    if dry_run:
        click.echo(to_yaml(loaded), nl=False)
        return
    report = RichReport(quiet=quiet, verbose=verbose)
    report.note(f"Recipe {loaded.name}; loading torch")
    from ccd_cli.distill.setup import Machine
    from ccd_cli.distill.train import run

    result = run(
        loaded,
        out=out,
        resume=resume,
        overwrite=overwrite,
        machine=Machine(device, precision, threads),
        report=report,
    )
    if int(os.environ.get("RANK", "0")) > 0:
        return  # of several processes the first one speaks
    report.note(
        f"Done: {result.steps} steps, last loss {result.loss:.4f}. Student, card and plots are in {result.folder}"
    )
    if result.scores:
        report.note(
            f"Best on the given pairs: AbsRel {result.scores['abs_rel']:.4f} at step {result.scores['step']:.0f}"
        )
    if result.skipped:
        report.warn(f"{result.skipped} photos could not be read; see {result.folder / 'skipped.jsonl'}")
    if as_json:
        click.echo(json.dumps(plain({**asdict(result), "folder": str(result.folder)}), indent=2))
