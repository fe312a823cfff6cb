"""Which software runs a model, and a model in software other than torch: `--runtime`. Torch loads only to write a graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ccd_cli.core.compute import EXACT, Compute, computed_by
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.runtimes.cache import cached_graph, is_cached, open_cached
from ccd_cli.runtimes.choose import Work, can_export, export_seconds, installed, is_worth
from ccd_cli.runtimes.facts import ExportFacts
from ccd_cli.runtimes.sessions import check_installed, check_precision
from ccd_cli.teachers.adapters.exported import ExportedTeacher, on_cpu, open_file, precision_of, runtime_of_file
from ccd_cli.teachers.load import ModelRef, load_network

if TYPE_CHECKING:
    from ccd_cli.models.arch import Arch


def choose_runtime(ref: ModelRef, wanted: str, compute: Compute, work: Work, prepared: bool = True) -> str:
    """Return the runtime that `--runtime wanted` stands for: torch, openvino or onnxruntime.

    `auto` is torch where other runtimes cannot run the model or give no mask of its sky, and at precisions other than fp32, where
    runtimes differ visibly. Else it is the fastest one that is installed and whose preparation is there (with `prepared`) or pays
    on this work. Raises UsageProblem for a named one that cannot run this model, CcdError for one that is not installed.
    """
    if ref.exported is not None:
        return runtime_of_file(ref.path, wanted, compute)
    if wanted == "torch":
        return wanted
    problem = _obstacle(ref, compute)
    if wanted != "auto":
        if problem:
            device = " or --device cpu" if compute.type != "cpu" else ""
            raise UsageProblem(f"--runtime {wanted}: {problem}.", f"Use --runtime torch or auto{device}.")
        check_installed(wanted)
        check_precision(wanted, compute.precision)
        return wanted
    arch = ref.network
    if problem or compute.precision != EXACT or arch is None or arch.sky or not (names := installed()):
        return "torch"
    if prepared and is_cached(_about(ref, arch)):
        return names[0]
    return names[0] if can_export() and is_worth(names[0], arch, work, compute.threads) else "torch"


def computed(ref: ModelRef, wanted: str, compute: Compute) -> str:
    """Return what tells a model's maps from those at other precisions (see `computed_by`), before anything is loaded."""
    if ref.exported is None:
        fixed = "torch" if wanted == "auto" else wanted
        return computed_by(compute.precision, fixed)
    precision = precision_of(ref.exported, on_cpu(ref.path, compute).precision)
    return computed_by(precision, runtime_of_file(ref.path, wanted, compute))


def load_in(
    ref: ModelRef, runtime: str, compute: Compute, report: Report, resolution: int | None = None
) -> ExportedTeacher:
    """Return a model in `runtime` (openvino, onnxruntime), its graph taken from the cache or written there once.

    Raises what `models.checkpoint.load_model` and `write_onnx` raise, and CcdError where the cache cannot be written.
    """
    if ref.exported is not None:
        return open_file(ref.path, ref.exported, ref.sha256, compute, runtime, resolution)
    about, graph = prepare_graph(ref, report)
    session = open_cached(runtime, graph, compute.precision, compute.threads, report)
    return ExportedTeacher(session, about, about.source_sha256, resolution, runtime, compute.precision)


def prepare_graph(ref: ModelRef, report: Report) -> tuple[ExportFacts, Path]:
    """Return the facts and the graph of one of our networks, from the cache or written there; raises what `load_in` raises."""
    arch = ref.network
    assert arch is not None
    about = _about(ref, arch)

    def write(path: Path) -> None:
        from ccd_cli.runtimes.onnx_graph import write_onnx

        write_onnx(load_network(ref), path)

    return about, cached_graph(about, write, report, export_seconds(arch))


def _obstacle(ref: ModelRef, compute: Compute) -> str:
    """Why only torch can run a model; empty where others can."""
    if compute.type != "cpu":
        return f"{compute.type} is computed by torch"
    if ref.network is None:
        return f"{ref.name} runs in its authors' library"
    if ref.network.sky and ref.network.sky_rule == "infinite":
        return f"{ref.name} puts sky infinitely far, which torch alone does here"
    return ""


def _about(ref: ModelRef, arch: Arch) -> ExportFacts:
    return ExportFacts(arch, ref.name, ref.license, ref.sha256)


def without(error: CcdError) -> str:
    """Return the note for a runtime that `auto` wanted and did not get."""
    return f"The network runs in torch: {error.message}"
