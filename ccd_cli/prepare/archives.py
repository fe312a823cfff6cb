"""Files in folders, zips and tars as one list, read in archive order; nothing is extracted unchecked.

Links and devices are skipped, an archive with path traversal is refused, and never more bytes are read than an archive's
headers declare.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ccd_cli.benchmarks.members import MAX_MEMBERS, safe_name
from ccd_cli.core.errors import CcdError, ImageError, first_line
from ccd_cli.core.files import atomic_write

ZIPS = (".zip",)
TARS = (".tar", ".tar.gz", ".tgz")
CHUNK = 1 << 20
FOLDER = "a folder"


@dataclass(frozen=True)
class Item:
    """A regular file of `size` bytes in a folder or archive."""

    container: Path
    name: str
    size: int


def list_items(source: Path, left_out: list[str] | None = None) -> list[Item]:
    """Return every regular file below a folder, including those in its zips and tars; or those of one archive.

    What is no regular file in an archive (a link, a device) is named in `left_out`.

    Raises CcdError where `source` does not exist, and for archives that are damaged or hold path traversal.
    """
    if source.is_file():
        return list(_archive(source, left_out))
    if not source.is_dir():
        raise CcdError(f"{source} does not exist.", "Name the folder of the downloaded archives: --from DIR")
    items: list[Item] = []
    for here, folders, files in os.walk(source):
        folders.sort()
        for name in sorted(files):
            path = Path(here) / name
            if name.lower().endswith((*ZIPS, *TARS)):
                items += _archive(path, left_out)
            elif path.is_file():
                items.append(Item(source, path.relative_to(source).as_posix(), path.stat().st_size))
    return items


def open_items(container: Path, names: Collection[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield (name, open file) of the named items of one folder or archive, in the order in which it stores them."""
    with archive_errors(container):
        if container.is_dir():
            for name in names:
                with (container / name).open("rb") as file:
                    yield name, file
        elif _is_zip(container):
            with zipfile.ZipFile(container) as archive:
                for info in archive.infolist():
                    if info.filename in names:
                        with archive.open(info) as packed:
                            yield info.filename, packed
        else:
            with tarfile.open(container, mode="r|*") as tar:
                for member in tar:
                    member_file = tar.extractfile(member) if member.isreg() and member.name in names else None
                    if member_file is not None:
                        yield member.name, member_file


def copy_item(file: IO[bytes], size: int, target: Path, name: str) -> None:
    """Write exactly `size` bytes to `target` atomically; raises CcdError where the file is shorter or longer."""
    with atomic_write(target) as temporary, temporary.open("wb") as out:
        remaining = size
        while remaining:
            data = read_some(file, min(CHUNK, remaining), name)
            if not data:
                raise CcdError(f"{name}: truncated.", "Download its archive again; finished files are retained.")
            out.write(data)
            remaining -= len(data)
        if read_some(file, 1, name):
            raise CcdError(f"{name}: longer than its archive declares, refused.")


def read_some(file: IO[bytes], size: int, name: str) -> bytes:
    """Return up to `size` bytes of an item; raises CcdError where its archive is damaged there."""
    with archive_errors(name):
        return file.read(size)


def _archive(path: Path, left_out: list[str] | None) -> Iterator[Item]:
    with archive_errors(path):
        for count, (name, size, what) in enumerate(_zip_names(path) if _is_zip(path) else _tar_names(path)):
            if count >= MAX_MEMBERS:
                raise CcdError(f"{path}: more than {MAX_MEMBERS:,} members, refused.")
            if not PurePosixPath(name).parts:
                continue  # the folder itself
            try:
                safe_name(name)
            except ImageError as error:
                raise CcdError(f"{path}: {error.message}.", "It is not an official archive.") from error
            if not what:
                yield Item(path, name, size)
            elif what != FOLDER and left_out is not None:
                left_out.append(f"{path.name}: {name} ({what})")


def _zip_names(path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (name, bytes, what it is where it is no regular file)."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            link = (info.external_attr >> 16) & 0o170000 == 0o120000
            if not info.filename:
                raise zipfile.BadZipFile("a member without a name")
            yield info.filename, info.file_size, FOLDER if info.is_dir() else "a link" if link else ""


def _tar_names(path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield the same of a tar."""
    with tarfile.open(path, mode="r|*") as tar:
        for member in tar:
            link = member.issym() or member.islnk()
            odd = "a link" if link else "" if member.isreg() and not member.issparse() else "not a plain file"
            yield member.name, member.size, FOLDER if member.isdir() else odd


def _is_zip(path: Path) -> bool:
    return path.name.lower().endswith(ZIPS)


@contextmanager
def archive_errors(path: Path | str) -> Iterator[None]:
    """Convert what archive readers raise for damaged files to one CcdError."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
        OSError,
    ) as error:
        raise CcdError(
            f"{path}: damaged or not an archive ({first_line(error)}).",
            "Download it again; finished files are retained.",
        ) from error
