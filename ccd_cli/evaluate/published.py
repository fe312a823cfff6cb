"""Published numbers to show beside one's own. The file says of each table where it is from and how it was scored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Published:
    """One table. `rows` are (method, {dataset: `scores`}) as fractions with the digits that were printed."""

    title: str
    source: str
    protocol: str
    rows: tuple[tuple[str, dict[str, tuple[str, ...]]], ...]
    scores: str = "AbsRel / δ1"

    def sets(self) -> set[str]:
        """Return the datasets that any row has."""
        return {name for _, cells in self.rows for name in cells}


def published(sets: Collection[str]) -> list[Published]:
    """Return the tables that have scores of these datasets."""
    return [table for table in _tables() if table.sets() & set(sets)]


@lru_cache(maxsize=1)
def _tables() -> tuple[Published, ...]:
    return tuple(_table(entry) for entry in yaml.safe_load(FILE.read_text(encoding="utf-8")))


def _table(entry: dict[str, Any]) -> Published:
    digits = {"percent": 2, "fraction": 0}[entry["unit"]]
    rows = []
    for row in entry["rows"]:
        cells = {name: pair for name, pair in row.items() if name != "method"}
        rows.append((row["method"], {name: _cell(cell, digits) for name, cell in cells.items()}))
    scores = entry.get("scores", Published.scores)
    return Published(entry["title"], entry["source"], entry["protocol"], tuple(rows), scores)


def _cell(cell: str | float, digits: int) -> tuple[str, ...]:
    """A printed cell as fractions with as many digits as were printed: 5.50/98 % is 0.0550 and 0.98."""
    return tuple("–" if part == "-" else str(Decimal(part).scaleb(-digits)) for part in str(cell).split("/"))
