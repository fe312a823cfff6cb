"""What `ccd bench` is asked for: its options, each typed once (see `ccd_cli.core.options`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.nearest import choose_from
from ccd_cli.core.options import option
from ccd_cli.core.settings import DeviceSettings, arch_option, out_option, resolution_option

RUNTIMES = ("torch", "onnxruntime", "openvino")
PRECISIONS = ("fp32", "bf16")


def _images_option() -> Any:
    """Return the option --images."""
    return option(
        None,
        "Folder of photos.",
        "Input",
        metavar="DIR",
        path="existing folder",
        default_text="generated, about a megapixel",
    )


def _out_option() -> Any:
    """Return the option --out."""
    return out_option(None, "Also write bench.json and bench.md into this folder.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure. Raises UsageProblem for unknown names.

    `images` None: generated photos. Empty `runtime` and `precision`: all that are installed and that the processor has.
    """

    model: str = option("depth-anything-v2-small", "Catalog name, run folder or checkpoint.", "Model", metavar="MODEL")
    arch: str | None = arch_option()
    resolution: int | None = resolution_option()
    images: Path | None = _images_option()
    photos: int = option(4, "Photos in each round.", "Input", metavar="N", range=(1, 10_000))
    rounds: int = option(3, "Rounds; in each, everything is measured once.", "Evaluation", metavar="N", range=(1, 1000))
    runtime: tuple[str, ...] = option(
        (),
        f"Comma-separated runtimes: {', '.join(RUNTIMES)}. Default: all that are installed.",
        "Runtime",
        metavar="LIST",
        parser="comma list",
    )
    precision: tuple[str, ...] = option(
        (),
        f"Comma-separated precisions: {', '.join(PRECISIONS)}. Default: all that the processor computes itself.",
        "Runtime",
        metavar="LIST",
        parser="comma list",
    )
    threads: int | None = option(
        None, "Number of CPU threads.", "Runtime", metavar="N", range=(1, 1024), default_text="chosen by torch"
    )
    out: Path | None = _out_option()

    def __post_init__(self) -> None:
        """Check the names."""
        for flag, given, known in (
            ("--runtime", self.runtime, RUNTIMES),
            ("--precision", self.precision, PRECISIONS),
        ):
            if unknown := sorted(set(given) - set(known)):
                raise UsageProblem(f"{flag} {','.join(unknown)}: unknown value.", choose_from(unknown[0], known))


@dataclass(frozen=True, kw_only=True)
class WorkSettings(DeviceSettings):
    """What the benchmarks of work on many images share: teacher, crops, images, rounds."""

    teacher: str = option(
        "depth-anything-v2-small",
        "Architecture (random weights: speed does not depend on them), built-in model, run folder or checkpoint.",
        "Model",
        metavar="MODEL",
    )
    size: int | None = option(
        None,
        "Side of crops in pixels.",
        "Model",
        metavar="N",
        range=(28, 2048),
        default_text="252, to the networks' next multiple",
    )
    patches: int = option(2, "Local patches that teachers see beside each crop.", "Model", metavar="N", range=(1, 64))
    batch: int = option(
        4, "Images in a step; crops in a forward pass of labeling.", "Model", metavar="N", range=(1, 4096)
    )
    images: Path | None = _images_option()
    rounds: int = option(3, "Rounds; in each, both ways are measured once.", "Evaluation", metavar="N", range=(1, 1000))
    out: Path | None = _out_option()


@dataclass(frozen=True, kw_only=True)
class DistillSettings(WorkSettings):
    """What `ccd bench distill` measures."""

    student: str = option("depth-anything-v2-small", "The network to train, as --teacher.", "Model", metavar="MODEL")
    steps: int = option(2, "Steps in each round.", "Evaluation", metavar="N", range=(1, 10_000))


@dataclass(frozen=True, kw_only=True)
class LabelSettings(WorkSettings):
    """What `ccd bench label` measures."""

    photos: int = option(4, "Photos in each round.", "Input", metavar="N", range=(1, 10_000))
