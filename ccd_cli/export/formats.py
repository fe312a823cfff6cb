"""The formats of `ccd export`, as plain data. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from ccd_cli.core.errors import UsageProblem


@dataclass(frozen=True)
class Format:
    """One format. `module` of this folder has two functions, imported only when they are needed:

    `write(network, about, out, size) -> list[Path]`: `out` is the temporary path of the result, whose name ends as the
    finished one's: a file in an empty folder, where `suffix` is set, else an empty folder.
    `check(out, network, about, photos) -> list[Difference]` runs it in the other software on `export.check.Photo`s.

    `precisions`: those that it has. `sizes`: whether one input size (height, width) may be chosen.
    """

    module: str
    suffix: str
    precisions: tuple[str, ...]
    sizes: bool
    software: str


FORMATS: dict[str, Format] = {
    "onnx": Format("onnx", ".onnx", ("fp32", "fp16", "int8"), True, "onnxruntime"),
    "openvino": Format("openvino", ".xml", ("fp32", "fp16", "int8"), True, "OpenVINO"),
    "transformers": Format("transformers_folder", "", ("fp32",), True, "transformers"),
    "safetensors": Format("weights", ".safetensors", ("fp32",), False, "safetensors"),
    "pth": Format("weights", ".pth", ("fp32",), False, "torch"),
}

BARS = {"fp32": 1e-3}
"""Largest difference that is accepted, as a fraction of the map's range."""


def check_precision(name: str, precision: str) -> Format:
    """Return the format called `name`; raises UsageProblem for a precision that it does not have."""
    chosen = FORMATS[name]
    if precision not in chosen.precisions:
        hint = "bf16 is chosen when a network runs: --runtime openvino --precision bf16." if precision == "bf16" else ""
        raise UsageProblem(
            f"--format {name} has no {precision}; it has {', '.join(chosen.precisions)}.", hint
        )
    return chosen
