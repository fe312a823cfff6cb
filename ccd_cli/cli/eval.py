"""`ccd eval`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import click

from ccd_cli.cli.options import json_option, runtime_options, verbosity
from ccd_cli.cli.report import RichReport

if TYPE_CHECKING:
    from ccd_cli.evaluate.results import Results
    from ccd_cli.scoring.points import CameraChoice

_METHODS = [
    "auto",
    "least-squares",
    "least-squares-disparity",
    "midas",
    "scale",
    "median",
    "none",
    "moge-scale",
    "moge-affine",
    "moge-disparity",
]
_KINDS = ("disparity", "depth", "affine-depth", "metric")


@click.command()
@click.option(
    "--suite",
    default="zero-shot",
    show_default=True,
    help="zero-shot (NYUv2, KITTI, ETH3D, ScanNet, DIODE), builtin (generated scenes, no download), moge (its ten sets, depth and "
    "points), da-2k (which of two points is closer), one set, or a YAML file that describes your own pairs and clips.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="Catalog name, run folder or checkpoint; repeat to compare. Default: depth-anything-v2-small.",
)
@click.option("--arch", metavar="NAME", help="Architecture of a checkpoint file that does not tell it.")
@click.option(
    "--data-root",
    type=click.Path(file_okay=False),
    envvar="CCD_DATA",
    default="data",
    show_default="$CCD_DATA, else data",
    help="Folder of the sets.",
)
@click.option(
    "--predictions",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Score DIR/<set>/... (.npy, or .npz with `depth`) that something else made, at the size of the scored photos.",
)
@click.option("--prediction-kind", type=click.Choice(_KINDS), help="What the maps of --predictions mean.")
@click.option(
    "--alignment",
    type=click.Choice(_METHODS),
    default="auto",
    show_default=True,
    help="How predictions get scale and shift. auto: least squares in the space of the model's kind, none for metric.",
)
@click.option(
    "--alignment-max-res",
    type=click.IntRange(min=0),
    metavar="N",
    help="Fit on columns subsampled to N, as Marigold does; 0: on every pixel. Default: what the set's protocol says.",
)
@click.option(
    "--resolution",
    type=click.IntRange(min=14),
    metavar="N",
    help="Side in pixels at which models see photos. Default: the model's own; for diffusion models the protocol's.",
)
@click.option(
    "--camera",
    type=click.Choice(["set", "own"]),
    default="set",
    show_default=True,
    help="Camera with which points are scored, on sets that know theirs: the set's, or the one that the model predicts without "
    "being told a focal length.",
)
@click.option(
    "--out", type=click.Path(file_okay=False), default="eval-out", show_default=True, help="Where results go."
)
@click.option("--overwrite", is_flag=True, help="Score again what is scored already.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only N images of each set, spread evenly; of a clip the first N.",
)
@runtime_options
@verbosity
@json_option
def command(
    suite: str,
    models: tuple[str, ...],
    arch: str | None,
    data_root: str,
    predictions: str | None,
    prediction_kind: str | None,
    alignment: str,
    alignment_max_res: int | None,
    resolution: int | None,
    camera: str,
    out: str,
    overwrite: bool,
    limit: int | None,
    device: str,
    precision: str,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score models, or predictions made elsewhere, on sets with true depth.

    Writes results.json, per_image.csv and report.html into --out, and the scores of every image as they are made: run
    again to go on, or to get the report of scores that are there.

    \b
    Examples:
      ccd eval --suite builtin --model builtin:tiny
      ccd eval --model runs/indoor --model depth-anything-v2-small --data-root DATA
      ccd eval --predictions MAPS --prediction-kind disparity --data-root DATA --json
      ccd eval --suite da-2k --model runs/indoor --data-root DATA
    """
    import shlex
    import sys
    from pathlib import Path

    from ccd_cli.geometry.kinds import Kind

    report = RichReport(quiet=quiet, verbose=verbose)
    from ccd_cli.evaluate.run import run
    from ccd_cli.evaluate.settings import Settings

    results = run(
        Settings(
            suite=suite,
            models=models,
            arch=arch,
            data_root=Path(data_root),
            predictions=None if predictions is None else Path(predictions),
            prediction_kind=cast(Kind | None, prediction_kind),
            alignment=alignment,
            alignment_max_res=alignment_max_res,
            resolution=resolution,
            camera=cast("CameraChoice", camera),
            out=Path(out),
            overwrite=overwrite,
            limit=limit,
            device=device,
            precision=precision,
            threads=threads,
            command=shlex.join(["ccd", *sys.argv[1:]]),
        ),
        report,
    )
    if as_json:
        click.echo(json.dumps(results.document(), indent=2, allow_nan=False))
    _show(results, report, out, verbose)
    if results.left_out:
        click.echo(f"ccd: {len(results.left_out)} samples were left out; {out}/report.html names them.", err=True)
        raise click.exceptions.Exit(1)


def _show(results: Results, report: RichReport, out: str, verbose: bool) -> None:
    """Show the scores, published ones beside them, and how they were made."""
    from rich.markup import escape

    from ccd_cli.evaluate.report import HTML, published_lines, references, summary
    from ccd_cli.scoring.protocol import in_words

    def table(title: str, lines: list[dict[str, object]]) -> None:
        plain = [{escape(key): escape(str(value)) for key, value in line.items()} for line in lines]
        report.table(escape(title), cast("list[dict[str, object]]", plain))

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
