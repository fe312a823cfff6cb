"""The formats of `ccd export`, as plain data. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ccd_cli.core.errors import UsageProblem

if TYPE_CHECKING:
    from ccd_cli.export.check import Difference


@dataclass(frozen=True)
class Format:
    """One format. `module` of this folder has two functions, imported only when they are needed:

    `write(network, about, out, size) -> list[Path]`: `out` is the temporary path of the result, whose name ends as the
    finished one's: a file in an empty folder, where `suffix` is set, else an empty folder.
    `check(out, network, about, photos) -> list[Difference]` runs it in the other software, on `export.check.Photo`s for a
    `runtime` and else on RGB arrays uint8 [H, W, 3].

    `precisions`: those that it has. `sizes`: whether one input size (height, width) may be chosen. `software` runs it, from the
    distribution `package`. `runtime`: one of ccd's own runtimes, whose module says what it needs.
    """

    module: str
    suffix: str
    precisions: tuple[str, ...]
    sizes: bool
    software: str
    package: str
    runtime: bool = False


FORMATS: dict[str, Format] = {
    "onnx": Format("graph", ".onnx", ("fp32", "fp16", "int8"), True, "onnxruntime", "onnxruntime", True),
    "openvino": Format("graph", ".xml", ("fp32", "fp16", "int8"), True, "OpenVINO", "openvino", True),
    "transformers": Format("transformers_folder", "", ("fp32", "fp16"), True, "transformers", "transformers"),
    "safetensors": Format("weights", ".safetensors", ("fp32", "fp16", "bf16"), False, "safetensors", "safetensors"),
    "pth": Format("weights", ".pth", ("fp32", "fp16", "bf16"), False, "torch", "torch"),
}


@dataclass(frozen=True)
class Bar:
    """The largest differences that are accepted, as fractions of the map's range: anywhere, and on average over a map."""

    largest: float
    mean: float
    hint: str

    def holds(self, found: Difference) -> bool:
        """Return whether a difference is within."""
        return found.largest <= self.largest and found.mean <= self.mean

    def __str__(self) -> str:
        return f"{self.largest:g} at most and {self.mean:g} on average"


_REPORT = "Please report it with `ccd doctor`."
BARS = {
    "fp32": Bar(1e-3, 1e-3, _REPORT),
    "fp16": Bar(2e-2, 2e-3, "Use --precision fp32."),
    "bf16": Bar(1e-1, 1e-2, "Use --precision fp32 or fp16."),
    "int8": Bar(0.5, 5e-2, "Calibrate on more photos like those you will use, or use --precision fp16."),
}
"""By precision; docs/export.md says what they were chosen from."""


def check_precision(name: str, precision: str) -> Format:
    """Return the format called `name`; raises UsageProblem for a precision that it does not have."""
    chosen = FORMATS[name]
    if precision not in chosen.precisions:
        hint = "bf16 is chosen when a network runs: --runtime openvino --precision bf16." if precision == "bf16" else ""
        raise UsageProblem(f"--format {name} has no {precision}; it has {', '.join(chosen.precisions)}.", hint)
    return chosen
