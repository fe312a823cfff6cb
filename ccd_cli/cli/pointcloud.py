"""`ccd pointcloud`."""

from __future__ import annotations

import click

from ccd_cli.cli.complete import files
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen
from ccd_cli.pointcloud.settings import Settings


@click.command(cls=Command, says="Looking for images and depth maps")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=files)
@options_from(settings=Settings, screen=JsonScreen)
def command(inputs: tuple[str, ...], settings: Settings, screen: JsonScreen) -> None:
    """Turn images and existing depth maps into colored point clouds.

    INPUT is an image, a folder, a glob or a .txt list. Each depth map is found by the name of its image; the JSON sidecar
    that `ccd predict` writes beside it holds its kind and camera.

    \b
    Examples:
      ccd predict IMAGES --save npy && ccd pointcloud IMAGES
      ccd pointcloud room.jpg --depth room.png --depth-scale 1000 --intrinsics 525,525,320,240
      ccd pointcloud IMAGES --depth MAPS --kind disparity --near 1 --far 30 --voxel 0.02 --format glb
    """
    from ccd_cli.pointcloud.run import run

    result = run(inputs, settings, screen.report())
    failed = [{"input": name, "problem": reason} for name, reason in result.failed]
    screen.document({"clouds": result.clouds, "failed": failed})
    if result.failed:
        total = len(result.failed) + len(result.clouds)
        click.echo(f"ccd: {len(result.failed)} of {total} inputs failed; the warnings above name them.", err=True)
        raise click.exceptions.Exit(1)
