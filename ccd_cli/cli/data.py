"""`ccd data`: where evaluation datasets come from, whether yours are the published ones, and how to prepare them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ccd_cli.cli.complete import suites
from ccd_cli.cli.options import Group, NearChoice, options_from
from ccd_cli.cli.screen import JsonScreen
from ccd_cli.core.options import option
from ccd_cli.core.settings import data_root_option
from ccd_cli.prepare.settings import Settings

if TYPE_CHECKING:
    from ccd_cli.benchmarks.check import Checked

SETS = ("nyuv2", "kitti", "eth3d", "scannet", "diode")


@dataclass(frozen=True, kw_only=True)
class DataRoot:
    """Where datasets are."""

    data_root: Path = data_root_option()


@dataclass(frozen=True, kw_only=True)
class CheckSettings(DataRoot):
    """How thoroughly datasets are checked."""

    read: bool = option(False, "Also decode every sample, which finds damaged files.", "Input")


@click.group(cls=Group)
def command() -> None:
    """List, check and prepare the evaluation datasets.

    Example: ccd data check zero-shot --data-root /data/eval
    """


@command.command("list", says="Looking at the data root")
@options_from(settings=DataRoot, screen=JsonScreen)
def list_sets(settings: DataRoot, screen: JsonScreen) -> None:
    """List the datasets: source, size, terms of use, and whether each is installed.

    Example: ccd data list
    """
    from dataclasses import asdict

    from ccd_cli.benchmarks.check import check_suite
    from ccd_cli.benchmarks.sources import SOURCES

    rows: list[dict[str, Any]] = []
    for source in SOURCES.values():
        checked = [] if source.name == "builtin" else check_suite(source.name, settings.data_root)
        here = [one for one in checked if one.found]
        state = "always available" if source.name == "builtin" else _state(checked)
        rows.append({**asdict(source), "state": state, "found": [one.name for one in here]})
    if screen.as_json:
        screen.document({"data_root": str(settings.data_root), "sets": rows})
        return
    click.echo(f"Data root: {settings.data_root} (--data-root DIR or CCD_DATA)\n")
    for row in rows:
        _show_source(row)
    click.echo(
        "Terms are summaries; the authors' pages are binding. `ccd data prepare SET --from DIR` converts their archives."
    )


@command.command(says="Opening datasets")
@click.argument("suite", metavar="SUITE", shell_complete=suites)
@options_from(settings=CheckSettings, screen=JsonScreen)
def check(suite: str, settings: CheckSettings, screen: JsonScreen) -> None:
    """Check that a suite (zero-shot, moge, da-2k, builtin), a single dataset or the pairs and clips of a YAML file are
    complete and match the published split.

    Counts samples and compares the sha256 of the sorted image paths with that of the published split. With --read, pairs of
    your own are also measured: implausible units and depth that is shifted relative to its image are doubtful. Exit code 1 if
    anything is missing, damaged or different.

    Example: ccd data check nyuv2 --data-root /data/eval
    """
    from dataclasses import asdict

    from ccd_cli.benchmarks.check import check_suite

    report = screen.report() if settings.read else None
    checked = check_suite(suite, settings.data_root, read=settings.read, report=report)
    good = bool(checked) and all(one.good for one in checked)
    rows = [{**asdict(one), "good": one.good} for one in checked]
    screen.document({"suite": suite, "data_root": str(settings.data_root), "good": good, "sets": rows})
    if not screen.as_json:
        for one in checked:
            if not screen.quiet or not one.good:
                _show_checked(one)
    if not good:
        raise click.exceptions.Exit(1)


@command.command(says="Opening archives")
@click.argument("name", metavar="SET", type=NearChoice(SETS))
@options_from(settings=Settings, screen=JsonScreen)
def prepare(name: str, settings: Settings, screen: JsonScreen) -> None:
    """Convert a dataset's official archives into the layout that `ccd eval` reads.

    Finished files are skipped, so an interrupted conversion resumes where it stopped.

    Example: ccd data prepare diode --from ~/Downloads --data-root /data/eval
    """
    from ccd_cli.prepare.run import run

    report = screen.report()
    done = run(name, settings.source, settings.data_root, list_file=settings.list_file, report=report)
    assert done.checked is not None
    if done.absent:
        report.warn(f"{len(done.absent)} listed files are in none of the archives; the first is {done.absent[0]}")
    if done.left_out:
        shown = ", ".join(done.left_out[:5]) + (", ..." if len(done.left_out) > 5 else "")
        report.warn(f"{len(done.left_out)} members of the archives are no plain files and are skipped: {shown}")
    if screen.as_json:
        facts = {
            "set": name,
            "place": str(done.folder),
            "written": done.written,
            "kept": done.skipped,
            "absent": done.absent,
            "left_out": done.left_out,
        }
        screen.document({**facts, "published": done.checked.good, "problems": done.checked.problems})
        return
    report.note(f"{done.folder}: {done.written} files written, {done.skipped} skipped")
    _show_checked(done.checked)


def _state(checked: "list[Checked]") -> str:
    here = [one for one in checked if one.found]
    if not here:
        return "not installed" if len(checked) > 1 else f"not installed ({checked[0].problems[0].rstrip('.')})"
    if len(checked) > 1:
        return f"{len(here)} of {len(checked)} datasets installed"
    one = here[0]
    if one.good:
        return "installed, the published split" if one.proven else "installed, complete"
    return f"installed, {one.found} of {one.published} samples"


def _show_source(row: dict[str, Any]) -> None:
    samples = f"{row['samples']} samples"
    click.echo(f"{row['name']} (suite {row['suite']}): {samples}; {row['state']}")
    for label, key in (
        ("location", "place"),
        ("preprocessed", "ready"),
        ("official page", "official"),
        ("official archives", "archives"),
        ("size", "size"),
        ("terms", "terms"),
    ):
        if row[key]:
            click.echo(f"  {label + ':':<19}{row[key]}")
    click.echo()


def _show_checked(one: "Checked") -> None:
    if not one.found:
        click.echo(f"{one.name}: missing: {'; '.join(one.problems)}")
        return
    of = "" if one.published is None else f" of {one.published}"
    verdict = (
        "the published split"
        if one.proven
        else ("complete" if one.good else "INCOMPLETE" if one.published is None else "NOT the published split")
    )
    click.echo(f"{one.name}: {one.found}{of} samples, {verdict} ({one.place})")
    click.echo(f"  sha256 of the sorted image paths: {one.digest}")
    for text in one.problems:
        click.echo(f"  problem: {text}")
    for text in one.doubts:
        click.echo(f"  doubtful: {text}")
    for text in one.notes:
        click.echo(f"  note: {text}")
