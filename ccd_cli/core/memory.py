"""How much memory is free, and who may take it: judged before arrays of many gigabytes are made."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return the bytes that this process can still take without swapping, None where the system does not tell.

    Linux: `MemAvailable`, and what the control group (a container's limit) leaves, if that is less.
    """
    free: list[int] = []
    with suppress(OSError, ValueError, IndexError, StopIteration):
        line = next(each for each in _MEMINFO.read_text().splitlines() if each.startswith("MemAvailable:"))
        free.append(int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        free.append(max(0, limit - used + _reclaimable()))
    if not free:
        with suppress(AttributeError, OSError, ValueError):
            free.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(free) if free else None


class NotEnoughMemory(Exception):
    """Something does not fit into the `free` bytes, even alone."""

    def __init__(self, free: int) -> None:
        super().__init__(f"{free} bytes are free")
        self.free = free


class MemoryBudget:
    """Hands out the free memory to what needs much of it for a while: where it does not suffice for all, they go one by one.

    What is held counts in full, also the part that is taken already and so is missing from the free memory: rather one too few
    at a time than one too many. Sums up to `ignored` bytes are not judged.
    """

    def __init__(self, ignored: int = 0) -> None:
        self._ignored = ignored
        self._changed = threading.Condition()
        self._held: list[int] = []

    def fits(self, needed: int) -> bool:
        """Return whether `needed` bytes are free beside all that is held."""
        return self._lacking(needed) is None

    def add(self, needed: int) -> None:
        """Hold `needed` bytes, whether they fit or not."""
        with self._changed:
            self._held.append(needed)

    def remove(self, needed: int) -> None:
        """Give back what was held."""
        with self._changed:
            self._held.remove(needed)
            self._changed.notify_all()

    @contextmanager
    def hold(self, needed: int) -> Iterator[None]:
        """Wait until `needed` bytes are free, and hold them for a block.

        Raises NotEnoughMemory where they are not although nothing else is held. A block must not wait for another one.
        """
        with self._changed:
            while (free := self._lacking(needed)) is not None:
                if not self._held:
                    raise NotEnoughMemory(free)
                self._changed.wait()
            self._held.append(needed)
        try:
            yield
        finally:
            self.remove(needed)

    def _lacking(self, needed: int) -> int | None:
        """The free bytes where they do not suffice for `needed` more, else None."""
        wanted = sum(self._held) + needed
        if wanted <= self._ignored or (free := available_memory()) is None:
            return None
        return free if wanted > free else None


def _reclaimable() -> int:
    """Bytes of files that the control group holds in memory and gives up when asked."""
    for line in (_CGROUP / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0
