"""How much memory is free: what is judged before an array of many gigabytes is made."""

from __future__ import annotations

import os
from contextlib import suppress
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


def _reclaimable() -> int:
    """Bytes of files that the control group holds in memory and gives up when asked."""
    for line in (_CGROUP / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0
