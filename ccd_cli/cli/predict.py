"""`ccd predict`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ccd_cli.cli.cloud_options import CloudFlags, cloud_options
from ccd_cli.cli.options import json_option, runtime_options, verbosity
from ccd_cli.cli.report import RichReport

if TYPE_CHECKING:
    from ccd_cli.predict.temporal import Mode

ROWS_SHOWN = 12


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--model", help="Catalog name, run folder or checkpoint. [default: depth-anything-v2-small]")
@click.option("--arch", metavar="NAME", help="Architecture of a checkpoint that does not tell its own.")
@click.option("--out", default="ccd-out", show_default=True, type=click.Path(file_okay=False), help="Output folder.")
@click.option(
    "--resolution", type=click.IntRange(14, 8192), metavar="N", help="Side the network sees. [default: its own]"
)
@click.option(
    "--save",
    default="color,png16",
    show_default=True,
    metavar="LIST",
    help="What to write: npy, npz, png16, exr, color, side; comma-separated.",
)
@click.option("--cmap", default="inferno", show_default=True, metavar="NAME", help="Any matplotlib color map.")
@click.option(
    "--pointcloud", is_flag=True, help="Also write a colored point cloud, by the options from --intrinsics on."
)
@click.option(
    "--batch", default="auto", show_default=True, metavar="N", help="Photos that go through the network together."
)
@click.option(
    "--temporal",
    type=click.Choice(["none", "ema", "align"]),
    help="Videos: steady scale and shift. [default: align; none for metric]",
)
@click.option("--start", type=click.FloatRange(0), default=0.0, metavar="S", help="Videos: begin at this second.")
@click.option("--end", type=click.FloatRange(0), metavar="S", help="Videos: stop before this second.")
@click.option("--stride", type=click.IntRange(1), default=1, metavar="N", help="Videos: every n-th frame.")
@click.option(
    "--every", type=click.IntRange(1), metavar="N", help="Videos: a point cloud every n frames. [default: one a second]"
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the network first: slow start, faster afterward.")
@click.option("--overwrite", is_flag=True, help="Redo what is finished and was made by the same settings.")
@click.option("--offline", is_flag=True, help="Never ask the hub.")
@cloud_options
@runtime_options
@verbosity
@json_option
def command(
    inputs: tuple[str, ...],
    model: str | None,
    arch: str | None,
    out: str,
    resolution: int | None,
    save: str,
    cmap: str,
    pointcloud: bool,
    batch: str,
    temporal: str | None,
    start: float,
    end: float | None,
    stride: int,
    every: int | None,
    compiled: bool,
    overwrite: bool,
    offline: bool,
    cloud: CloudFlags,
    device: str,
    precision: str,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Depth for photos and videos.

    INPUT is a file, a folder, a glob, a .txt list, or - for a list on standard input. What is finished is not made again.

    \b
    Examples:
      ccd predict photo.jpg
      ccd predict video.mp4 --pointcloud
      ccd predict PHOTOS --model depth-anything-v2-base --save npy,side --out maps
    """
    from ccd_cli.cli.download import DownloadReport
    from ccd_cli.core.runtime import choose_runtime
    from ccd_cli.media.find import list_lines
    from ccd_cli.predict.job import Settings
    from ccd_cli.predict.run import run
    from ccd_cli.teachers.model import load

    unused = [] if pointcloud else [*cloud.given(), *(["--every"] if every else [])]
    if unused:
        raise click.UsageError(f"{', '.join(unused)}: for point clouds only; add --pointcloud.")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    settings = Settings(
        out=Path(out),
        save=tuple(dict.fromkeys(word.strip() for word in save.split(",") if word.strip())),
        cmap=cmap,
        batch=_batch(batch),
        overwrite=overwrite,
        intrinsics=cloud.camera(),
        fov=cloud.fov,
        cloud=cloud.settings() if pointcloud else None,
        cloud_format=cloud.cloud_format,
        preview=cloud.preview,
        align_to=cloud.reference_path(),
        ref_scale=cloud.ref_scale,
        temporal=cast("Mode | None", temporal),
        start=start,
        end=end,
        stride=stride,
        every=every,
    )
    report = RichReport(quiet=quiet, verbose=verbose)
    runtime = choose_runtime(device, precision, threads)
    loaded = load(model, arch, resolution, runtime, DownloadReport(quiet=quiet, verbose=verbose), compiled)
    lines = list_lines(sys.stdin.buffer.read()) if "-" in inputs and sys.stdin else []
    outcome = run(inputs, loaded, settings, runtime, report, lines)
    if as_json:
        failed = [{"input": name, "reason": reason} for name, reason in outcome.failed]
        click.echo(json.dumps({"model": loaded.teacher.name, "done": outcome.done, "failed": failed}, indent=2))
    made = [record for record in outcome.done if not record["skipped"]]
    rows: list[dict[str, object]] = [
        {"input": Path(r["input"]).name, "kind": r["kind"], "written": _names(r)} for r in made[:ROWS_SHOWN]
    ]
    report.table(f"Written to {out}", rows)
    if len(made) > len(rows):
        report.note(f"... and {len(made) - len(rows)} more")
    report.note(f"{len(made)} done, {outcome.skipped} already there, {len(outcome.failed)} failed.")
    if outcome.failed:
        for name, reason in outcome.failed:
            report.warn(f"not done: {name}: {reason}")
        raise click.exceptions.Exit(1)


def _batch(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise click.BadParameter(f"'{text}' is neither auto nor a number from 1 to 1024.", param_hint="--batch")
    return int(text)


def _names(record: dict[str, Any]) -> str:
    """The endings of one input's files behind their common stem."""
    stem = Path(record["sidecar"]).name.removesuffix(".json")
    names = [Path(name).name for name in record["files"]]
    return " ".join([*(name.removeprefix(stem) or f"{stem}/" for name in names), ".json"])
