"""`ccd bench`."""

from __future__ import annotations

import signal

import click

from ccd_cli.bench.settings import Settings
from ccd_cli.cli.options import Command, Group, options_from
from ccd_cli.cli.screen import JsonScreen


@click.group(cls=Group)
def command() -> None:
    """Measure speed, start, memory and error of every installed runtime.

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
