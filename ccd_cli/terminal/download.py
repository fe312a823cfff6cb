"""Shows downloads: a bar with bytes and speed on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import time

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ccd_cli.terminal.report import RichReport

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_LINES_VERBOSE = 1.0


class DownloadReport(RichReport):
    """A Report whose progress is counted in bytes."""

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        super().__init__(quiet, verbose)
        self._bar: tuple[Progress, TaskID] | None = None
        self._every = SECONDS_BETWEEN_LINES_VERBOSE if verbose else SECONDS_BETWEEN_LINES
        self._file, self._bytes, self._said = "", 0, 0.0

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Start one file of `total` bytes."""
        self._file, self._bytes, self._said = what, total, time.monotonic()
        if self.quiet:
            return
        if not self.console.is_terminal:
            here = f", {_megabytes(done)} already downloaded" if done else ""
            self.console.print(f"{what}: {_megabytes(total)}{here}", markup=False)
            return
        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._bar = (progress, progress.add_task(what, total=total, completed=done))
        progress.start()

    def advance(self, done: int, **figures: float | str) -> None:
        """`done` bytes are downloaded."""
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, completed=done)
        elif not self.quiet and time.monotonic() - self._said >= self._every:
            self._said = time.monotonic()
            self.console.print(f"{self._file}: {_megabytes(done)} of {_megabytes(self._bytes)}", markup=False)

    def end(self) -> None:
        """Stop the bar, leaving its last state."""
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
