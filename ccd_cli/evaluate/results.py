"""What `ccd eval` found out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ccd_cli.core.files import plain
from ccd_cli.evaluate.figures import Gallery
from ccd_cli.scoring.protocol import in_words
from ccd_cli.scoring.rows import Record


@dataclass
class Scored:
    """What the page shows of one model on one set."""

    model: str
    dataset: str
    records: list[Record]
    gallery: Gallery


@dataclass
class Results:
    """Scores of every model on every set, how they were made, and what was left out."""

    protocol: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    shown: list[Scored] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return the JSON document: NaN is null."""
        told = {**self.protocol, "in_words": in_words(self.protocol), "left_out": self.left_out}
        made: dict[str, Any] = plain({"protocol": told, "results": self.rows})
        return made
