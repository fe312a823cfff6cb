"""`ccd data`: where evaluation sets come from, whether yours are the published ones, and how to make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ccd_cli.cli.options import json_option, verbosity

if TYPE_CHECKING:
    from ccd_cli.benchmarks.check import Checked

SETS = ("nyuv2", "kitti", "eth3d", "scannet", "diode")


def data_root_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --data-root."""
    return click.option(
        "--data-root",
        type=click.Path(file_okay=False, path_type=Path),
        default="data",
        envvar="CCD_DATA",
        show_default="$CCD_DATA, else ./data",
        help="Folder of the evaluation sets.",
    )(function)


@click.group()
def command() -> None:
    """See, check and prepare the sets that `ccd eval` scores on.

    Example: ccd data check zero-shot --data-root /data/eval
    """


@command.command("list")
@data_root_option
@json_option
def list_sets(data_root: Path, as_json: bool) -> None:
    """List the sets: where each comes from, how large it is, what must be agreed to, and whether it is here.

    Example: ccd data list
    """
    from dataclasses import asdict

    from ccd_cli.benchmarks.check import check_suite
    from ccd_cli.benchmarks.sources import SOURCES

    rows: list[dict[str, Any]] = []
    for source in SOURCES.values():
        checked = [] if source.name == "builtin" else check_suite(source.name, data_root)
        here = [one for one in checked if one.found]
        state = "always here" if source.name == "builtin" else _state(checked)
        rows.append({**asdict(source), "state": state, "found": [one.name for one in here]})
    if as_json:
        click.echo(json.dumps({"data_root": str(data_root), "sets": rows}, indent=2))
        return
    click.echo(f"Data root: {data_root} (--data-root DIR or CCD_DATA)\n")
    for row in rows:
        _show_source(row)
    click.echo(
        "Terms are summaries; the authors' pages decide. `ccd data prepare SET --from DIR` converts their archives."
    )


@command.command()
@click.argument("suite")
@data_root_option
@click.option("--read", is_flag=True, help="Decode every sample too, which finds damaged files.")
@json_option
@verbosity
def check(suite: str, data_root: Path, read: bool, as_json: bool, verbose: bool, quiet: bool) -> None:
    """Check whether a suite (zero-shot, moge, da-2k, builtin), one set or a YAML file's pairs and clips are whole and as
    published.

    Counts samples and compares the sha256 of the sorted photo paths with the published split's. Exit code 1 where
    something is missing, damaged or different.

    Example: ccd data check nyuv2 --data-root /data/eval
    """
    from dataclasses import asdict

    from ccd_cli.benchmarks.check import check_suite
    from ccd_cli.cli.report import RichReport

    checked = check_suite(suite, data_root, read=read, report=RichReport(quiet, verbose) if read else None)
    good = bool(checked) and all(one.good for one in checked)
    if as_json:
        rows = [{**asdict(one), "good": one.good} for one in checked]
        click.echo(json.dumps({"suite": suite, "data_root": str(data_root), "good": good, "sets": rows}, indent=2))
    else:
        for one in checked:
            if not quiet or not one.good:
                _show_checked(one)
    if not good:
        raise click.exceptions.Exit(1)


@command.command()
@click.argument("name", metavar="SET", type=click.Choice(SETS))
@click.option(
    "--from",
    "source",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the downloaded archives (zip, tar, tar.gz, .mat) or of what they unpack to.",
)
@click.option(
    "--list",
    "list_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="List of the samples to take, in Marigold's format; KITTI's and ScanNet's published splits need theirs.",
)
@data_root_option
@json_option
@verbosity
def prepare(
    name: str, source: Path, list_file: Path | None, data_root: Path, as_json: bool, verbose: bool, quiet: bool
) -> None:
    """Convert a set's official archives into the layout that `ccd eval` reads.

    Files that are finished are kept, so an interrupted conversion goes on where it stopped.

    Example: ccd data prepare diode --from ~/Downloads --data-root /data/eval
    """
    from ccd_cli.cli.report import RichReport
    from ccd_cli.prepare import run as pipeline

    report = RichReport(quiet, verbose)
    done = pipeline.run(name, source, data_root, list_file=list_file, report=report)
    assert done.checked is not None
    if done.absent:
        report.warn(f"{len(done.absent)} listed files are in none of the archives, the first {done.absent[0]}")
    if as_json:
        facts = {
            "set": name,
            "place": str(done.folder),
            "written": done.written,
            "kept": done.skipped,
            "absent": done.absent,
        }
        click.echo(json.dumps({**facts, "published": done.checked.good, "problems": done.checked.problems}, indent=2))
        return
    report.note(f"{done.folder}: {done.written} files written, {done.skipped} skipped")
    _show_checked(done.checked)


def _state(checked: list[Checked]) -> str:
    here = [one for one in checked if one.found]
    if not here:
        return "not here" if len(checked) > 1 else f"not here ({checked[0].problems[0].rstrip('.')})"
    if len(checked) > 1:
        return f"{len(here)} of {len(checked)} sets here"
    one = here[0]
    if one.good:
        return "here, the published split" if one.proven else "here, complete"
    return f"here, {one.found} of {one.published} samples"


def _show_source(row: dict[str, Any]) -> None:
    samples = f"{row['samples']} samples"
    click.echo(f"{row['name']} (suite {row['suite']}): {samples}; {row['state']}")
    for label, key in (
        ("belongs in", "place"),
        ("ready to read", "ready"),
        ("official page", "official"),
        ("official archives", "archives"),
        ("size", "size"),
        ("terms", "terms"),
    ):
        if row[key]:
            click.echo(f"  {label + ':':<19}{row[key]}")
    click.echo()


def _show_checked(one: Checked) -> None:
    if not one.found:
        click.echo(f"{one.name}: missing: {'; '.join(one.problems)}")
        return
    of = "" if one.published is None else f" of {one.published}"
    verdict = "the published split" if one.proven else ("complete" if one.good else "NOT as published")
    click.echo(f"{one.name}: {one.found}{of} samples, {verdict} ({one.place})")
    click.echo(f"  sha256 of the sorted photo paths: {one.digest}")
    for text in one.problems:
        click.echo(f"  problem: {text}")
    for text in one.notes:
        click.echo(f"  note: {text}")
