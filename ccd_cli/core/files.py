"""Files that are either whole or absent, and line files that survive a kill."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError, Unwritable
from ccd_cli.core.parse import parse_json

_HOPELESS = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO)
_NAME = 40  # characters of a file's name in its temporary one: a name of 255 bytes leaves no room for more
_OWNER = re.compile(r"\..*\.ccd-([0-9a-f]{8})-(\d+)-[^.]+(\..*)?")  # machine, process
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_swept: set[Path] = set()


@contextmanager
def _new_beside(path: Path) -> Iterator[str]:
    """Give a name for something temporary in the folder of `path`, which is made and swept; errors of the block are ccd's."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        yield f".{path.name[:_NAME]}.ccd-{_MACHINE}-{os.getpid()}-{secrets.token_hex(8)}"
    except FileExistsError as error:
        raise CcdError(f"{path.parent} is a file, where a folder should be.", "Choose another folder.") from error
    except OSError as error:
        raise disk_error(error, path) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well it is flushed to disk and renamed to `path`.

    If the block fails, the temporary file is removed and an older `path` stays as it was; what a killed process left in
    the folder goes too. Raises Unwritable on a full or read-only disk, CcdError for a name that the disk cannot hold.
    """
    with _new_beside(path) as name:
        temporary = path.parent / f"{name}{path.suffix}"
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))  # the system takes off the umask
        mode = stat.S_IMODE(temporary.stat().st_mode)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # some libraries (safetensors) put a private file of their own there
        temporary.replace(path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`, for results of several files; it is removed when the block ends,
    and so are folders that were made for it and are empty then.

    What a killed process left in the folder of `path` goes too. Raises as `atomic_write`.
    """
    new = [each for each in (path.parent, *path.parent.parents) if not each.exists()]
    with _new_beside(path) as name:
        temporary = path.parent / name
        temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # not empty
            for folder in new:
                folder.rmdir()


def move_into_place(made: list[Path], folder: Path) -> list[Path]:
    """Flush files and folders to disk and rename each to its name in `folder`, of the same disk; return the new paths.

    What had these names is replaced; where one renaming fails, all are as before. Raises CcdError (`disk_error`).
    """
    done: list[tuple[Path, Path | None]] = []
    try:
        for source in made:
            for file in source.rglob("*") if source.is_dir() else [source]:
                if file.is_file():
                    with file.open("rb+") as opened:
                        os.fsync(opened.fileno())
        for source in made:
            target, old = folder / source.name, None
            if target.exists():
                old = source.with_name(f"old-{secrets.token_hex(8)}")
                target.rename(old)
            done.append((target, old))
            source.rename(target)
    except BaseException as error:
        for target, old in reversed(done):
            if old is not None:
                with suppress(OSError):
                    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
                    old.rename(target)
            elif target.exists():
                shutil.rmtree(target, ignore_errors=True) if target.is_dir() else target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise disk_error(error, folder) from error
        raise
    return [target for target, _ in done]


def _sweep(folder: Path) -> None:
    """Remove the temporary files that processes of this machine left when they were killed; once a folder and process."""
    if folder in _swept:
        return
    _swept.add(folder)
    for file in folder.glob(".*"):
        owner = _OWNER.fullmatch(file.name)
        if owner is not None and owner[1] == _MACHINE and not _alive(int(owner[2])):
            with suppress(OSError):
                shutil.rmtree(file) if file.is_dir() else file.unlink()


def sweep_again() -> None:
    """Let every folder be swept once more: called when a run begins, as an earlier one of this process may have swept it."""
    _swept.clear()


def _alive(process: int) -> bool:
    """Whether a process of this machine is there; True where that cannot be told."""
    if sys.platform == "win32":
        return True  # there, signal 0 would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON (NaN as null) whole or not at all."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Return `value` with non-finite floats as None, so that it is strict JSON."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def json_line(value: Any) -> str:
    """Return one strict JSON line."""
    return json.dumps(plain(value), allow_nan=False) + "\n"


def read_json_lines(path: Path) -> list[Any]:
    """Return the complete lines of a JSON-lines file; a line cut off by a kill, and all after it, are left out."""
    if not path.exists():
        return []
    values = []
    for line in path.read_bytes().split(b"\n"):
        try:
            values.append(parse_json(line))
        except ValueError:
            break
    return values


def disk_error(error: OSError, path: Path) -> CcdError:
    """Return the plain error for an operating-system failure at `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unwritable(
            f"No space left on the disk while writing {path}.",
            "Free some space and run again; finished work is intact.",
        )
    if error.errno is None:  # numpy: "76800 requested and 74720 written"
        return Unwritable(f"{path}: cannot be written ({error}).", "Is the disk full?")
    if error.errno in _HOPELESS:
        return Unwritable(f"{path}: {error.strerror or error}.")
    return CcdError(f"{path}: {error.strerror or error}.")


@contextmanager
def torch_saves() -> Iterator[None]:
    """Raise OSError where torch's file writer, which says so by RuntimeError, cannot write in the block: on a full disk."""
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in ("writ", "space", "unexpected pos")):
            raise
        raise OSError(errno.ENOSPC, "No space left on device") from error


def check_free_space(folder: Path, size: int, what: str) -> None:
    """Raise CcdError when the disk of `folder` (which need not exist yet) has less than `size` bytes free."""
    here = folder.absolute()
    while not here.exists():
        here = here.parent
    free = shutil.disk_usage(here).free
    if free < size:
        raise Unwritable(
            f"{what} needs about {size / 1e6:,.0f} MB in {folder}, and {free / 1e6:,.0f} MB are free there.",
            "Free some space or choose another folder with --out.",
        )
