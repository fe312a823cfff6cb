"""A .safetensors file that tells when a bit of it has changed, and has the same bytes whenever its content is the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ccd_cli.core.errors import CheckpointError

KEY = "ccd_sha256"
"""Metadata: the sha256 of the whole file with this value's 64 digits as zeros."""
BLANK = "0" * 64
_PIECE = 1 << 20


def write_seal(path: Path) -> None:
    """Sort the metadata of a file that was saved with `KEY: BLANK` (the library's order is random), and fill in the checksum."""
    with path.open("rb+") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        assert len(text) == size, "the same entries in another order"
        file.seek(8)
        file.write(text)
        file.flush()
        digest = _digest(path, place := 8 + _place(text))
        file.seek(place)
        file.write(digest.encode())


def check_seal(path: Path, metadata: dict[str, str]) -> None:
    """Raise `CheckpointError` where a file that carries its checksum has changed since; `metadata` is the file's."""
    recorded = metadata.get(KEY)
    if recorded is None:
        return
    try:
        with path.open("rb") as file:
            text = file.read(int.from_bytes(file.read(8), "little"))
        same = _digest(path, 8 + _place(text)) == recorded
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from None
    if not same:
        raise CheckpointError(
            f"{path} is damaged: its content is not what the checksum in it says.",
            f"Copy it or make it again; if another program changed it on purpose, take {KEY} out of its metadata.",
        )


def _place(header: bytes) -> int:
    """Where the 64 digits begin in a header; beyond its end where they are not in it."""
    name = f'"{KEY}":"'.encode()
    found = header.find(name)
    return len(header) if found < 0 else found + len(name)


def _digest(path: Path, place: int) -> str:
    """The sha256 of a file in which 64 bytes from `place` on count as zeros."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(place))
        digest.update(BLANK.encode())
        file.seek(len(BLANK), 1)
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
