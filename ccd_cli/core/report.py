"""How a running command reports progress; the command line shows it, tests keep it, library users may ignore it."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Receives notes, warnings and the progress of long work."""

    def note(self, text: str) -> None:
        """Say something worth a line."""

    def warn(self, text: str) -> None:
        """Say something that may need the user."""

    def table(self, title: str, rows: list[dict[str, object]]) -> None:
        """Show rows that share their keys; numbers are rounded for eyes."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Start a piece of long work of `total` parts of which `done` are finished."""

    def advance(self, done: int, **figures: float | str) -> None:
        """`done` parts are finished now; `figures` are shown beside the bar."""

    def end(self) -> None:
        """The piece of work is over."""


class Silent:
    """A report that keeps notes and warnings and shows nothing."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)

    def table(self, title: str, rows: list[dict[str, object]]) -> None:
        """Show nothing."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Show nothing."""

    def advance(self, done: int, **figures: float | str) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Show nothing."""
