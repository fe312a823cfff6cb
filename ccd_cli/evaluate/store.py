"""Scores that survive a kill: one line an image, flushed as it is made, each with the mark of what made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from ccd_cli.core.files import atomic_write, disk_error, json_line, read_json_lines
from ccd_cli.scoring.rows import Record


def fingerprint(*facts: object) -> str:
    """Return a short hash of everything in `facts`: scores with another fingerprint are not these."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:16]


class ScoreBook:
    """The records of one set by index, in `path` (JSON lines) and in memory.

    `fingerprints` are those of all samples in order: a line whose fingerprint is another one, or that was cut off, is dropped and
    the file cleaned. With `overwrite` nothing is kept. Raises CcdError on a full disk.
    """

    def __init__(self, path: Path, fingerprints: Sequence[str], overwrite: bool) -> None:
        self.path = path
        self.records: dict[int, Record] = {}
        self._fingerprints = fingerprints
        if not overwrite:
            for line in read_json_lines(path):
                if (record := _valid(line, fingerprints)) is not None:
                    self.records[record["index"]] = record
        self._clean()
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, record: Record) -> None:
        """Keep a record: in the file when this returns."""
        assert self._file is not None
        record = {**record, "mark": self._fingerprints[record["index"]]}
        try:
            self._file.write(json_line(record))
            self._file.flush()
        except OSError as error:
            raise disk_error(error, self.path) from error
        self.records[record["index"]] = record

    def of(self, indices: Sequence[int]) -> list[Record]:
        """Return the records of these samples that there are, in order."""
        return [self.records[i] for i in sorted(indices) if i in self.records]

    def _clean(self) -> None:
        text = "".join(json_line(record) for record in self.records.values())
        if not self.path.exists() or self.path.read_bytes() != text.encode():
            with atomic_write(self.path) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _valid(line: Any, fingerprints: Sequence[str]) -> Record | None:
    """The line as a record with NaN where it holds null; None where it is none of this set and these settings."""
    if (
        not isinstance(line, Mapping)
        or type(index := line.get("index")) is not int
        or not 0 <= index < len(fingerprints)
    ):
        return None
    if line.get("mark") != fingerprints[index] or not isinstance(line.get("scores"), Mapping):
        return None
    scores = {key: float("nan") if value is None else value for key, value in line["scores"].items()}
    if not all(isinstance(value, float | int) for value in scores.values()):
        return None
    return {**line, "scores": scores}
