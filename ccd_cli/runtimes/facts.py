"""What an exported network is, as a JSON file beside it: input, output, license, checksums. No torch here.

`student.onnx` has `student.onnx.json`, `student.xml` (OpenVINO IR, weights in `student.bin`) has `student.xml.json`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ccd_cli.core.checksums import checksum, is_intact, is_sealed, seal
from ccd_cli.core.errors import CheckpointError
from ccd_cli.core.files import write_json
from ccd_cli.core.parse import parse_json, read_text
from ccd_cli.geometry.kinds import DIRECTION, UNIT
from ccd_cli.models.arch import Arch, arch_from_json

KEY = "ccd_export"
"""Key by which ccd knows its own file; its value is the format's version."""
VERSION = 1
RUNTIME_OF = {".onnx": "onnxruntime", ".xml": "openvino"}
"""Suffixes of exported networks, and what runs them by default (OpenVINO reads both)."""


@dataclass(frozen=True)
class ExportFacts:
    """An exported network: `size` (height, width) of its one input size, None where all multiples of `arch.multiple` go.

    `name` and `license` are those of the model, `source_sha256` the hash of the weights that it was made from, `precision` fp32,
    fp16, bf16 or int8 as stored in the file.
    """

    arch: Arch
    name: str
    license: str
    source_sha256: str
    precision: str = "fp32"
    size: tuple[int, int] | None = None


def facts_path(path: Path) -> Path:
    """Return where the facts of an exported network lie."""
    return path.with_name(f"{path.name}.json")


def write_facts(path: Path, facts: ExportFacts, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write the facts of the exported network at `path`, which is there; return them as JSON values.

    `more` is added (how it was checked, the opset).
    """
    arch, step = facts.arch, facts.arch.multiple
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    size = facts.size or ["height", "width"]
    content: dict[str, Any] = {
        KEY: VERSION,
        "model": facts.name,
        "license": facts.license,
        "source_sha256": facts.source_sha256,
        "precision": facts.precision,
        "kind": arch.kind,
        "direction": DIRECTION[arch.kind],
        "unit": UNIT[arch.kind],
        "input": {
            "name": "image",
            "shape": [1 if facts.size else "batch", 3, *size],
            "type": "float32, RGB, values 0..1; mean and standard deviation are subtracted and divided inside",
            "resize": (
                f"to exactly {facts.size[0]} x {facts.size[1]} (height x width), bicubic"
                if facts.size
                else f"bicubic, aspect kept, {'short' if arch.resolution_rule == 'lower' else 'long'} side {arch.resolution}, "
                f"both sides rounded to multiples of {step}"
            ),
        },
        "output": {
            "name": "depth",
            "shape": [1 if facts.size else "batch", *size],
            "resize": "to the photo's size, bilinear with aligned corners",
        },
        "size": facts.size,
        "arch": asdict(arch),
        "files": {each.name: checksum(each) for each in files},
        **(more or {}),
    }
    write_json(facts_path(path), content := seal(content))
    return content


def read_facts(path: Path) -> ExportFacts:
    """Return the facts of the exported network at `path`.

    Raises `CheckpointError` where the file beside it is missing, damaged or not ccd's, or the network's files are not what it says.
    """
    side = facts_path(path)
    if not side.is_file():
        raise CheckpointError(
            f"{path} has no {side.name} beside it, which says what it takes and gives.",
            "Keep the two together, or export the model again: ccd export MODEL",
        )
    try:
        found = parse_json(read_text(side))
    except ValueError as error:
        raise CheckpointError(f"{side} is not JSON.") from error
    if not isinstance(found, dict) or KEY not in found:
        raise CheckpointError(f"{side} is not from `ccd export`.", "Export the model again: ccd export MODEL")
    if found[KEY] != VERSION:
        raise CheckpointError(f"{side} has format {found[KEY]!r}, and this ccd reads {VERSION}.", "Export it again.")
    if not is_sealed(found):
        raise CheckpointError(f"{side} was changed or damaged.", "Export the model again: ccd export MODEL")
    try:
        for name, recorded in found["files"].items():
            if not is_intact(path.parent / Path(name).name, recorded):
                raise CheckpointError(
                    f"{path.parent / name} is gone, changed or damaged.", "Copy it again, or export the model again."
                )
        size = found["size"]
        return ExportFacts(
            arch_from_json(json.dumps(found["arch"])),
            str(found["model"]),
            str(found["license"]),
            str(found["source_sha256"]),
            str(found["precision"]),
            None if size is None else (int(size[0]), int(size[1])),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{side} does not describe an exported network.", "Export the model again.") from error
