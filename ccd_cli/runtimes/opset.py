"""Which version of the ONNX operators a file is written in, read without any package: OpenVINO guesses at newer ones."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ccd_cli.core.errors import CheckpointError
from ccd_cli.runtimes.facts import OPSET

_OPSET_IMPORT = 8  # field of ModelProto: {domain: 1, version: 2} each
_LIMIT = 1000  # bytes of one entry


def check_opset(path: Path) -> None:
    """Raise `CheckpointError` for a file that is no ONNX model, or one of a newer opset than ccd writes."""
    try:
        with path.open("rb") as file:
            found = _opset(file, path.stat().st_size)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError:
        found = None
    if found is None:
        raise CheckpointError(f"{path} is no ONNX model, or not all of one.", "Export a model with: ccd export MODEL")
    if found > OPSET:
        raise CheckpointError(
            f"{path} is written in ONNX opset {found}, and this ccd knows opsets up to {OPSET}.",
            "Export the model again with this ccd.",
        )


def _opset(file: BinaryIO, size: int) -> int | None:
    """The version of the default domain; None where no entry names it. Raises ValueError for what is no protocol buffer."""
    version = None
    while file.tell() < size:
        key = _varint(file)
        field, kind = key >> 3, key & 7
        if kind == 0:
            _varint(file)
            continue
        if kind != 2 or (length := _varint(file)) > size - file.tell():
            raise ValueError("no model")
        if field != _OPSET_IMPORT or length > _LIMIT:
            file.seek(length, 1)
            continue
        end, domain, number = file.tell() + length, b"", 0
        while file.tell() < end:
            inner = _varint(file)
            if inner & 7 == 2:
                domain = file.read(min(_varint(file), _LIMIT))
            else:
                number = _varint(file)
        if domain in (b"", b"ai.onnx"):
            version = number
    return version


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        if not (byte := file.read(1)):
            raise ValueError("cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("no number")
