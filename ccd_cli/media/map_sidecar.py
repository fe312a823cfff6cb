"""The JSON beside a map: whether ccd wrote it, whether it speaks of this map, and whether both are as they were written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ccd_cli.core.checksums import SEAL, is_intact, is_sealed
from ccd_cli.core.errors import ImageError
from ccd_cli.core.parse import parse_json
from ccd_cli.geometry.kinds import DIRECTION

SIDECAR_KEY = "ccd_sidecar"
"""Key by which ccd knows its own sidecars; its value is the version of the format."""
SIDECAR_VERSION = 1
_OF_A_CLIP = ("kind", "intrinsics", "intrinsics_source", "resolution")
CLIP_SKY = "clip_sky"
"""Key of what `read_sidecar_of` says of a clip's frame: the video that marks sky in it."""
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


def read_sidecar_of(path: Path, compare: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Return what ccd's sidecar says about a map ({} without one), and notes about one that is ignored.

    A frame of a clip, `<stem>/000000.npy`, has that of its clip, `<stem>.json`. Raises ImageError for JSON that is damaged (it
    may have been ccd's), for a sidecar that is not what was sealed and, with `compare`, for a map that is not the file that
    its sidecar recorded. Sidecars from before seals and checksums are believed.
    """
    side = sidecar_of(path)
    found = _json(side)
    if found is not None:
        if not is_own(found):
            return {}, [FOREIGN]
        _check_seal(found, side)
        files = found.get("files")
        if isinstance(files, dict) and files and path.name not in files.values():
            return {}, [OF_OTHERS]
        if compare and "checksums" in found:
            _check_file(path, _recorded(found, path.name), side)
        return found, []
    if path.stem.isdecimal() and path.parent.name:
        side = path.parent.with_name(f"{path.parent.name}.json")
        clip = _json(side)
        if is_own(clip) and "video" in clip:
            _check_seal(clip, side)
            recorded = _recorded(clip, path.parent.name, "files", path.name)
            if compare and recorded is not None:
                _check_file(path, recorded, side)
            masked = (clip.get("files") or {}).get("sky")
            return {key: clip[key] for key in _OF_A_CLIP if key in clip} | ({CLIP_SKY: masked} if masked else {}), []
    return {}, []


def _check_seal(found: dict[str, Any], side: Path) -> None:
    """Raise ImageError where a sidecar was changed since it was written; seal and checksums always come together."""
    if (SEAL in found or "checksums" in found) and not is_sealed(found):
        raise ImageError(
            f"{side} was changed or damaged since it was written, so the meaning of its maps is not certain.",
            "Make them again with `ccd predict`, or remove it and say what they are by options.",
        )


def _recorded(found: dict[str, Any], *keys: str) -> Any:
    """What the checksums of a sidecar say at a place, None where they say nothing."""
    value = found.get("checksums")
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _check_file(path: Path, recorded: Any, side: Path) -> None:
    if not is_intact(path, recorded, full=True):  # all of it is about to be read
        raise ImageError(
            f"{path} was changed or damaged since it was written: it is not the file that {side.name} recorded.",
            "Make it again with `ccd predict`, or remove the sidecar of a map that you changed.",
        )


def _json(path: Path) -> Any:
    """The JSON value of a file, None where there is no file."""
    if not path.is_file():
        return None
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"{path}: not a readable sidecar ({type(error).__name__})") from error
