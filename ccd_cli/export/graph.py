"""Networks as ONNX files and as OpenVINO IR, in full, half and 8-bit precision."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ccd_cli.core.errors import CcdError, first_line
from ccd_cli.export.check import Difference, Photo, compare, network_input
from ccd_cli.models.arch import Arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.runtimes.facts import RUNTIME_OF, ExportFacts
from ccd_cli.runtimes.onnx_graph import INPUT, write_onnx
from ccd_cli.runtimes.sessions import EXTRA, is_installed, open_session


def write(
    network: DepthNet,
    about: ExportFacts,
    out: Path,
    size: tuple[int, int] | None,
    calibration: Sequence[Photo] = (),
) -> list[Path]:
    """Write `network` to `out` (.onnx, or .xml with a .bin beside it); return its files.

    int8 takes the range of every tensor from `calibration`. Raises CcdError for a package that is missing and what cannot be
    exported or written.
    """
    import onnx

    graph = out.with_name("graph.onnx")
    write_onnx(network, graph, size)
    onnx.checker.check_model(str(graph), full_check=True)
    if about.precision == "fp16":
        model = onnx.load(str(graph))
        _halve(model)
        onnx.save(model, str(graph))
    inputs = [network_input(about.arch, each.rgb, size) for each in calibration]
    with _disk(out):
        if out.suffix == ".xml":
            import openvino

            # read_model: convert_model reports its use to Google Analytics. Weights are halved as for ONNX: compress_to_fp16
            # halves small constants, too, and cost builtin:tiny 4e-2 of the range instead of 4e-3.
            found = openvino.Core().read_model(str(graph))
            found = quantize(found, about.arch, inputs) if about.precision == "int8" else found
            openvino.save_model(found, str(out), compress_to_fp16=False)
            files = [out, out.with_suffix(".bin")]
        else:
            model = onnx.load(str(graph))
            model = quantize(model, about.arch, [{INPUT: each} for each in inputs]) if inputs else model
            onnx.helper.set_model_props(model, {"model": about.name, "license": about.license, "kind": about.arch.kind})
            model.producer_name = "ccd"
            out.write_bytes(model.SerializeToString())
            onnx.checker.check_model(str(out), full_check=True)
            files = [out]
        graph.unlink()
    return files


def check(out: Path, network: DepthNet, about: ExportFacts, photos: Sequence[Photo]) -> list[Difference]:
    """Run the network of `out` in the software it is for, and compare it with `network` on each photo."""
    session = open_session(RUNTIME_OF[out.suffix], out)
    return compare(session, network, about, photos)


def need(format_name: str, precision: str) -> None:
    """Raise CcdError where a package is missing that `write` or `check` needs."""
    runtime = "openvino" if format_name == "openvino" else "onnxruntime"
    if precision == "int8" and not is_installed("nncf"):
        raise CcdError("--precision int8 needs the package nncf.", 'Install it: pip install "ccd-depth[int8]"')
    for package in ("onnx", runtime):
        if not is_installed(package):
            extra = "onnx,openvino" if runtime == "openvino" else EXTRA[runtime]
            raise CcdError(
                f"--format {format_name} needs the package {package}.", f'Install it: pip install "ccd-depth[{extra}]"'
            )


def _halve(model: Any) -> None:
    """Store the weights of an ONNX model as float16, each followed by a cast: it computes in float32 as before."""
    import onnx
    from onnx import TensorProto, numpy_helper

    casts = []
    for stored in model.graph.initializer:
        if stored.data_type != TensorProto.FLOAT or np.prod(stored.dims) < 1024:
            continue
        name = stored.name
        values = numpy_helper.to_array(stored)
        limit = np.finfo(np.float16).max
        half = numpy_helper.from_array(np.clip(values, -limit, limit).astype(np.float16), f"{name}_fp16")
        casts.append(onnx.helper.make_node("Cast", [half.name], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
        stored.CopyFrom(half)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def quantize(model: Any, arch: Arch, inputs: Sequence[Any]) -> Any:
    """Return an ONNX or OpenVINO model that multiplies 8-bit numbers, its ranges taken from what it does with `inputs`.

    By NNCF, with its correction of biases; onnxruntime's own `quantize_static` (MinMax) loses three times as much of
    builtin:tiny (docs/export.md).
    """
    os.environ.setdefault("NNCF_CI", "1")  # it reports its use to Google Analytics otherwise
    logging.disable(logging.WARNING)  # torch's about CUDA, which NNCF looks for
    try:
        import nncf

        nncf.set_log_level(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return nncf.quantize(
                model,
                nncf.Dataset(inputs),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(inputs),
                model_type=None if arch.layout == "pyramid" else nncf.ModelType.TRANSFORMER,
            )
    except Exception as error:  # whatever it raises
        raise CcdError(f"The network cannot be quantized: {first_line(error)}.", "Use --precision fp32.") from error
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """Say plainly what fails while `out` is written; OpenVINO raises RuntimeError for a full disk."""
    try:
        yield
    except RuntimeError as error:
        raise CcdError(f"{out.name} cannot be written: {first_line(error)}.", "Is the disk full?") from error
