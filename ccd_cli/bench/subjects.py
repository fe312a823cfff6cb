"""What is measured: one network under every installed runtime and precision."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.bench.settings import PRECISIONS, RUNTIMES, Settings
from ccd_cli.core.compute import choose_compute, cpu_has_bf16
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.models.arch import Arch
from ccd_cli.runtimes.facts import RUNTIME_OF, ExportFacts, read_facts, write_facts
from ccd_cli.runtimes.onnx_graph import write_onnx
from ccd_cli.runtimes.sessions import check_installed, is_installed, open_session
from ccd_cli.teachers.adapters.exported import ExportedTeacher
from ccd_cli.teachers.adapters.native import NativeTeacher, infer
from ccd_cli.teachers.load import load_teacher
from ccd_cli.teachers.model import Model

_LACKS = {("onnxruntime", "bf16")}
"""Precisions that a runtime does not compute in on CPUs."""


@dataclass(frozen=True)
class Way:
    """One way to run the network: the runtime and its precision."""

    runtime: str
    precision: str

    @property
    def name(self) -> str:
        """As in the table: "openvino bf16"."""
        return f"{self.runtime} {self.precision}"


@dataclass(frozen=True)
class Subject:
    """A loaded way: `model` predicts photos, `network` takes float32 [B, 3, h, w] in 0..1 and gives maps [B, h, w].

    `load_s` are the seconds that it took to load, and to compile where the runtime does.
    """

    way: Way
    arch: Arch
    model: Model
    network: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    load_s: float


BASE = Way("torch", "fp32")
"""What all others are compared with; it is always measured."""


def ways(settings: Settings) -> list[Way]:
    """Return what is to be measured, `BASE` first.

    Raises CcdError for a runtime that is asked for by name and not installed, UsageProblem for a precision that this processor
    does not have, and for a runtime by name that has none of the precisions.
    """
    for name in settings.runtime:
        check_installed(name)
    for precision in settings.precision:
        choose_compute("cpu", precision)
    runtimes = settings.runtime or tuple(name for name in RUNTIMES if is_installed(name))
    precisions = settings.precision or tuple(p for p in PRECISIONS if p == "fp32" or cpu_has_bf16())
    found = [Way(r, p) for r in runtimes for p in precisions if (r, p) not in _LACKS]
    for name in settings.runtime:
        if all(way.runtime != name for way in found):
            raise UsageProblem(
                f"{name} on a CPU does not compute in {' or '.join(precisions)}.", "Add --precision fp32."
            )
    return [BASE, *(way for way in found if way != BASE)]


def export(model: str, arch: str | None, path: Path) -> float:
    """Write the network of `model` with its facts as the ONNX file `path`; return the seconds of the export itself."""
    teacher = native(model, arch, "fp32")
    start = time.perf_counter()
    write_onnx(teacher.model, path)
    seconds = time.perf_counter() - start
    write_facts(path, ExportFacts(teacher.model.arch, teacher.name, teacher.license, teacher.checkpoint_sha256))
    return seconds


def native(model: str, arch: str | None, precision: str) -> NativeTeacher:
    """Return a model of a network that ccd holds itself; raises CcdError for an exported one and one of its authors' library."""
    if Path(model).suffix.lower() in RUNTIME_OF:
        raise CcdError(
            f"{model} is an exported network: this measures what a network is in every runtime.",
            "Give the checkpoint or run folder it was made from.",
        )
    teacher = load_teacher(model, arch, "cpu", precision)
    if not isinstance(teacher, NativeTeacher):
        raise CcdError(
            f"{model} runs in its authors' library: there is no other runtime for it.",
            "Choose a Depth Anything model or a student.",
        )
    return teacher


def load(way: Way, settings: Settings, exported: Path | None) -> Subject:
    """Return `way`, ready to predict; `exported` is the ONNX file that other runtimes than torch open."""
    start = time.perf_counter()
    if way.runtime == "torch":
        teacher = native(settings.model, settings.arch, way.precision)
        seconds = time.perf_counter() - start
        net = teacher.model

        def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
            made, _ = infer(net, net.normalize(torch.from_numpy(images)), way.precision)
            return np.asarray(made.numpy(), np.float32)

        return Subject(way, net.arch, Model(teacher, settings.resolution, net.arch.resolution), run, seconds)
    assert exported is not None
    facts = read_facts(exported)
    start = time.perf_counter()
    session = open_session(way.runtime, exported, way.precision, settings.threads or torch.get_num_threads())
    seconds = time.perf_counter() - start
    other = ExportedTeacher(session, facts, facts.source_sha256)
    return Subject(way, facts.arch, Model(other, settings.resolution, facts.arch.resolution), session, seconds)


def machine() -> dict[str, object]:
    """Return what the numbers depend on: processor, threads, versions."""
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {}
    for package in ("torch", "onnxruntime", "openvino", "transformers"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "bf16": cpu_has_bf16(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
