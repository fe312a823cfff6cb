"""Settings and options that several commands share, each typed once. Free of torch and numpy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.options import option
from ccd_cli.core.shard import Shard

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DEVICES = ("auto", "cpu", "cuda", "mps")
RuntimeChoice = Literal["auto", "torch", "openvino", "onnxruntime"]
EngineName = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Where and how networks run; `core.compute.choose_compute` takes the three."""

    device: str = option(
        "auto", "Device: auto, cpu, cuda, cuda:N or mps.", "Runtime", metavar="DEVICE", parser="device"
    )
    precision: Precision = option(
        "auto", "Floating-point precision of the network; auto: bf16 or fp16 on CUDA, else fp32.", "Runtime"
    )
    threads: int | None = option(
        None, "Number of CPU threads.", "Runtime", metavar="N", range=(1, 1024), default_text="chosen by torch"
    )


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """Which software runs the network; `teachers.runtime` takes it."""

    runtime: RuntimeChoice = option(
        "auto",
        "Software that runs the network on a CPU (docs/runtimes.md); auto: the fastest exact one that is installed and worth "
        "its preparation for this many images.",
        "Runtime",
    )


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """Which part of the work a process does, where several do it together."""

    shard: Shard | None = option(
        None,
        "Do part I of N of the work, as one task of an array job: all write into one --out at the same time, and the same "
        "command without --shard finishes it (docs/scale.md).",
        "Runtime",
        metavar="I/N",
        parser="shard",
        default_text="all of it",
    )


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Whether this process does the work, or a Ray cluster. Raises UsageProblem for contradictions."""

    engine: EngineName = option(
        "local",
        "Run models in this process (local) or on a Ray cluster (ray; at RAY_ADDRESS, else a new one).",
        "Runtime",
    )
    workers: int | None = option(
        None,
        "Number of Ray workers, each with its own copy of the model.",
        "Runtime",
        metavar="N",
        range=(1, 4096),
        default_text="one per GPU, else as many as the cores allow",
    )

    def __post_init__(self) -> None:
        """Check that workers are those of a cluster."""
        if self.workers is not None and self.engine != "ray":
            raise UsageProblem("--workers is for --engine ray.", "Add it, or leave --workers out.")

    def refuse_shard(self, shard: Shard | None) -> None:
        """Raise UsageProblem where the work is divided twice."""
        if shard is not None and self.engine == "ray":
            raise UsageProblem(
                "--shard is for --engine local: a Ray cluster divides the work itself.", "Leave one of the two out."
            )


def arch_option() -> Any:
    """Return the option --arch."""
    return option(None, "Architecture of a checkpoint file that does not identify its own.", "Model", metavar="NAME")


def resolution_option(default_text: str = "the model's own") -> Any:
    """Return the option --resolution."""
    text = "Input resolution of the network: short side in pixels."
    return option(None, text, "Model", metavar="N", range=(14, 8192), default_text=default_text)


def data_root_option() -> Any:
    """Return the option --data-root."""
    return option(
        Path("data"),
        "Folder of the evaluation datasets.",
        "Input",
        metavar="DIR",
        path="folder",
        env="CCD_DATA",
        default_text="$CCD_DATA, else ./data",
    )


def overwrite_option(text: str) -> Any:
    """Return the option --overwrite."""
    return option(False, text, "Output")


def out_option(default: Any, text: str, **more: Any) -> Any:
    """Return the option --out, a folder."""
    return option(default, text, "Output", metavar="DIR", path="folder", **more)
