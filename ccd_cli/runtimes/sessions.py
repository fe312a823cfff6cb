"""Other software that runs an exported network: onnxruntime and OpenVINO. No torch here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, first_line

RuntimeName = Literal["torch", "openvino", "onnxruntime"]
EXTRA = {"openvino": "openvino", "onnxruntime": "onnx"}
"""The extra of ccd that installs each runtime."""

Session = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""RGB float32 [B, 3, H, W] in 0..1 -> map float32 [B, H, W]."""


def is_installed(runtime: str) -> bool:
    """Return whether a runtime's package is there; it is not imported."""
    return importlib.util.find_spec(runtime) is not None


def open_session(
    runtime: str, path: Path, precision: str = "fp32", threads: int | None = None, cache: Path | None = None
) -> Session:
    """Return the network of an ONNX file or OpenVINO IR, compiled by `runtime` for this processor.

    `threads` None: all cores. `cache` is the folder where OpenVINO keeps what it compiled. Raises CcdError for a package that is
    missing, a file that is no network, and a precision that the runtime does not have.
    """
    if not is_installed(runtime):
        raise CcdError(f"{runtime} is not installed.", f'Install it: pip install "ccd-depth[{EXTRA[runtime]}]"')
    try:
        return (_openvino if runtime == "openvino" else _onnxruntime)(path, precision, threads, cache)
    except CcdError:
        raise
    except Exception as error:  # both raise their own classes, and plain RuntimeError
        raise CcdError(f"{path}: {runtime} cannot load it: {first_line(error)}.") from error


def _openvino(path: Path, precision: str, threads: int | None, cache: Path | None) -> Session:
    import openvino

    if precision == "fp16":
        raise CcdError("OpenVINO on a CPU computes in fp32 or bf16, not fp16.", "Use --precision fp32 or bf16.")
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    if cache is not None:
        options["CACHE_DIR"] = str(cache)
    compiled = openvino.Core().compile_model(str(path), "CPU", options)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(compiled([images])[0], np.float32)

    return run


def _onnxruntime(path: Path, precision: str, threads: int | None, _: Path | None) -> Session:
    import onnxruntime

    if precision != "fp32":
        raise CcdError(f"onnxruntime on a CPU computes in fp32, not {precision}.", "Use --runtime openvino or torch.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {name: images})[0], np.float32)

    return run
