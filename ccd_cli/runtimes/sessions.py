"""Other software that runs an exported network: onnxruntime and OpenVINO. No torch here."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, CheckpointError, UsageProblem, first_line
from ccd_cli.runtimes.opset import check_opset

RuntimeName = Literal["torch", "openvino", "onnxruntime"]
EXTRA = {"openvino": "openvino", "onnxruntime": "onnx"}
"""The extra of ccd that installs each runtime."""


class Session(Protocol):
    """A network that runs in other software."""

    def __call__(self, images: NDArray[np.float32], /) -> NDArray[np.float32]:
        """RGB float32 [B, 3, H, W] in 0..1 -> map float32 [B, H, W]."""
        ...


@runtime_checkable
class Adaptable(Session, Protocol):
    """A session that can be made faster for images of one size."""

    def for_size(self, height: int, width: int) -> Session:
        """Return the same network, compiled also for one image of this size at a time; other inputs run as before."""
        ...


def is_installed(runtime: str) -> bool:
    """Return whether a runtime's package is there; it is not imported."""
    return importlib.util.find_spec(runtime) is not None


def check_installed(runtime: str) -> None:
    """Raise CcdError where a runtime's package is missing, with the command that installs it."""
    if not is_installed(runtime):
        raise CcdError(f"{runtime} is not installed.", f'Install it: pip install "ccd-depth[{EXTRA[runtime]}]"')


def check_precision(runtime: str, precision: str) -> None:
    """Raise UsageProblem for a precision in which a runtime does not compute on CPUs."""
    if runtime == "openvino" and precision == "fp16":
        raise UsageProblem("OpenVINO on a CPU computes in fp32 or bf16, not fp16.", "Use --precision fp32 or bf16.")
    if runtime == "onnxruntime" and precision != "fp32":
        raise UsageProblem(
            f"onnxruntime on a CPU computes in fp32, not {precision}.", "Use --runtime openvino or torch."
        )


def open_session(
    runtime: str, path: Path, precision: str = "fp32", threads: int | None = None, cache: Path | None = None
) -> Session:
    """Return the network of an ONNX file or OpenVINO IR, compiled by `runtime` for this processor.

    `threads` None: all cores. `cache` is the folder where OpenVINO keeps what it compiled. Raises CcdError for a package that is
    missing, `CheckpointError` for a file that is no depth network or that the runtime cannot load, and UsageProblem for a
    precision that it does not have.
    """
    check_installed(runtime)
    check_precision(runtime, precision)
    if path.suffix.lower() == ".onnx":
        check_opset(path)
    try:
        return (_openvino if runtime == "openvino" else _onnxruntime)(path, precision, threads, cache)
    except CcdError:
        raise
    except Exception as error:  # both raise their own classes, and plain RuntimeError
        raise CheckpointError(f"{path}: {runtime} cannot load it: {_reason(error)}.") from error


def _openvino(path: Path, precision: str, threads: int | None, cache: Path | None) -> Session:
    import openvino

    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    if cache is not None:
        options["CACHE_DIR"] = str(cache)
    compiled = openvino.Core().compile_model(str(path), "CPU", options)
    ranks = [[len(port.get_partial_shape()) for port in ports] for ports in (compiled.inputs, compiled.outputs)]
    _check_shapes(path, *ranks)
    options.pop("CACHE_DIR", None)  # it is sealed, with what was compiled for all sizes
    return _OpenVino(path, options, compiled)


class _OpenVino:
    """A network compiled by OpenVINO; `own` is its code for inputs of `shape` alone, beside that for all shapes."""

    def __init__(
        self, path: Path, options: dict[str, Any], compiled: Any, shape: tuple[int, ...] = (), own: Any = None
    ) -> None:
        self._path, self._options, self._compiled, self._shape, self._own = path, options, compiled, shape, own
        self._one = threading.Lock()  # it refuses a second thread, where torch and onnxruntime take turns

    def __call__(self, images: NDArray[np.float32], /) -> NDArray[np.float32]:
        network = self._own if images.shape == self._shape else self._compiled
        with self._one:
            return _ran(self._path, lambda: np.array(network([images])[0], np.float32))

    def for_size(self, height: int, width: int) -> Session:
        import openvino

        core, shape = openvino.Core(), (1, 3, height, width)
        try:
            graph = core.read_model(str(self._path))
            if not graph.is_dynamic():
                return self
            graph.reshape([*shape])
            own = core.compile_model(graph, "CPU", self._options)
        except Exception as error:  # its own classes, and plain RuntimeError
            raise CheckpointError(f"{self._path}: openvino cannot load it: {_reason(error)}.") from error
        return _OpenVino(self._path, self._options, self._compiled, shape, own)


def _onnxruntime(path: Path, precision: str, threads: int | None, _: Path | None) -> Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ranks = [[len(port.shape) for port in ports] for ports in (session.get_inputs(), session.get_outputs())]
    _check_shapes(path, *ranks)
    name = session.get_inputs()[0].name

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return _ran(path, lambda: np.asarray(session.run(None, {name: images})[0], np.float32))

    return run


def _check_shapes(path: Path, inputs: list[int], outputs: list[int]) -> None:
    """Raise `CheckpointError` unless a network has one image in and one map out, by their numbers of dimensions."""
    if inputs != [4] or outputs != [3]:
        raise CheckpointError(
            f"{path} is no depth network: it has inputs of {inputs} and outputs of {outputs} dimensions, not [4] and [3].",
            "Export a model with: ccd export MODEL",
        )


def _ran(path: Path, run: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    try:
        return run()
    except MemoryError:
        raise
    except Exception as error:  # both raise their own classes, and plain RuntimeError
        if "alloc" in str(error).lower():
            raise MemoryError(str(error)) from error
        raise CcdError(f"{path} cannot be run on this image: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    """The line that says something: onnxruntime's first, OpenVINO's last, which begins with lines about its own source."""
    if "ONNXRuntimeError" in str(error):
        return first_line(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else first_line(error)
