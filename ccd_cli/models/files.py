"""Weight files as files: hash, metadata and first checks, without torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CheckpointError
from ccd_cli.core.parse import parse_json

SAFE_SUFFIX = ".safetensors"
PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
_HEADER_LIMIT = 100_000_000  # safetensors' own


def check_file(path: Path) -> Path:
    """Return `path` if it is a non-empty file with a weight file's suffix, else raise `CheckpointError`."""
    try:
        if path.is_dir():
            raise CheckpointError(f"{path} is a folder, not a weights file.")
        if not path.is_file():
            raise CheckpointError(f"There is no file {path}.")
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path} is empty.")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from None
    if path.suffix.lower() not in (SAFE_SUFFIX, *PICKLE_SUFFIXES):
        raise CheckpointError(f"{path} is not a weights file: its name ends in none of .safetensors, .pth, .pt.")
    return path


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hex digits, reading it piece by piece; `CheckpointError` if unreadable."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from None


def file_hashes(path: Path | str) -> dict[str, str]:
    """Return the SHA-256 of a file by its name, or of all files below a folder by their paths in it, hidden ones left out.

    Raises `CheckpointError` where something cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return {path.name: sha256_file(path)}
    files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    return {name: sha256_file(files[name]) for name in sorted(files) if not _hidden(name)}


def sha256_tree(path: Path | str) -> str:
    """Return the SHA-256 of a file, or of the names and hashes of all files below a folder, hidden ones left out.

    Raises `CheckpointError` where something cannot be read.
    """
    return tree_hash(path, file_hashes(path))


def tree_hash(path: Path | str, hashes: dict[str, str]) -> str:
    """Return `sha256_tree(path)`, for which `hashes` is `file_hashes(path)`."""
    if not Path(path).is_dir():
        return hashes[Path(path).name]
    lines = [f"{name} {sha256}\n" for name, sha256 in hashes.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def read_header(path: Path | str) -> dict[str, Any]:
    """Return the header of a safetensors file: {tensor: {dtype, shape, ...}, "__metadata__": {...}}.

    Raises `CheckpointError` where the file is no whole safetensors file.
    """
    path = check_file(Path(path))
    problem = CheckpointError(f"{path} is not a whole safetensors file.", "Download or copy it again.")
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= min(_HEADER_LIMIT, path.stat().st_size - 8):
                raise problem
            header = parse_json(file.read(size))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise problem from None
    if path.stat().st_size != 8 + size + max(ends, default=0):
        raise problem
    return header


def read_metadata(path: Path | str) -> dict[str, str]:
    """Return a safetensors file's metadata; {} for other weight files. `CheckpointError` if it is damaged."""
    path = check_file(Path(path))
    if path.suffix.lower() != SAFE_SUFFIX:
        return {}
    found = read_header(path).get("__metadata__") or {}
    if not isinstance(found, dict):
        return {}
    return {str(k): v for k, v in found.items() if isinstance(v, str)}
