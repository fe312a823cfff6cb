"""Networks as ONNX files and as OpenVINO IR, in full, half and 8-bit precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, first_line
from ccd_cli.export.check import Difference, Photo, compare, network_input
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.runtimes.facts import RUNTIME_OF, ExportFacts
from ccd_cli.runtimes.onnx_graph import INPUT, write_onnx
from ccd_cli.runtimes.sessions import EXTRA, is_installed, open_session

OPERATIONS = ("Conv", "MatMul", "Gemm")
"""What is computed in 8 bits."""


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
    if about.precision == "int8":
        _quantize(graph, [network_input(about.arch, each.rgb, size) for each in calibration])
    with _disk(out):
        if out.suffix == ".xml":
            import openvino

            openvino.save_model(
                openvino.convert_model(str(graph)), str(out), compress_to_fp16=about.precision == "fp16"
            )
            files = [out, out.with_suffix(".bin")]
        else:
            model = onnx.load(str(graph))
            if about.precision == "fp16":
                _halve(model)
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


def need(format_name: str) -> None:
    """Raise CcdError where a package is missing that `write` or `check` needs."""
    runtime = "openvino" if format_name == "openvino" else "onnxruntime"
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


class _Inputs:
    """What onnxruntime's calibration reads: one input after another."""

    def __init__(self, inputs: Sequence[NDArray[np.float32]]) -> None:
        self._left: Iterator[NDArray[np.float32]] = iter(inputs)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next input by its name, None after the last."""
        found = next(self._left, None)
        return None if found is None else {INPUT: found}


def _quantize(graph: Path, inputs: Sequence[NDArray[np.float32]]) -> None:
    """Replace the graph by one that multiplies 8-bit numbers: scales by channel for weights, by tensor for activations."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quiet, made = graph.with_name("prepared.onnx"), graph.with_name("quantized.onnx")
    try:
        quant_pre_process(str(graph), str(quiet), skip_symbolic_shape=True)
        quantize_static(
            str(quiet),
            str(made),
            _Inputs(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATIONS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    except OSError:
        raise
    except Exception as error:  # whatever it raises
        raise CcdError(f"The network cannot be quantized: {first_line(error)}.", "Use --precision fp32.") from error
    quiet.unlink()
    made.replace(graph)


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """Say plainly what fails while `out` is written; OpenVINO raises RuntimeError for a full disk."""
    try:
        yield
    except RuntimeError as error:
        raise CcdError(f"{out.name} cannot be written: {first_line(error)}.", "Is the disk full?") from error
