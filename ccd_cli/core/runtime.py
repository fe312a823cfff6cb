"""Device, precision, threads and signals."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self

import torch

from ccd_cli.core.errors import CcdError, Interrupted, UsageProblem

_STOPS = (signal.SIGINT, signal.SIGTERM)
_TELL_AFTER = 1.5  # seconds without an end after which a first signal is acknowledged in words
_ANSWER = 1.0  # seconds that the main thread has to answer a second signal
_CLEAN_UP = 10.0  # seconds that it has then to leave its work


@dataclass(frozen=True)
class Runtime:
    """Where and how tensors are computed, and as which of how many processes."""

    device: torch.device
    precision: str
    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """True in the one process that writes files and reports."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the mixed-precision context; nothing at fp32."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def describe(self) -> str:
        """Return device, precision and threads in words."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        many = f", process {self.rank + 1} of {self.world}" if self.world > 1 else ""
        return f"{name}, {self.precision}, {torch.get_num_threads()} threads{many}"


def choose_runtime(device: str = "auto", precision: str = "auto", threads: int | None = None) -> Runtime:
    """Turn `--device`, `--precision` and `--threads` into a Runtime; joins the process group under `torchrun`.

    `auto` takes CUDA, then MPS, then CPU; bf16 on GPUs that have it, else fp16 on CUDA, and fp32 elsewhere: on CPUs
    without native bfloat16 it is a hundred times slower. Raises UsageProblem for a device that is not there.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageProblem(f"--device {device}: not a device.", "Use auto, cpu, cuda, cuda:N or mps.") from error
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if world > 1 and chosen.index is None:
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if (chosen.index or 0) >= count:
            raise UsageProblem(
                f"--device {device}: this machine shows {count} CUDA devices.", "Use --device cpu, or check the driver."
            )
        torch.cuda.set_device(chosen)
    elif chosen.type == "mps" and not torch.backends.mps.is_available():
        raise UsageProblem("--device mps: not available here.", "Use --device cpu.")
    elif chosen.type not in ("cpu", "mps"):
        raise UsageProblem(f"--device {device}: not supported.", "Use auto, cpu, cuda, cuda:N or mps.")
    if precision == "auto":
        precision = "fp32" if chosen.type != "cuda" else "bf16" if has_bf16() else "fp16"
    if precision == "fp16" and chosen.type != "cuda":
        raise UsageProblem(f"--precision fp16 needs CUDA, not {chosen.type}.", "Use fp32 or bf16.")
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Runtime(chosen, precision, rank, world)


def has_bf16() -> bool:
    """Return whether the CUDA device computes bfloat16 itself; torch would also emulate it, slowly."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


class Signals:
    """Turns Ctrl-C and SIGTERM into a request that a loop answers at the end of its step.

    A second signal stops at once, also where the main thread is inside a call of a library that lasts for minutes (a forward
    pass): a thread that watches for signals then ends the process. Files are whole or absent at any moment
    (`core.files`), so nothing is lost but the work at hand. Outside the main thread nothing is caught.
    """

    def __init__(self) -> None:
        self.received: int | None = None
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
        if self.received is not None:
            self._raised = True
            raise self.interruption("Stopped at once.", "The last saved state is intact.")
        self.received = number

    def _watch(self, source: socket.socket) -> None:
        """Follow the signals as the system delivers them; Python's handlers run only between two of its instructions."""
        came = _signals(source, None)
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


def memory_error(error: BaseException) -> CcdError | None:
    """Return a plain error when `error` is an exhausted GPU or CPU memory, else None."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        return CcdError(
            "Out of memory.",
            "Lower optim.batch (raise optim.accumulate to keep the step), crops.size or crops.patches.",
        )
    return None
