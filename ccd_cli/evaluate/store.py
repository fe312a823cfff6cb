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


def read_book(path: Path, fingerprints: Sequence[str]) -> dict[int, Record]:
    """Return the records in a file of scores, by index; lines that were cut off or have another fingerprint are no records."""
    found = (_valid(line, fingerprints) for line in read_json_lines(path))
    return {record["index"]: record for record in found if record is not None}


def write_book(path: Path, records: Mapping[int, Record]) -> None:
    """Write records as a file of scores, in the order of their indices, unless they are what is in it."""
    text = "".join(json_line(records[index]) for index in sorted(records)).encode()
    if not path.exists() or path.read_bytes() != text:
        with atomic_write(path) as temporary:
            temporary.write_bytes(text)


class ScoreBook:
    """The records of one set by index, in `path` (JSON lines) and in memory.

    `fingerprints` are those of all samples in order: a line whose fingerprint is another one, or that was cut off, is dropped and
    the file cleaned. With `overwrite` nothing is kept. Records in `others`, the books of other processes, count as well and stay
    there. Raises CcdError on a full disk.
    """

    def __init__(self, path: Path, fingerprints: Sequence[str], overwrite: bool, others: Sequence[Path] = ()) -> None:
        self.path = path
        self._fingerprints = fingerprints
        self._own = {} if overwrite else read_book(path, fingerprints)
        write_book(path, self._own)
        self.records: dict[int, Record] = {}
        for other in others:
            self.records |= read_book(other, fingerprints)
        self.records |= self._own
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
        if kind is None:  # samples that failed before lie behind others
            write_book(self.path, self._own)

    def add(self, record: Record) -> None:
        """Keep a record: in the file when this returns."""
        assert self._file is not None
        record = {**record, "mark": self._fingerprints[record["index"]]}
        try:
            self._file.write(json_line(record))
            self._file.flush()
        except OSError as error:
            raise disk_error(error, self.path) from error
        self.records[record["index"]] = self._own[record["index"]] = record

    def of(self, indices: Sequence[int]) -> list[Record]:
        """Return the records of these samples that there are, in order."""
        return [self.records[i] for i in sorted(indices) if i in self.records]


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
