"""Files that are either whole or absent, and line files that survive a kill."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well it is flushed to disk and renamed to `path`.

    If the block fails, the temporary file is removed and an older `path` stays as it was. Raises CcdError on a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(path) as temporary:
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
            values.append(json.loads(line))
        except ValueError:
            break
    return values


def cut_json_lines(path: Path, last_step: int) -> None:
    """Cut a metrics file back to the lines of steps up to `last_step`, byte for byte as they were."""
    kept = b""
    if path.exists():
        for line in path.read_bytes().split(b"\n"):
            try:
                step = json.loads(line)["step"]
            except (ValueError, KeyError, TypeError):
                break
            if step > last_step:
                break
            kept += line + b"\n"
    with whole_file(path) as temporary:
        temporary.write_bytes(kept)


def disk_error(error: OSError, path: Path) -> CcdError:
    """Return the plain error for an operating-system failure at `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CcdError(
            f"No space left on the disk while writing {path}.",
            "Free some space and run again; finished work is intact.",
        )
    return CcdError(f"{path}: {error.strerror or error}.")


def need_space(folder: Path, size: int, what: str) -> None:
    """Raise CcdError when the disk of `folder` (which need not exist yet) has less than `size` bytes free."""
    here = folder.absolute()
    while not here.exists():
        here = here.parent
    free = shutil.disk_usage(here).free
    if free < size:
        raise CcdError(
            f"{what} needs about {size / 1e6:,.0f} MB in {folder}, and {free / 1e6:,.0f} MB are free there.",
            "Free some space or choose another folder with --out.",
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
