"""Files of a set, from a folder or straight from a tar: the same names and bytes either way, nothing unpacked."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Protocol

from ccd_cli.benchmarks.own.files import file_fingerprint
from ccd_cli.core.errors import CcdError, ImageError

MAX_MEMBER = 512 * 2**20
"""Largest file in bytes that is read into memory; the largest published one, a depth map of ETH3D, has 97.5 MB."""
MAX_MEMBERS = 2_000_000
END_MARK = 1024
"""Zero bytes at the end of every whole tar."""


class Members(Protocol):
    """Named files that can be read from several threads."""

    @property
    def place(self) -> Path:
        """The folder or archive."""

    def names(self) -> Collection[str]:
        """Return the paths inside, with forward slashes and without a leading `./`."""

    def read(self, name: str) -> bytes:
        """Return one file's bytes; raises ImageError where it is missing, too large, cut off or not a plain file."""

    def fingerprint(self, name: str) -> str:
        """Return size and time of the file, or of the archive that it is in; `none` where it is missing."""


class FolderMembers:
    """Files below a folder; hidden ones and tars are left out, links that lead to files and folders are followed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._names: set[str] | None = None

    def names(self) -> Collection[str]:
        """Return the paths below the folder, listed once."""
        if self._names is None:
            self._names = set(_walk(self.place))
        return self._names

    def read(self, name: str) -> bytes:
        """Return one file's bytes."""
        path = self.place / safe_name(name)
        try:
            size = path.stat().st_size
            if size > MAX_MEMBER:
                raise ImageError(f"{path}: {size:,} bytes are over the limit of {MAX_MEMBER:,}")
            return path.read_bytes()
        except OSError as error:
            raise ImageError(f"{path}: {error.strerror or error}") from error

    def fingerprint(self, name: str) -> str:
        """Return size and time of the file."""
        return file_fingerprint(self.place / safe_name(name))


class TarMembers:
    """Plain files of an uncompressed tar, found once and read by their offset.

    Links, devices and sparse files are never followed: asking for one is an error. So are members whose name leads out
    of the tar. Raises CcdError where the file is no plain tar or is cut off.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._index, self._refused = _tar_index(place)
        try:
            self._file = place.open("rb")
        except OSError as error:
            raise CcdError(f"{place}: {error.strerror or error}.") from error
        self._lock = threading.Lock()

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def names(self) -> Collection[str]:
        """Return the names of the plain files."""
        return self._index.keys()

    @property
    def refused(self) -> Mapping[str, str]:
        """What is left out, and why."""
        return self._refused

    def read(self, name: str) -> bytes:
        """Return one file's bytes."""
        if name in self._refused:
            raise ImageError(f"{self.place}: {name}: {self._refused[name]}, refused")
        if name not in self._index:
            raise ImageError(f"{self.place}: {name}: no such file in the tar")
        offset, size = self._index[name]
        if size > MAX_MEMBER:
            raise ImageError(f"{self.place}: {name}: {size:,} bytes are over the limit of {MAX_MEMBER:,}")
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) != size:
            raise ImageError(f"{self.place}: {name}: cut off")
        return data

    def fingerprint(self, name: str) -> str:
        """Return size and time of the tar, for every file."""
        return file_fingerprint(self.place)


def safe_name(name: str) -> str:
    """Return a path inside a set without a leading `./`; raises ImageError for one that leads out of it."""
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or "\0" in name
        or not path.parts
        or ":" in path.parts[0]
    ):
        raise ImageError(f"{name!r}: leads out of its folder, refused")
    return path.as_posix()


def _tar_index(place: Path) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Return ({name: (offset, size)}, {name: why refused}); kept for as long as the file stays the same."""
    try:
        facts = place.stat()
    except OSError as error:
        raise CcdError(f"{place}: {error.strerror or error}.") from error
    return _read_index(place.absolute(), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=16)
def _read_index(place: Path, length: int, changed: int) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    good: dict[str, tuple[int, int]] = {}
    refused: dict[str, str] = {}
    try:
        with tarfile.open(place, mode="r:") as tar:
            for count, member in enumerate(tar):
                if count >= MAX_MEMBERS:
                    raise CcdError(f"{place}: more than {MAX_MEMBERS:,} members.", "This is no evaluation set.")
                if member.isreg() and not member.issparse() and member.offset_data + member.size > length:
                    raise CcdError(f"{place}: cut off at {member.name!r}.", "Download it again.")
                _sort_in(member, good, refused)
        if not _has_end(place):
            raise CcdError(f"{place}: cut off: it has no end mark.", "Download it again.")
    except tarfile.ReadError as error:
        raise CcdError(
            f"{place}: not a whole, uncompressed tar ({error}).", "Download it again, or gunzip a .tar.gz."
        ) from error
    except OSError as error:
        raise CcdError(f"{place}: {error.strerror or error}.") from error
    return good, refused


def _has_end(place: Path) -> bool:
    """Whether a tar ends with its mark of two empty blocks; tarfile takes one that ends between members for whole."""
    with place.open("rb") as file:
        file.seek(-min(END_MARK, place.stat().st_size), os.SEEK_END)
        return file.read() == bytes(END_MARK)


def _sort_in(member: tarfile.TarInfo, good: dict[str, tuple[int, int]], refused: dict[str, str]) -> None:
    """Put a member where it belongs; of two with one name the later one counts, as when a tar is unpacked."""
    if member.isdir():
        return
    try:
        name = safe_name(member.name)
    except ImageError:
        refused[member.name] = "leads out of its folder"
        return
    good.pop(name, None)
    refused.pop(name, None)
    if member.issym() or member.islnk():
        refused[name] = "a link"
    elif not member.isreg() or member.issparse():
        refused[name] = "not a plain file"
    else:
        good[name] = (member.offset_data, member.size)


def _walk(top: Path) -> list[str]:
    """List files below a folder; a folder that a link reaches twice is entered once."""
    found, seen = [], set()
    for here, folders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(here).relative_to(top)
        found += [(below / name).as_posix() for name in files if not name.startswith(".") and not name.endswith(".tar")]
    return found
