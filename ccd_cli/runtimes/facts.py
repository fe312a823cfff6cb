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
from ccd_cli.core.files import plain, write_json
from ccd_cli.core.parse import parse_json, read_text
from ccd_cli.geometry.kinds import DIRECTION, UNIT
from ccd_cli.models.arch import Arch, arch_from_json

KEY = "ccd_export"
"""Key by which ccd knows its own file; its value is the format's version."""
VERSION = 1
RUNTIME_OF = {".onnx": "onnxruntime", ".xml": "openvino"}
"""Suffixes of exported networks, and what runs them by default (OpenVINO reads both)."""
FOLDER_FACTS = "ccd_export.json"
"""Name of the facts of an export that is a folder, inside it."""
OPSET = 18
"""The ONNX opset of the graphs that ccd writes."""


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
    """Write the facts of the exported network at `path`, a file or folder which is there; return them as JSON values.

    `more` is added (how it was checked). What holds weights alone has no `input` and `output`.
    """
    arch = facts.arch
    content: dict[str, Any] = {
        KEY: VERSION,
        "model": facts.name,
        "license": facts.license,
        "source_sha256": facts.source_sha256,
        "precision": facts.precision,
        "kind": arch.kind,
        "direction": DIRECTION[arch.kind],
        "unit": UNIT[arch.kind],
    }
    if path.suffix in RUNTIME_OF:
        content |= _input_and_output(facts)
    if path.suffix == ".onnx":
        content["opset"] = OPSET
    if path.is_dir():
        files = {each.relative_to(path).as_posix(): each for each in sorted(path.rglob("*")) if each.is_file()}
    else:
        files = {each.name: each for each in [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]}
    content |= {
        "size": facts.size,
        "arch": asdict(arch),
        "files": {name: checksum(each) for name, each in files.items()},
        **(more or {}),
    }
    content = seal(plain(content))
    write_json(path / FOLDER_FACTS if path.is_dir() else facts_path(path), content)
    return content


def _input_and_output(facts: ExportFacts) -> dict[str, Any]:
    arch, size = facts.arch, facts.size
    shape = size or ["height", "width"]
    side = "short" if arch.resolution_rule == "lower" else "long"
    found: dict[str, Any] = {
        "input": {
            "name": "image",
            "shape": [1 if size else "batch", 3, *shape],
            "type": "float32, RGB, values 0..1; mean and standard deviation are subtracted and divided inside",
            "resize": (
                f"to exactly {size[0]} x {size[1]} (height x width), bicubic"
                if size
                else f"bicubic, aspect kept, {side} side {arch.resolution}, both sides rounded to multiples of {arch.multiple}"
            ),
            "resolution": None if size else arch.resolution,
            "side": None if size else side,
            "multiple": arch.multiple,
        },
        "output": {
            "name": "depth",
            "shape": [1 if size else "batch", *shape],
            "resize": "to the photo's size, bilinear with aligned corners",
        },
    }
    if arch.canonical_focal is not None:
        found["output"]["meters"] = (
            f"output x focal length in pixels of the resized photo (mean of both directions) / {arch.canonical_focal:g}; without a "
            "focal length the scale is unknown"
        )
    return found


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
        for name, recorded in found["files"].items():  # by their suffixes: the files may have been renamed together
            suffix = Path(name).suffix
            file = path if suffix == path.suffix.lower() else path.with_suffix(suffix)
            if not is_intact(file, recorded, full=True):
                raise CheckpointError(
                    f"{file} is gone, changed or damaged: it is not what {side.name} describes.",
                    "Copy them again, or export the model again.",
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
