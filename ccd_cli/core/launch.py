"""A command as several processes of one machine, which torch joins into one group: `--processes N`. No torch here.

The first process speaks; of the others only what one of them fails by is shown. Where one ends, is killed or is stopped, the
others end within seconds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from ccd_cli.core.errors import CcdError, ProcessLost

GRACE = 6.0
"""Seconds that the others have to end by themselves after one has ended."""
STILL = 15.0
"""Seconds after which a process that the system has stopped counts as lost."""
_LOOK = 0.1
_PARENT = "CCD_PARENT"


@dataclass
class _Child:
    rank: int
    process: subprocess.Popen[bytes]
    said: IO[bytes] | None
    still_since: float | None = None

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


def launched() -> bool:
    """Return whether this process is one of several of one run, by `launch`, torchrun or a scheduler."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(count: int, arguments: list[str]) -> int:
    """Run `ccd ARGUMENTS` as `count` processes and return the exit code: 0, or that of the one that failed first.

    Ctrl-C and SIGTERM are passed on to all of them. Raises CcdError where one was killed or does not answer.
    """
    port = _free_port()
    with ExitStack() as stack:
        children = [_start(rank, count, port, arguments, stack) for rank in range(count)]
        stack.callback(_end, children)
        _pass_on(children, stack)
        first = _first_failure(children)
        if first is None:
            return 0
        limit = time.monotonic() + GRACE
        while time.monotonic() < limit and any(child.process.poll() is None for child in children):
            time.sleep(_LOOK)
        ended = [child for child in children if child.process.poll() is not None]
        _end(children)
        return _explain(first, ended, len(children))


def follow_parent() -> None:
    """End this process when the one that launched it is gone; does nothing in a process that was not launched."""
    parent = os.environ.get(_PARENT)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start(rank: int, count: int, port: str, arguments: list[str], stack: ExitStack) -> _Child:
    env = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))} | os.environ
    env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, _PARENT: str(os.getpid())}
    said: IO[bytes] | None = None
    quiet: dict[str, Any] = {}
    if rank:
        said = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": said}
    command = [sys.executable, "-m", "ccd_cli", *arguments]
    return _Child(rank, subprocess.Popen(command, env=env, start_new_session=True, **quiet), said)


def _free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


def _pass_on(children: list[_Child], stack: ExitStack) -> None:
    """Hand signals to all processes: they are not in this one's group, so that each gets every signal once."""

    def hand_on(number: int, _: FrameType | None) -> None:
        for child in children:
            child.send(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        stack.callback(signal.signal, number, signal.signal(number, hand_on))


def _first_failure(children: list[_Child]) -> _Child | None:
    """Wait until one process fails or is lost, and return it; None when all have ended well."""
    while True:
        for child in children:
            code = child.process.poll()
            if code or (code is None and _is_lost(child)):
                return child
        if all(child.process.poll() == 0 for child in children):
            return None
        time.sleep(_LOOK)


def _is_lost(child: _Child) -> bool:
    """Whether the system has kept a process stopped for long (Linux)."""
    try:
        state = Path(f"/proc/{child.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    if state not in "Tt":
        child.still_since = None
    elif child.still_since is None:
        child.still_since = time.monotonic()
    return child.still_since is not None and time.monotonic() - child.still_since > STILL


def _end(children: list[_Child]) -> None:
    for child in children:
        if child.process.poll() is None:
            child.send(signal.SIGKILL)
    for child in children:
        child.process.wait()


def _explain(first: _Child, ended: list[_Child], count: int) -> int:
    """Show what the first process that failed by itself said, unless that was the one that speaks; return its exit code.

    `ended`: those that had ended before they were made to.
    """
    if first.still_since is not None:
        name = f"Process {first.rank + 1} of {count}"
        raise CcdError(f"{name} was stopped by the system and did not continue.", "Continue with --resume.")
    failed = [child for child in (first, *ended) if child.process.returncode not in (0, ProcessLost.exit_code)]
    cause = next(iter(failed), first)
    code, name = cause.process.returncode, f"Process {cause.rank + 1} of {count}"
    if code < 0:
        raise CcdError(
            f"{name} was killed ({signal.Signals(-code).name}): the others ended with it.",
            "If memory is short, lower optim.batch. Continue from the last saved state with --resume.",
        )
    if cause.said is not None and all(child.rank for child in failed):  # else the one that speaks has said it
        cause.said.seek(0)
        sys.stderr.write(f"{name}: {cause.said.read().decode(errors='replace').strip()}\n")
    return code if failed else 1
