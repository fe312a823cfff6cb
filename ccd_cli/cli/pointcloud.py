"""`ccd pointcloud`."""

from __future__ import annotations

import json

import click

from ccd_cli.cli.cloud_options import CloudFlags, cloud_options
from ccd_cli.cli.options import json_option, verbosity
from ccd_cli.cli.report import RichReport


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--depth",
    type=click.Path(),
    metavar="PATH",
    help="Map of the photo, or folder of <stem>.npy, .npz, .depth.png, .png or .exr. [default: --out]",
)
@click.option("--out", type=click.Path(file_okay=False), default="ccd-out", show_default=True, help="Where clouds go.")
@click.option(
    "--kind",
    type=click.Choice(["disparity", "depth", "affine-depth", "metric"]),
    help="What maps mean that have no sidecar: disparity (larger = nearer), depth (unknown scale), affine-depth "
    "(unknown scale and shift), metric (meters).",
)
@click.option(
    "--depth-scale",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="16-bit PNG without a sidecar: meters = code / S.",
)
@cloud_options
@verbosity
@json_option
def command(
    inputs: tuple[str, ...],
    depth: str | None,
    out: str,
    kind: str | None,
    depth_scale: float | None,
    cloud: CloudFlags,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Turn photos and depth maps that already exist into colored point clouds.

    INPUT is a photo, a folder, a glob or a .txt list. Each map is found by its photo's name; the JSON beside it, which
    `ccd predict` writes, says what it means and which camera took it.

    \b
    Examples:
      ccd predict PHOTOS --save npy && ccd pointcloud PHOTOS
      ccd pointcloud room.jpg --depth room.png --depth-scale 1000 --intrinsics 525,525,320,240
      ccd pointcloud PHOTOS --depth MAPS --kind disparity --near 1 --far 30 --voxel 0.02 --format glb
    """
    from pathlib import Path
    from typing import cast

    from ccd_cli.core.files import plain
    from ccd_cli.geometry.kinds import Kind
    from ccd_cli.pointcloud.run import Inputs, run

    where = Inputs(
        depth=Path(out if depth is None else depth),
        kind=cast(Kind | None, kind),
        depth_scale=depth_scale,
        intrinsics=cloud.camera(),
        fov=cloud.fov,
        align_to=cloud.reference_path(),
        ref_scale=cloud.ref_scale,
    )
    result = run(
        inputs,
        where,
        cloud.settings(),
        Path(out),
        fmt=cloud.cloud_format,
        with_preview=cloud.preview,
        report=RichReport(quiet=quiet, verbose=verbose),
    )
    if as_json:
        failed = [{"input": name, "problem": reason} for name, reason in result.failed]
        click.echo(json.dumps(plain({"clouds": result.clouds, "failed": failed}), indent=2, allow_nan=False))
    if result.failed:
        total = len(result.failed) + len(result.clouds)
        click.echo(f"ccd: {len(result.failed)} of {total} inputs failed; the warnings above name them.", err=True)
        raise click.exceptions.Exit(1)
