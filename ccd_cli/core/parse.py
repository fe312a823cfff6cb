"""Text and JSON of files that anyone may have written: what cannot be used is a ValueError or a CcdError, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError

MAX_DEPTH = 64
"""Levels of lists and objects in a JSON file; those that ccd writes have fewer than ten."""
MAX_DIGITS = 20
"""Digits of a whole number: more fit no 64-bit integer."""
MAX_TEXT = 64 * 2**20
"""Bytes of a text file that is read as a whole."""
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
"""First bytes of UTF-16 text, as Notepad and PowerShell write it."""
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), *((mark, "utf-16") for mark in UTF16_MARKS))


def parse_json(data: str | bytes) -> Any:
    """Return the value of a JSON document.

    Raises ValueError alone, whatever is wrong: not JSON, not UTF-8, nested deeper than MAX_DEPTH, or whole numbers of more
    than MAX_DIGITS digits, which later arithmetic would not survive.
    """
    try:
        value = json.loads(data, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
    return value


def decode_text(data: bytes) -> str:
    """Return text in UTF-8, or in what its first bytes tell (UTF-8 or UTF-16 with a mark); UnicodeDecodeError otherwise."""
    return data.decode(next((name for mark, name in _BOMS if data.startswith(mark)), "utf-8"))


def read_text(path: Path, limit: int = MAX_TEXT) -> str:
    """Return a text file's content; raises CcdError where it is missing, over `limit` bytes or neither UTF-8 nor UTF-16."""
    try:
        if path.stat().st_size > limit:
            raise CcdError(f"{path} is larger than {limit:,} bytes: not the text file that belongs here.")
        return decode_text(path.read_bytes())
    except UnicodeDecodeError:
        raise CcdError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        raise CcdError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error


def _whole_number(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"the number {text[:MAX_DIGITS]}... has {len(text)} digits")
    return int(text)
