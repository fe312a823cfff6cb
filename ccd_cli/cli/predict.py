"""`ccd predict`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen
from ccd_cli.core.settings import RuntimeSettings
from ccd_cli.predict.settings import ModelSettings, Settings

ROWS_SHOWN = 12
FAILURES_SHOWN = 30


@click.command(cls=Command)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@options_from(settings=Settings, network=ModelSettings, hardware=RuntimeSettings, screen=JsonScreen)
def command(
    inputs: tuple[str, ...], settings: Settings, network: ModelSettings, hardware: RuntimeSettings, screen: JsonScreen
) -> None:
    """Predict depth for images and videos.

    INPUT is a file, a folder, a glob, a .txt list, or - for a list on standard input. Existing results made by the same
    settings are skipped. Results of another model or with other settings under the same names are kept, and the input
    fails: --overwrite replaces them, another --out keeps both.

    Videos are read as players show them: upright, the largest video track, pixels that are not square resampled to square
    ones, HDR tone-mapped. A second Ctrl-C ends at once.

    \b
    Examples:
      ccd predict image.jpg
      ccd predict video.mp4 --pointcloud
      ccd predict IMAGES --model depth-anything-v2-base --save npy,side --out maps
    """
    if network.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from ccd_cli.core.runtime import choose_runtime
    from ccd_cli.media.find import list_lines
    from ccd_cli.predict.run import run
    from ccd_cli.teachers.model import load

    report = screen.report()
    runtime = choose_runtime(hardware.device, hardware.precision, hardware.threads)
    downloads = screen.download_report()
    loaded = load(network.model, network.arch, network.resolution, runtime, downloads, network.compiled)
    lines = list_lines(sys.stdin.buffer.read()) if "-" in inputs and sys.stdin else []
    outcome = run(inputs, loaded, settings, runtime, report, lines)
    failed = [{"input": name, "reason": reason} for name, reason in outcome.failed]
    not_read = outcome.not_read
    screen.document(
        {"model": loaded.teacher.name, "done": outcome.done, "failed": failed, "not_read": not_read.as_json()}
    )
    made = [record for record in outcome.done if not record["skipped"]]
    rows: list[dict[str, object]] = [
        {"input": Path(r["input"]).name, "kind": r["kind"], "written": _names(r)} for r in made[:ROWS_SHOWN]
    ]
    report.table(f"Written to {settings.out}", rows)
    if len(made) > len(rows):
        report.note(f"... and {len(made) - len(rows)} more")
    report.note(f"{len(made)} done, {outcome.skipped} skipped, {len(outcome.failed)} failed{not_read.summary()}.")
    if outcome.failed:
        for name, reason in outcome.failed[:FAILURES_SHOWN]:
            report.warn(f"failed: {name}: {reason}")
        if (more := len(outcome.failed) - FAILURES_SHOWN) > 0:
            report.warn(f"... and {more:,} more")
        raise click.exceptions.Exit(1)


def _names(record: dict[str, Any]) -> str:
    """The endings of one input's files behind their common stem."""
    stem = Path(record["sidecar"]).name.removesuffix(".json")
    names = [Path(name).name for name in record["files"]]
    return " ".join([*(name.removeprefix(stem) or f"{stem}/" for name in names), ".json"])
