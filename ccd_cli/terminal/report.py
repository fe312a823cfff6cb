"""Shows what commands report, on stderr: a progress bar with metrics on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ccd_cli.terminal.table import show_table

BAR, BESIDE_BAR = 24, 56
"""Characters of a progress bar, and of the counts, times and metrics beside it."""
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_LINES_VERBOSE = 1.0


class RichReport:
    """A Report for people. Not on a terminal, progress becomes one line every ten seconds (verbose: every second)."""

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
        self.quiet = quiet
        self._pause = SECONDS_BETWEEN_LINES_VERBOSE if verbose else SECONDS_BETWEEN_LINES
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._what, self._total, self._started, self._first, self._last_line = "", 0, 0.0, 0, 0.0
        self._unsaid = ""  # the latest count, where the last line shows an earlier one

    def note(self, text: str) -> None:
        """Print one line."""
        if not self.quiet:
            self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print one warning; also when quiet."""
        self.console.print(f"warning: {text}", markup=False, style="yellow")

    def table(self, title: str, rows: list[dict[str, object]]) -> None:
        """Print a table; numbers are right-aligned with four digits."""
        if not self.quiet:
            show_table(self.console, rows, title)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Start a progress bar (or its lines)."""
        self._what, self._total, self._first = what, total, done
        self._started = self._last_line = time.monotonic()
        self._unsaid = ""
        if self.quiet or not self.console.is_terminal:
            return
        bar = min(
            BAR, self.console.width - len(what) - BESIDE_BAR
        )  # on a narrow terminal the bar gives way to the words
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            *([BarColumn(bar_width=bar)] if bar > 2 else []),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self.console,
        )
        self._task = self._progress.add_task(what, total=total, completed=done, figures="")
        self._progress.start()

    def advance(self, done: int, **figures: float | str) -> None:
        """Move the bar; metrics are shown with three significant digits."""
        text = "  ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
        )
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, figures=text)
            return
        now = time.monotonic()
        if self.quiet:
            return
        if now - self._last_line >= self._pause:
            self._last_line, self._unsaid = now, ""
            units = done - self._first
            left = (now - self._started) / max(1, units) * (self._total - done)
            eta = f"ETA {_clock(left)}" if units > 0 else ""  # before the first unit is done nobody knows
            self.console.print("  ".join(part for part in (f"{self._what} {done}/{self._total}", text, eta) if part))
        elif self._last_line > self._started:
            self._unsaid = "  ".join(part for part in (f"{self._what} {done}/{self._total}", text) if part)

    def end(self) -> None:
        """Stop the bar, leaving its last state; where lines were printed, the last one says how far it came."""
        if self._unsaid:
            self.console.print(self._unsaid)
            self._unsaid = ""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
