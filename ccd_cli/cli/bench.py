"""`ccd bench`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

from ccd_cli.bench.settings import DistillSettings, LabelSettings, Settings
from ccd_cli.cli.options import Command, Group, options_from
from ccd_cli.cli.screen import JsonScreen

if TYPE_CHECKING:
    from ccd_cli.terminal.report import RichReport


@click.group(cls=Group)
def command() -> None:
    """Measure how fast this machine predicts, labels and distills, and where the time goes.

    Example: ccd bench predict --model depth-anything-v2-small
    """


@command.command("predict", cls=Command, says="Looking up the model and the runtimes")
@options_from(settings=Settings, screen=JsonScreen)
def predict(settings: Settings, screen: JsonScreen) -> None:
    """Measure the network and `ccd predict` under every installed runtime and precision, on this machine's CPU.

    For each: images a second of the bare network, of predict with --save npy and with its default outputs ("own": the fraction of
    the bare network); the largest and mean error of its maps as a fraction of the range, against float32 torch; seconds to load or
    compile, seconds from the start of a process to its first result, and that process's memory at its peak. The pipeline of
    transformers, where it is installed, is beside them. All are measured in turns. Ctrl-C prints what there is.

    \b
    Examples:
      ccd bench predict
      ccd bench predict --model builtin:tiny --images PHOTOS --rounds 5
      ccd bench predict --runtime torch,openvino --precision fp32 --json
    """
    from ccd_cli.teachers.needs import faults_of

    for _, fault in faults_of([(settings.model, settings.arch)]):
        raise fault  # before torch loads
    from ccd_cli.bench.results import table
    from ccd_cli.bench.run import run
    from ccd_cli.core.errors import Interrupted

    report = screen.report()
    found = run(settings, report)
    rows: list[dict[str, object]] = [dict(line) for line in table(found)]
    if rows:
        report.table(f"{found['model']}: {found['rounds_done']} rounds of {found['photos']} photos", rows)
    if settings.out is not None:
        report.note(f"Written to {settings.out}: bench.json and bench.md, a table for a README")
    screen.document(found)
    if found["interrupted"]:
        raise Interrupted("Interrupted.", "The table holds what was measured until then.", 128 + signal.SIGINT)


@command.command("distill", cls=Command, says="Looking up the models")
@options_from(settings=DistillSettings, screen=JsonScreen)
def distill(settings: DistillSettings, screen: JsonScreen) -> None:
    """Measure the training loop beside a plain one: float32, image by image, crop by crop, losses by whole-map masks.

    For each: images a second, the fraction of a step that each part takes, the networks' floating-point operations a second, also
    as a fraction of this device's largest matrix product in the run's precision, memory at its peak. Both take turns. Ctrl-C prints
    what there is.

    \b
    Examples:
      ccd bench distill
      ccd bench distill --student builtin:tiny --teacher builtin:tiny --size 64 --rounds 1
      ccd bench distill --teacher depth-anything-v2-large --size 518 --batch 16 --steps 10 --device cuda --json
    """
    _check_models(settings.student, settings.teacher)
    from ccd_cli.bench.distill import run

    report = screen.report()
    _show(run(settings, report), settings, screen, report)


@command.command("label", cls=Command, says="Looking up the model")
@options_from(settings=LabelSettings, screen=JsonScreen)
def label(settings: LabelSettings, screen: JsonScreen) -> None:
    """Measure `ccd label` beside a plain loop: float32, image by image, crop by crop.

    For each: images a second, the fraction of the time that the teacher takes, waiting for images and encoded maps, comparing, and
    writing; the teacher's floating-point operations a second, also as a fraction of this device's largest matrix product; memory at
    its peak. Both take turns. Ctrl-C prints what there is.

    \b
    Examples:
      ccd bench label
      ccd bench label --teacher builtin:tiny --size 64 --photos 2 --rounds 1
    """
    _check_models(settings.teacher)
    from ccd_cli.bench.label import run

    report = screen.report()
    _show(run(settings, report), settings, screen, report)


def _check_models(*names: str) -> None:
    """Raise what is wrong with models that are named, before torch loads; architectures have random weights."""
    from ccd_cli.models.arch import ARCHS
    from ccd_cli.teachers.needs import faults_of

    for _, fault in faults_of([(name, None) for name in names if name not in ARCHS]):
        raise fault


def _show(
    found: dict[str, Any], settings: DistillSettings | LabelSettings, screen: JsonScreen, report: RichReport
) -> None:
    """Print the table of a benchmark of work."""
    from ccd_cli.bench.work import table, title
    from ccd_cli.core.errors import Interrupted

    report.table(title(found), [dict(line) for line in table(found)])
    if settings.out is not None:
        report.note(f"Written to {settings.out}: bench.json and bench.md, a table for a README")
    screen.document(found)
    if found["interrupted"]:
        raise Interrupted("Interrupted.", "The table holds what was measured until then.", 128 + signal.SIGINT)
