"""From a network to an ONNX graph.

torch has two exporters. The older one records the operations of one pass (2 s for `builtin:tiny`, where the newer one needs 26 s
of symbolic arithmetic), and would write a number that follows from the image's size as a constant without a word. So the pass
is recorded twice, at different sizes: where the two graphs are equal, nothing in them depends on a size. Where they are not,
the newer exporter is asked, which knows for certain.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from ccd_cli.core.errors import CcdError, first_line
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.portable import Portable
from ccd_cli.runtimes.facts import OPSET

INPUT, OUTPUT = "image", "depth"
LARGEST = 2_000_000_000
"""Bytes of weights that one ONNX file holds (protobuf counts to 2^31)."""
_FREE = {INPUT: {0: "batch", 2: "height", 3: "width"}, OUTPUT: {0: "batch", 1: "height", 2: "width"}}
_SHAPES = ((2, 10, 14), (3, 13, 8))
"""Batch, height and width of the recorded passes, the sides in multiples of the network's step."""


def write_onnx(network: DepthNet, path: Path, size: tuple[int, int] | None = None) -> None:
    """Write `network` as one ONNX file: `image` float32 [B, 3, H, W], RGB in 0..1 -> `depth` float32 [B, H, W].

    `size` (height, width) fixes the input to [1, 3, height, width]; None: B, H and W are free, sides multiples of
    `arch.multiple`. Raises CcdError where a package is missing, for more weights than one file holds, and where the network
    cannot be described for every size; OSError where the disk fails.
    """
    _need("onnx")
    count = sum(each.numel() * each.element_size() for each in network.state_dict().values())
    if count > LARGEST:
        raise CcdError(f"{network.arch.name} has {count / 1e9:.1f} GB of weights, and one ONNX file holds 2 GB.")
    module, step = Portable(network), network.arch.multiple
    try:
        with _quiet(), torch.no_grad():
            if not _recorded(module, step, path, size):
                _need("onnxscript")
                _derive(module, step, path, size)
    except (CcdError, OSError):
        raise
    except Exception as error:  # whatever an exporter raises
        hint = "Try one fixed input size: --size fixed." if size is None else ""
        raise CcdError(f"{network.arch.name} cannot be exported: {first_line(error)}.", hint) from error


def _need(package: str) -> None:
    try:
        __import__(package)
    except ImportError as error:
        raise CcdError(f"This needs the package {package}.", 'Install it: pip install "ccd-depth[onnx]"') from error


def _recorded(module: Portable, step: int, path: Path, size: tuple[int, int] | None) -> bool:
    """Write the graph by the older exporter; return whether it could, and the graph depends on no size."""
    try:
        if size is not None:
            _record(module, (1, *size), path, {})
            return True
        prints = set()
        for batch, rows, columns in _SHAPES:
            _record(module, (batch, rows * step, columns * step), path, _FREE)
            prints.add(_fingerprint(path))
        return len(prints) == 1
    except RuntimeError:  # an operation that it does not have (UnsupportedOperatorError)
        return False


def _record(module: Portable, shape: tuple[int, int, int], path: Path, free: dict[str, dict[int, str]]) -> None:
    """Write what one pass over images of `shape` (batch, height, width) does."""
    example = torch.zeros(shape[0], 3, *shape[1:])
    with _no_output():
        torch.onnx.export(
            module,
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=free,
        )


def _fingerprint(path: Path) -> str:
    """The hash of a graph's operations and numbers, without the shapes that were recorded for information."""
    import onnx

    model = onnx.load(str(path))
    del model.graph.value_info[:]
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def _derive(module: Portable, step: int, path: Path, size: tuple[int, int] | None) -> None:
    """Write the graph that torch derives for one size or for every one, or raise what makes that impossible."""
    batch, rows, columns = _SHAPES[0]
    example, shapes = torch.zeros(batch, 3, rows * step, columns * step), None
    if size is None:
        dim = torch.export.Dim
        height, width = step * dim("rows", min=2, max=600), step * dim("columns", min=2, max=600)
        shapes = {"image": {0: dim("batch"), 2: height, 3: width}}
    else:
        example = torch.zeros(1, 3, *size)
    whole = torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)
    program = torch.onnx.export(
        whole, dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT], verbose=False
    )
    assert program is not None
    program.save(str(path), external_data=False)


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Send what C++ prints on standard output nowhere: the whole graph, where an operation is missing."""
    try:
        saved = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' progress and warnings off the screen; errors are raised."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
