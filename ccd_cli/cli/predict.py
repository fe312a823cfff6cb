"""`ccd predict`."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ccd_cli.cli.complete import files
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen
from ccd_cli.core.report import Report
from ccd_cli.core.settings import DeviceSettings, EngineSettings, RuntimeSettings
from ccd_cli.predict.settings import ModelSettings, Settings

ROWS_SHOWN = 12
FAILURES_SHOWN = 30


@dataclass(frozen=True, kw_only=True)
class Hardware(EngineSettings, RuntimeSettings, DeviceSettings):
    """Where and how the network runs."""


@click.command(cls=Command, says="Looking for images and videos")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=files)
@options_from(settings=Settings, network=ModelSettings, hardware=Hardware, screen=JsonScreen)
def command(
    inputs: tuple[str, ...], settings: Settings, network: ModelSettings, hardware: Hardware, screen: JsonScreen
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
      ccd predict photo.jpg --model runs/indoor --model depth-anything-v2-small --save side
      ccd predict IMAGES --out maps --engine ray
    """
    hardware.refuse_shard(settings.shard)
    if network.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from ccd_cli.media.find import find_media, list_lines
    from ccd_cli.media.not_read import NotRead
    from ccd_cli.teachers.needs import find_models, labels_of

    report = screen.report()
    refs = dict(zip(network.models, find_models([(word, network.arch) for word in network.models]), strict=True))
    labels = labels_of(refs)
    named = list(labels.values())
    lines = list_lines(sys.stdin.buffer.read()) if "-" in inputs and sys.stdin else []
    not_read = NotRead()
    found = find_media(inputs, lines, settings.out, not_read)
    if not found[0]:  # nothing to predict: that costs no import of torch
        for warning in not_read.warnings():
            report.warn(warning)
        screen.document({**_named(named), "done": [], "failed": _reasons(found[1]), "not_read": not_read.as_json()})
        report.note(f"0 done, 0 skipped, {len(found[1])} failed{not_read.summary()}.")
        _fail(found[1], report)
        return
    from ccd_cli.core.compute import choose_compute
    from ccd_cli.predict.run import run
    from ccd_cli.teachers.model import load

    downloads = screen.download_report()
    with ExitStack() as stack:
        pool = None
        if hardware.engine == "ray":
            from ccd_cli.cluster.pool import Pool
            from ccd_cli.predict.remote import choose_pool_compute

            pool = stack.enter_context(Pool(hardware.workers, screen.verbose, report))
            compute = choose_pool_compute(pool, hardware)
        else:
            compute = choose_compute(hardware.device, hardware.precision, hardware.threads, report)
        more = (network.arch, network.resolution, compute, downloads, network.compiled, hardware.runtime)
        if len(named) > 1:
            from ccd_cli.predict.compare import compare

            several = {labels[word]: load(word, *more) for word in network.models}
            outcome = compare(several, settings, compute, report, (*found, not_read), pool)
        else:
            loaded = load(next(iter(network.models), None), *more)
            named = [loaded.about.name]
            outcome = run(inputs, loaded, settings, compute, report, (*found, not_read), pool)
    failed, not_read = _reasons(outcome.failed), outcome.not_read
    screen.document({**_named(named), "done": outcome.done, "failed": failed, "not_read": not_read.as_json()})
    made = [record for record in outcome.done if not record["skipped"]]
    rows: list[dict[str, object]] = [
        {**_who(r, named), "input": Path(r["input"]).name, "kind": r["kind"], "written": _names(r)}
        for r in made[:ROWS_SHOWN]
    ]
    report.table(f"Written to {settings.out}", rows)
    if len(made) > len(rows):
        report.note(f"... and {len(made) - len(rows)} more")
    report.note(f"{len(made)} done, {outcome.skipped} skipped, {len(outcome.failed)} failed{not_read.summary()}.")
    if len(outcome.done) > 1:
        report.note(f"See them on one page: ccd inspect {shlex.quote(str(settings.out))} --open")
    _fail(outcome.failed, report)


def _named(names: list[str]) -> dict[str, Any]:
    """What the JSON says of the models: the one, and of several all."""
    return {"model": None, "models": names} if len(names) > 1 else {"model": next(iter(names), None)}


def _who(record: dict[str, Any], names: list[str]) -> dict[str, object]:
    """A cell with the model that made a result, where there are several."""
    return {"model": record["model"] or "side by side"} if len(names) > 1 else {}


def _reasons(failed: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"input": name, "reason": reason} for name, reason in failed]


def _fail(failed: list[tuple[str, str]], report: Report) -> None:
    """Name what failed, if anything, and exit with code 1."""
    for name, reason in failed[:FAILURES_SHOWN]:
        report.warn(f"failed: {name}: {reason}")
    if (more := len(failed) - FAILURES_SHOWN) > 0:
        report.warn(f"... and {more:,} more")
    if failed:
        raise click.exceptions.Exit(1)


def _names(record: dict[str, Any]) -> str:
    """The endings of one input's files behind their common stem."""
    stem = Path(record["sidecar"]).name.removesuffix(".json")
    names = [Path(name).name for name in record["files"]]
    return " ".join([*(name.removeprefix(stem) or f"{stem}/" for name in names), ".json"])
