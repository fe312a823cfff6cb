"""Checksums of results: recorded when they are written, compared before they count as finished."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import plain

SAMPLED = 16_000_000
"""Bytes from which on a quick check reads pieces of a file and not all of it."""
SEAL = "seal"
"""Key of a JSON document's own checksum."""
_PIECES, _PIECE = 16, 65_536


def checksum(path: Path) -> dict[str, Any]:
    """Return `size` (bytes) and `sha256` of a file, for a large one also `sample` (of 16 pieces of it); of a folder, `files`.

    `files` has one entry for each path below the folder, hidden ones left out. Raises CcdError for what cannot be read.
    """
    try:
        if path.is_dir():
            found = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
            return {"files": {name: checksum(path / name) for name in found if "/." not in f"/{name}"}}
        size = path.stat().st_size
        made = {"size": size, "sha256": _whole(path)}
        return made | {"sample": _sample(path, size)} if size > SAMPLED else made
    except OSError as error:
        raise CcdError(f"{path} cannot be read ({error.strerror}).") from error


def checksum_of(content: bytes) -> dict[str, Any]:
    """Return the `checksum` of a small file that will have this content."""
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def is_intact(path: Path, recorded: Any, full: bool = False) -> bool:
    """Return whether a file or folder is what `checksum` recorded; of a large file a sample decides, unless `full`.

    Further files in a folder do not matter. False for what is missing, cannot be read, or was recorded in no known form.
    """
    if not isinstance(recorded, dict):
        return False
    if isinstance(files := recorded.get("files"), dict):
        return path.is_dir() and all(is_intact(path / name, each, full) for name, each in files.items())
    try:
        if not path.is_file() or (size := path.stat().st_size) != recorded.get("size"):
            return False
        if size > SAMPLED and not full and "sample" in recorded:
            return _sample(path, size) == recorded["sample"]
        return _whole(path) == recorded.get("sha256")
    except OSError:
        return False


def seal(document: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON document with its own checksum in it."""
    return document | {SEAL: _digest(document)}


def is_sealed(document: Any) -> bool:
    """Return whether a JSON document is as it was when it was sealed."""
    return isinstance(document, dict) and document.get(SEAL) == _digest(document)


def _digest(document: dict[str, Any]) -> str:
    content = {key: value for key, value in document.items() if key != SEAL}
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()


def _whole(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sample(path: Path, size: int) -> str:
    """The sha256 of pieces that are spread evenly from the beginning to the end of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for number in range(_PIECES):
            file.seek(number * (size - _PIECE) // (_PIECES - 1))
            digest.update(file.read(_PIECE))
    return digest.hexdigest()
