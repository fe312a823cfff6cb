"""Ctrl-C and SIGTERM: the first asks, the second ends at once. No torch here."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from ccd_cli.core.errors import Interrupted
from ccd_cli.core.launch import launched

_STOPS = (signal.SIGINT, signal.SIGTERM)
_TELL_AFTER = 1.5  # seconds without an end after which a first signal is acknowledged in words
_ANSWER = 1.0  # seconds that the main thread has to answer a second signal
_CLEAN_UP = 10.0  # seconds that it has then to leave its work
_SAME = 3.0  # seconds within which signals to one of several processes are one: schedulers and torchrun both send it


class Signals:
    """Turns Ctrl-C and SIGTERM into a request that a loop answers at the end of its step.

    A second signal stops at once, also where the main thread is inside a call of a library that lasts for minutes (a forward
    pass): a thread that watches for signals then ends the process. Files are whole or absent at any moment
    (`core.files`), so nothing is lost but the work at hand. Outside the main thread nothing is caught. In one of several
    processes of a run, signals within three seconds of the first are the same request, handed on by several.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0
        self._same = _SAME if launched() else 0.0
        self._raised = False
        self._old: dict[int, Any] = {}
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._old_fd = -1
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        for number in _STOPS:
            try:
                self._old[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread
                return self
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._ends[1].fileno(), warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, args=(self._ends[0],), daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ends is not None and self._watcher is not None:
            signal.set_wakeup_fd(self._old_fd)
            self._ends[1].close()  # the watcher reads the end
            self._watcher.join()
            self._ends[0].close()
            self._ends = None
        for number, old in self._old.items():
            signal.signal(number, old)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
        elif time.monotonic() >= self._since + self._same:
            self._raised = True
            raise self.interruption("Stopped at once.", "The last saved state is intact.")

    def _watch(self, source: socket.socket) -> None:
        """Follow the signals as the system delivers them; Python's handlers run only between two of its instructions."""
        came = _signals(source, None)
        if came and self._same:
            came, end = came[:1], time.monotonic() + self._same
            while (left := end - time.monotonic()) > 0:
                if _signals(source, left) == []:
                    return
        if len(came or ()) == 1:
            more = _signals(source, _TELL_AFTER)
            if more is None:
                _say("stopping after the work at hand; a second signal ends at once.")
                more = _signals(source, None)
            came = [*(came or ()), *(more or ())]
        if len(came or ()) < 2:
            return
        for patience in (_ANSWER, _CLEAN_UP):  # a main thread that answers may clean up, unless a third one comes
            more = _signals(source, patience)
            if more == []:
                return
            if more or not self._raised:
                break
        _say("ended at once. The last saved state is intact.")
        os._exit(128 + (came or [signal.SIGINT])[0])

    def interruption(self, message: str, hint: str) -> Interrupted:
        """Return the error to raise, with the signal's exit code (130 or 143)."""
        return Interrupted(message, hint, 128 + (self.received or signal.SIGINT))


def _signals(source: socket.socket, patience: float | None) -> list[int] | None:
    """Return the stop signals that come next: None after `patience` seconds without one, [] when nobody waits any more."""
    end = None if patience is None else time.monotonic() + patience
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        if not select.select([source], [], [], left)[0]:
            return None
        new = source.recv(64)
        if not new:
            return []
        if found := [number for number in new if number in _STOPS]:
            return found


def _say(text: str) -> None:
    """Print a line on stderr from any thread, with the cursor that a progress bar hides; what fails here is not worth a word."""
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.write(("\x1b[?25h" if sys.stderr.isatty() else "") + f"\nccd: {text}\n")
        sys.stderr.flush()


def _forget_parent() -> None:
    """In a forked worker: its signals are not the parent's."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
