"""One process at a time: locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import disk_error
from ccd_cli.core.shard import Shard

if sys.platform != "win32":
    import fcntl


@contextmanager
def exclusive_lock(path: Path, message: str, wait: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold `path`, a folder that is there or else a file that is made and stays, for a block.

    Where another process holds it: with `wait`, calls that once and waits; without, raises CcdError with `message` and which
    process that is, if it wrote so into the file. On a network disk without locks the block runs without one.
    """
    if sys.platform == "win32":
        with _held_on_windows(path, message, wait):
            yield
        return
    with _opened(path) as handle:
        _take(handle, path, message, wait)
        yield


@contextmanager
def lock_for(path: Path, shard: Shard | None, message: str) -> Iterator[None]:
    """Hold the file `path` for a block: alone, or as a shard, with other shards but each of them once.

    Raises CcdError, with `message` or which shard is at work, where another process is in the way. Machines that share a network
    disk see each other's locks where that disk has locks; on Windows shards are held apart from themselves alone.
    """
    if shard is None:
        with exclusive_lock(path, message):
            for left in path.parent.glob(f"{path.name}-*"):  # of shards, none of which is at work
                left.unlink(missing_ok=True)
            yield
        return
    own = path.with_name(f"{path.name}-{shard.name}")
    with _shared(path, message), exclusive_lock(own, f"Another process works on shard {shard} of {path.parent}."):
        yield


@contextmanager
def _shared(path: Path, message: str) -> Iterator[None]:
    """Hold a file together with others that hold it so; raises CcdError where a process holds it alone."""
    if sys.platform == "win32":
        yield
        return
    with _opened(path) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(path, message) from None
        except OSError:
            pass  # a network disk without locks
        with suppress(OSError):
            os.ftruncate(handle, 0)  # who held it alone is gone
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        yield handle
    finally:
        os.close(handle)


def _take(handle: int, path: Path, message: str, wait: Callable[[], object] | None) -> None:
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                raise _busy(path, message) from None
            wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return  # a network disk without locks
    with suppress(OSError):  # a folder holds no text
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {platform.node()}".encode(), 0)


def _busy(path: Path, message: str) -> CcdError:
    holder = ""
    with suppress(OSError):
        holder = path.read_text(encoding="utf-8", errors="replace")[:120].strip()
    who = f"{message.rstrip('.')} ({holder})." if holder.startswith("process ") else message
    return CcdError(who, "Wait for it, or choose another --out.")


@contextmanager
def _held_on_windows(path: Path, message: str, wait: Callable[[], object] | None) -> Iterator[None]:
    import filelock

    if path.is_dir():  # there, a folder cannot be locked
        yield
        return
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if wait is None:
            raise _busy(path, message) from None
        wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
