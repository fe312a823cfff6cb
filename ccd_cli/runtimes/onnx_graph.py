"""From a network to an ONNX graph, by torch's exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from ccd_cli.core.errors import CcdError, first_line
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.portable import Portable

OPSET = 18
INPUT, OUTPUT = "image", "depth"


def write_onnx(network: DepthNet, path: Path, size: tuple[int, int] | None = None) -> None:
    """Write `network` as one ONNX file: `image` float32 [B, 3, H, W], RGB in 0..1 -> `depth` float32 [B, H, W].

    `size` (height, width) fixes the input to [1, 3, height, width]; None: B, H and W are free, sides multiples of
    `arch.multiple`. Raises CcdError where a package is missing, and where the network cannot be described for every size.
    """
    for package in ("onnx", "onnxscript"):
        try:
            __import__(package)
        except ImportError as error:
            raise CcdError(f"This needs the package {package}.", 'Install it: pip install "ccd-depth[onnx]"') from error
    step = network.arch.multiple
    shapes = None
    example = torch.zeros(1, 3, *size) if size else torch.zeros(2, 3, 10 * step, 14 * step)
    if size is None:
        dim = torch.export.Dim
        height, width = step * dim("rows", min=2, max=600), step * dim("columns", min=2, max=600)
        shapes = {"image": {0: dim("batch"), 2: height, 3: width}}
    module = Portable(network)
    try:
        with _quiet(), torch.no_grad():
            whole = torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)
            program = torch.onnx.export(
                whole, dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT], verbose=False
            )
            assert program is not None
            program.save(str(path), external_data=False)
    except Exception as error:  # whatever an exporter raises
        hint = "Give --resolution and a fixed size." if size is None else ""
        raise CcdError(f"{network.arch.name} cannot be exported: {first_line(error)}.", hint) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and warnings off the screen; errors are raised."""
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
            logging.getLogger("torch.onnx").setLevel(level)
