"""Folders that ccd reads from: its own recipes and assets, and the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection
from pathlib import Path

import ccd_cli


def shipped_folder() -> Path:
    """Return the folder of shipped recipes: inside an installed wheel, or beside the package in a checkout."""
    package = Path(ccd_cli.__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def builtin_folder() -> Path:
    """Return the folder of files that ship with ccd: inside an installed wheel, or beside the package in a checkout."""
    package = Path(ccd_cli.__file__).parent
    inside = package / "assets"
    return inside if inside.is_dir() else package.parent / "assets"


def builtin_path(text: str) -> str:
    """Return the path that `builtin:NAME` stands for, and any other text as it is."""
    return str(builtin_folder() / text.removeprefix("builtin:")) if text.startswith("builtin:") else text


def expand_home(text: str | Path) -> Path:
    """Return a path with its `~` or `~user` replaced; one of nobody stays as it is: names of copies may begin with `~`."""
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError):  # nobody of that name; a null byte
        return Path(text)


def exists(path: Path) -> bool:
    """Return whether there is a file or folder; False also for names that no file can have (too long, null bytes)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def cache_folder() -> Path:
    """Return ccd's cache folder: $CCD_HOME, else the user's cache folder of the system."""
    if chosen := os.environ.get("CCD_HOME"):
        return expand_home(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("ccd")


def folder_name(label: str, taken: Collection[str] = ()) -> str:
    """Return a folder's name, valid on every system and not in `taken`, for a label of any characters."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip(".-")[:80] or "model"
    return safe if safe not in taken else f"{safe}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"
