"""What `ccd export` is asked for; each option typed once."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.options import REQUIRED, check_choices, option
from ccd_cli.core.settings import arch_option, overwrite_option
from ccd_cli.export.formats import FORMATS, check_precision

FormatName = Literal["onnx", "openvino", "transformers", "safetensors", "pth"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
DYNAMIC, FIXED = "dynamic", "fixed"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Format, sizes and precision of an export. Raises UsageProblem for what contradicts itself.

    `out` None: a name of its own in `ccd-export/`. `license` None: the model's own; another one must be stricter.
    """

    format: FormatName = option(REQUIRED, "Format of the result.", "Output")
    out: Path | None = option(
        None,
        "Output file, or the folder that it is written into; for transformers the folder itself.",
        "Output",
        metavar="PATH",
        default_text="ccd-export/NAME",
    )
    overwrite: bool = overwrite_option("Replace an existing export once the new one is checked.")
    license: str | None = option(
        None,
        "Publish under this license, which must be stricter than the model's own.",
        "Output",
        metavar="LICENSE",
        default_text="the strictest among the model's teachers",
    )
    arch: str | None = arch_option()
    resolution: int | None = option(
        None,
        "Default input resolution of the result, a multiple of the network's patch or stride.",
        "Model",
        metavar="N",
        range=(14, 8192),
        default_text="the model's own",
    )
    size: str = option(
        DYNAMIC,
        "Input size: dynamic (any multiples), fixed (a square of --resolution), or HEIGHTxWIDTH.",
        "Model",
        metavar="SIZE",
    )
    precision: Precision = option(
        "fp32",
        "Precision: fp32; fp16: weights stored in half the bytes; int8: quantized, calibrated on your own photos.",
        "Model",
    )
    calibration: Path | None = option(
        None,
        "Folder of photos like those that the network will see, ten or more: int8 is calibrated on them, and they are "
        "compared as well.",
        "Input",
        metavar="DIR",
        path="existing folder",
    )
    threads: int | None = option(
        None, "Number of CPU threads.", "Runtime", metavar="N", range=(1, 1024), default_text="chosen by torch"
    )
    dry_run: bool = option(False, "Print what would be exported where, and exit.", "Other")

    def __post_init__(self) -> None:
        """Check what holds for any model."""
        check_choices(self)
        chosen = check_precision(self.format, self.precision)
        if not chosen.sizes and (self.resolution is not None or self.size != DYNAMIC):
            raise UsageProblem(f"--format {self.format} holds weights alone.", "Leave --resolution and --size out.")
        if (fixed := self.fixed_size) and self.resolution and self.size != FIXED:
            raise UsageProblem(
                f"--resolution {self.resolution} contradicts --size {fixed[0]}x{fixed[1]}.", "Give one of the two."
            )
        if self.precision == "int8" and self.calibration is None:
            raise UsageProblem(
                "--precision int8 needs photos to calibrate on.",
                "Add --calibration DIR, a folder of ten or more photos like those that the network will see.",
            )

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) where it is spelled out. Raises UsageProblem for what is no size."""
        if self.size in (DYNAMIC, FIXED):
            return None
        match = re.fullmatch(r"([1-9]\d{0,3})[xX]([1-9]\d{0,3})", self.size)
        if match is None:
            raise UsageProblem(
                f"--size {self.size}: not a size.", "Use dynamic, fixed, or height x width, such as 392x518."
            )
        return int(match[1]), int(match[2])


assert set(FORMATS) == set(FormatName.__args__)  # type: ignore[attr-defined]
