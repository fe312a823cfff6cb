"""What lies in folders of photos and is passed over: pictures of formats that are not read here, folders of results."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccd_cli.media.formats import PICTURES, why_unread
from ccd_cli.media.outputs import is_result
from ccd_cli.media.video.read import SUFFIXES as VIDEO_SUFFIXES

NAMED = 10
"""Folders that a note names."""


@dataclass
class NotRead:
    """`files`: by lower-case suffix; `folders`: what each holds ("labels"). `looked_into` remembers folders of globs."""

    files: dict[str, set[Path]] = field(default_factory=dict)
    folders: dict[Path, str] = field(default_factory=dict)
    looked_into: dict[Path, str | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.files or self.folders)

    def choose(self, paths: Iterable[Path], suffixes: Collection[str]) -> list[Path]:
        """Return the files with one of `suffixes`, and count the other pictures and videos, but for results."""
        chosen = []
        for path in paths:
            suffix = path.suffix.lower()
            if suffix in suffixes:
                chosen.append(path)
            elif (suffix in PICTURES or suffix in VIDEO_SUFFIXES) and not is_result(path):
                self.files.setdefault(suffix, set()).add(path)
        return chosen

    def add(self, other: NotRead) -> None:
        """Take over what another word found."""
        for suffix, paths in other.files.items():
            self.files.setdefault(suffix, set()).update(paths)
        self.folders |= other.folders

    def because(self) -> str:
        """Return what a folder holds in place of photos, for the end of a sentence: " (6 .heic: ...)"."""
        said = [*self._formats(), *(f"{folder} holds {what}" for folder, what in list(self.folders.items())[:NAMED])]
        return f" ({'; '.join(said)})" if said else ""

    def warnings(self) -> list[str]:
        """Return one sentence a format, with its number of files and what to do, and one for all folders of results."""
        said = [f"Not read: {text}" for text in self._formats()]
        if self.folders:
            names = [f"{folder} ({what})" for folder, what in sorted(self.folders.items())]
            more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
            said.append(f"Folders that ccd wrote are skipped: {', '.join(names[:NAMED])}{more}")
        return said

    def summary(self) -> str:
        """Return the end of a summary: ", 6 not read (.heic)", or nothing."""
        count = sum(map(len, self.files.values()))
        return f", {count:,} not read ({' '.join(sorted(self.files))})" if count else ""

    def as_json(self) -> dict[str, Any]:
        """Return the number of files by suffix, and the folders."""
        counts = {suffix: len(paths) for suffix, paths in sorted(self.files.items())}
        return {"formats": counts, "folders": [str(folder) for folder in sorted(self.folders)]}

    def _formats(self) -> list[str]:
        said = []
        for suffix, paths in sorted(self.files.items()):
            reason = "a video: extract its frames as images" if suffix in VIDEO_SUFFIXES else why_unread(suffix)
            said.append(f"{len(paths):,} {suffix} file{'s' if len(paths) > 1 else ''}: {reason}")
        return said
