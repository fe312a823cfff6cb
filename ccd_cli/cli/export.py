"""`ccd export`."""

from __future__ import annotations

import click

from ccd_cli.cli.complete import models
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen
from ccd_cli.export.settings import Settings


@click.command(cls=Command, says="Looking up the model")
@click.argument("model", metavar="MODEL", shell_complete=models)
@options_from(settings=Settings, screen=JsonScreen)
def command(model: str, settings: Settings, screen: JsonScreen) -> None:
    """Export a model for other software, run there and compared before it is announced.

    MODEL is a catalog name, a run folder or a checkpoint. The result is written under a temporary name, run in the target
    software on photos of several shapes, and renamed into place only where it says the same as the original. A JSON file
    beside it (inside it, for transformers) says what goes in, what comes out, and under which license.

    \b
    Examples:
      ccd export builtin:tiny --format onnx
      ccd export runs/indoor --format openvino --precision int8 --calibration IMAGES
      ccd export depth-anything-v2-small --format transformers --resolution 518 --out depth-folder
      ccd export runs/indoor --format onnx --size 392x518 --out student.onnx
    """
    from ccd_cli.export.run import Exported, run

    report = screen.report()
    result = run(model, settings, report)
    asked = {"model": model, "format": settings.format, "precision": settings.precision}
    if not isinstance(result, Exported):
        report.note(f"Would export {result.ref.name} ({result.ref.kind}, {result.license}) to {result.target}")
        screen.document(asked | {"license": result.license, "target": str(result.target)})
        return
    report.note("Wrote " + ", ".join(str(path) for path in result.files))
    screen.document(asked | {"files": [str(path) for path in result.files], "facts": result.facts})
