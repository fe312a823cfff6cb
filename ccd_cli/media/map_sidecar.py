"""The JSON beside a map: whether ccd wrote it, and whether it speaks of this map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import ImageError
from ccd_cli.geometry.kinds import DIRECTION

SIDECAR_KEY = "ccd_sidecar"
"""Key by which ccd knows its own sidecars; its value is the version of the format."""
SIDECAR_VERSION = 1
_OF_A_CLIP = ("kind", "intrinsics", "intrinsics_source", "resolution")
FOREIGN = "the .json beside the map is not from ccd and is ignored"
OF_OTHERS = "the .json beside the map is about other files of ccd and is ignored"


def sidecar_of(path: Path) -> Path:
    """Return where the sidecar of a map is looked for: `in.depth.png` and `in.npy` both have `in.json`."""
    ending = ".depth.png"
    name = path.name[: -len(ending)] if path.name.lower().endswith(ending) else path.stem
    return path.with_name(name + ".json")


def is_own(found: Any) -> bool:
    """Tell whether a JSON value is a sidecar of ccd; those of before the key are known by what they all held."""
    if not isinstance(found, dict):
        return False
    if SIDECAR_KEY in found:
        return True
    return "kind" in found and "unit" in found and found.get("direction") in (*DIRECTION.values(),)


def read_sidecar_of(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return what ccd's sidecar says about a map ({} without one), and notes about one that is ignored.

    A frame of a clip, `<stem>/000000.npy`, has that of its clip, `<stem>.json`. Raises ImageError for JSON that is damaged: it
    may have been ccd's.
    """
    found = _json(sidecar_of(path))
    if found is not None:
        if not is_own(found):
            return {}, [FOREIGN]
        files = found.get("files")
        if isinstance(files, dict) and files and path.name not in files.values():
            return {}, [OF_OTHERS]
        return found, []
    if path.stem.isdecimal():
        clip = _json(path.parent.with_name(f"{path.parent.name}.json")) if path.parent.name else None
        if is_own(clip) and isinstance(clip, dict) and "video" in clip:
            return {key: clip[key] for key in _OF_A_CLIP if key in clip}, []
    return {}, []


def _json(path: Path) -> Any:
    """The JSON value of a file, None where there is no file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"{path}: not a readable sidecar ({type(error).__name__})") from error
