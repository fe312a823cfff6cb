"""Run readers on mutated files and count what comes out: a value, an error of ccd, or a failure.

    python -m tests.fuzz.campaign --calls 5000 --seed 1     (prints the table of docs/robustness.md)

A call is a failure where anything but a CcdError comes out, where it takes longer than `SECONDS`, where it starts a program,
or where it writes outside its own folder.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError
from tests.fuzz.mutate import mutate, mutate_word

SECONDS = 20.0
MEMORY = 8 * 2**30  # bytes of address space that a call may take beyond what is mapped
_STARTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "subprocess.Popen",
    "pty.spawn",
)
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")


@dataclass(frozen=True)
class Reader:
    """Something that reads: `call(folder, name)` after the file `name` of `files` was changed, or `call(folder, word)`.

    `styles` says which files are changed, and how (see `mutate`); without it `words` are. `refused` are those that are refused
    unchanged, too: hostile ones.
    """

    name: str
    call: Callable[[Path, str], Any]
    files: dict[str, bytes] = field(default_factory=dict)
    styles: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    weight: int = 1


@dataclass
class Count:
    """Calls of one reader by what came out."""

    calls: int = 0
    accepted: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_call: str = ""


class Hang(BaseException):
    """A call took too long."""


class _Watch:
    """An audit hook (they cannot be removed) that notes programs started and files written outside a folder."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.found: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event.startswith(_STARTS):
            self.found.append(f"{event} {args[:1]}")
        elif event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            mode, flags = args[1] or "", args[2] if isinstance(args[2], int) else 0
            if set(str(mode)) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._note(event, args[0])
        elif event in _CHANGES and isinstance(args[0], str | bytes | os.PathLike):
            self._note(event, args[0])

    def _note(self, event: str, path: Any) -> None:
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links stay as they are
        if not place.startswith((str(self.folder), "/dev/", "/proc/")) and "__pycache__" not in place:
            self.found.append(f"{event} {place}")


_watch: _Watch | None = None


def run(readers: list[Reader], calls: int, seed: int, folder: Path, only: int | None = None) -> dict[str, Count]:
    """Call the readers about `calls` times in all, by their weights, each call with random numbers of its own.

    `only` repeats that one call of every reader. Works in `folder`, which is the current folder and `$CCD_HOME` meanwhile.
    """
    total = sum(reader.weight for reader in readers)
    counts = {}
    for reader in readers:
        place = folder / reader.name.replace(" ", "-").replace("/", "-")
        _write(reader, place)
        count = counts[reader.name] = Count()
        number = max(1, -(-calls * reader.weight // total))
        for i in range(number) if only is None else [only]:
            _one(reader, place, random.Random(f"{seed} {reader.name} {i}"), count, f"{reader.name} #{i}")
    return counts


def _write(reader: Reader, place: Path) -> None:
    for name, data in reader.files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    place.mkdir(parents=True, exist_ok=True)


def _one(reader: Reader, place: Path, rng: random.Random, count: Count, label: str) -> None:
    count.calls += 1
    if reader.words:
        name = mutate_word(rng.choice(reader.words), rng.choice(reader.words), rng)
    else:
        name = rng.choice(sorted(reader.styles))
        others = [reader.files[other] for other in sorted(reader.styles)]
        changed = mutate(reader.files[name], rng.choice(others), reader.styles[name], rng)
        (place / name).write_bytes(changed)
    began = time.monotonic()
    try:
        with _guarded(place) as found:
            reader.call(place, name)
        count.accepted += 1
    except CcdError as error:
        count.refused += 1
        str(error).encode("utf-8", "backslashreplace")
    except Hang:
        count.failures.append(f"{label}: hangs")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        count.failures.append(
            f"{label}: {type(error).__name__}: {str(error)[:100]!r} at {where.filename}:{where.lineno}"
        )
    count.failures += [f"{label}: {what}" for what in found]
    if (seconds := time.monotonic() - began) > count.slowest:
        count.slowest, count.slowest_call = seconds, label
    if not reader.words:
        _write(reader, place)


@contextmanager
def _guarded(place: Path) -> Iterator[list[str]]:
    """Watch a call: time, address space, programs started, files written; and set folder and environment."""
    global _watch
    _watch = _watch or _Watch()
    before, home, found = Path.cwd(), os.environ.get("CCD_HOME"), _watch.found
    found.clear()

    def stop(*_: object) -> None:
        raise Hang

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    os.chdir(place)
    os.environ["CCD_HOME"] = str(place)
    _watch.folder = str(place)
    try:
        with _limited_memory(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield found
    finally:
        _watch.folder = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        os.chdir(before)
        if home is None:
            os.environ.pop("CCD_HOME", None)
        else:
            os.environ["CCD_HOME"] = home


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Let a file that promises too much meet a MemoryError instead of the machine's end."""
    try:
        import resource

        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def table(counts: dict[str, Count]) -> str:
    """Return the counts as a Markdown table."""
    lines = ["| reader | calls | read | refused | failures | slowest, s |", "|---|---:|---:|---:|---:|---:|"]
    rows = [(n, c.calls, c.accepted, c.refused, len(c.failures), f"{c.slowest:.1f}") for n, c in counts.items()]
    sums = [sum(row[i] for row in rows) for i in range(1, 5)]
    rows.append(("**all**", *sums, f"{max(c.slowest for c in counts.values()):.1f}"))
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", default="")
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    from tests.fuzz.readers import all_readers

    with tempfile.TemporaryDirectory() as folder:
        readers = [r for r in all_readers(Path(folder) / "seeds") if options.reader in r.name]
        counts = run(readers, options.calls, options.seed, Path(folder) / "work", options.only)
    print(table(counts))
    for count in counts.values():
        if count.slowest > SECONDS / 4:
            print(f"slow: {count.slowest_call}, {count.slowest:.1f} s")
        for failure in count.failures:
            print(failure)


if __name__ == "__main__":
    main()
