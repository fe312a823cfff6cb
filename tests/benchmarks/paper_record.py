"""What finished runs of paper_tables.py left, as JSON lines: small enough to keep, so that tables can be made again from them."""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import read_json_lines, write_json, write_text
from ccd_cli.core.lock import exclusive_lock


def _lines(record: Path) -> list[dict[str, Any]]:
    """Read a record; a last line that a kill cut off is no run. Raises CcdError for anything else that is none."""
    found = read_json_lines(record)
    written = len(record.read_bytes().splitlines()) if record.exists() else 0
    runs = list(takewhile(_is_run, found))
    if len(runs) < len(found) or len(found) < min(written, max(written - 1, 1)):
        raise CcdError(f"{record}, line {len(runs) + 1}, is no run of paper_tables.py.", "Name another file.")
    return runs


def _is_run(line: Any) -> bool:
    return isinstance(line, dict) and isinstance(line.get("table"), str) and isinstance(line.get("files"), dict)


def restore(record: Path, out: Path) -> None:
    """Write what a record holds into `out` as the runs themselves left it; what is there already stays."""
    for line in _lines(record):
        for name, facts in line["files"].items():
            file = out / line["table"] / name
            if ".." not in file.parts and not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, facts)


def add_run(record: Path, out: Path, folder: Path) -> None:
    """Add a finished run: its facts, and its score on real pairs where it has one."""
    _add(record, out, [folder.with_suffix(".json"), folder.with_name(f"pairs-{folder.name}.json")])


def add_shared(record: Path, out: Path, table: str) -> None:
    """Add what belongs to a whole table: the scores of its teachers and of trivial baselines, the cost ratios of its rows."""
    _add(record, out, [out / table / name for name in ("references.json", "ratios.json")])


def _add(record: Path, out: Path, files: list[Path]) -> None:
    """Append one line for files of one table; several processes may at once, and a kill leaves whole lines."""
    table = files[0].relative_to(out).parts[0]
    found: dict[str, Any] = {
        file.relative_to(out / table).as_posix(): json.loads(file.read_text(encoding="utf-8"))
        for file in files
        if file.exists()
    }
    with exclusive_lock(out / "record.lock", "", wait=lambda: None):
        lines = [*_lines(record), {"table": table, "files": found}]
        write_text(record, "".join(f"{json.dumps(line)}\n" for line in lines))
