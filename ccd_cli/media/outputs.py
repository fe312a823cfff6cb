"""What earlier runs left in an output folder: what is a result and no input, what is stale, and what is not ours."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ccd_cli.core.checksums import SEAL, checksum, is_intact, is_sealed, seal
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import json_line, read_json_lines, write_text
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.core.parse import parse_json

CLOUD_PICTURE = ".cloud.png"
CLOUDS = ("ply", "pcd", "xyz", "glb")
PICTURES = (
    ".color.png",
    ".depth.png",
    ".side.png",
    ".sky.png",
    CLOUD_PICTURE,
    ".color.mp4",
    ".side.mp4",
    ".depth.mkv",
    ".sky.mkv",
)
"""Endings of results that look like photos and videos."""
FAILED = "failed.jsonl"
"""Inputs of `ccd predict` that have no result, beside the results of the others."""
GALLERY = "gallery"
"""Folder of the thumbnails and further pages of `ccd inspect`, beside its first page."""
GALLERY_MARK = "gallery.json"
_PAGES = {"contact.png": "inspect.html"} | dict.fromkeys(
    ("noise.png", "both_sides.png", "example.png", "figure2.png"), "analysis.html"
)
"""Pictures of reports, and the page beside which they lie."""
_FRAME = re.compile(rf"\d{{6,}}\.(npy|npz|exr|{'|'.join(CLOUDS)})")


def read_sidecar(base: Path) -> dict[str, Any] | None:
    """Return the sidecar `<base>.json` if `ccd predict` wrote it, else None."""
    try:
        found = parse_json((base.parent / f"{base.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(found, dict) and "fingerprint" in found and isinstance(found.get("files"), dict)
    return found if ours else None


def read_failures(folder: Path) -> list[dict[str, str]]:
    """Return `input` (relative to the folder, where it is a file) and `reason` of what failed in a folder of predictions."""
    lines = [line for line in read_json_lines(folder / FAILED) if isinstance(line, dict)]
    return [{key: str(line.get(key, "")) for key in ("input", "reason")} for line in lines]


def write_failures(folder: Path, failed: Iterable[tuple[str, str]], done: Iterable[str]) -> None:
    """Keep (input, reason) of what failed in `failed.jsonl`; an input that was done or failed again is not what it was before.

    Without failures there is no such file, and none where nothing was written. Several processes may write into one folder.
    Raises Unwritable.
    """
    new = {_relative(name, folder): reason for name, reason in failed}
    old = folder / FAILED
    if not folder.is_dir() or not (new or old.exists()):
        return
    with exclusive_lock(folder, "", wait=lambda: None):
        settled = {*new, *(_relative(name, folder) for name in done)}
        kept = {line["input"]: line["reason"] for line in read_failures(folder) if line["input"] not in settled}
        lines = [json_line({"input": name, "reason": reason}) for name, reason in (kept | new).items()]
        if lines:
            write_text(old, "".join(lines))
        else:
            old.unlink(missing_ok=True)


def _relative(name: str, folder: Path) -> str:
    """A file's path relative to the folder, as the sidecars hold it; what is no file stays as it was typed."""
    with suppress(OSError, ValueError):
        if Path(name).exists():
            return Path(os.path.relpath(name, folder)).as_posix()
    return name


def result_folder(folder: Path, names: Collection[str]) -> str | None:
    """Return what ccd made of a folder with files of these names: "a training run", "labels"; None of any other.

    Nothing in such a folder is anybody's photo.
    """
    if "recipe.yaml" in names and "label.json" in names:
        return "labels"
    if "index.json" in names:
        with suppress(OSError), (folder / "index.json").open("rb") as file:
            if b'"ccd-labels/' in file.read(200):
                return "labels"
    if GALLERY_MARK in names and folder.name == GALLERY:
        return "the pages of an inspection"
    if "recipe.yaml" in names and {"metrics.jsonl", "card.md"} & set(names):
        return "a training run"
    return None


def is_result(path: Path) -> bool:
    """Tell whether a picture is one that ccd made.

    That is one that the sidecar beside it lists (of EXR files, also frames of a video with a sidecar), a cloud's preview
    beside that cloud, the plots of an analysis and the contact sheet of an inspection beside their pages.
    """
    if (page := _PAGES.get(path.name)) is not None:
        return path.with_name(page).is_file()
    if path.suffix.lower() == ".exr":
        if _FRAME.fullmatch(path.name) and read_sidecar(path.parent) is not None:
            return True
        side = read_sidecar(path.with_suffix(""))
        return side is not None and path.name in side["files"].values()
    ending = next((each for each in PICTURES if path.name.endswith(each)), None)
    if ending is None:
        return False
    base = path.with_name(path.name.removesuffix(ending))
    if ending == CLOUD_PICTURE and any(base.with_name(f"{base.name}.{form}").is_file() for form in CLOUDS):
        return True
    side = read_sidecar(base)
    if side is None:  # a run was stopped just before it wrote that
        return _mark(base).exists() or (base.parent / f".{base.name}.json.parts").exists()
    return path.name in side["files"].values()


def claim(base: Path, inputs: Collection[Path], overwrite: bool) -> None:
    """Raise CcdError where results at `base` would replace an input (resolved paths), or a JSON file of somebody else's.

    Tools for labels keep `a.json` beside `a.jpg`; only `overwrite` replaces such a file.
    """
    side = base.parent / f"{base.name}.json"
    if side.exists() and not overwrite and read_sidecar(base) is None:
        raise CcdError(f"{side} is there and is not from ccd.", "Choose another --out, or replace it by --overwrite.")
    for ending in PICTURES:
        target = base.parent / f"{base.name}{ending}"
        if target.exists() and target.resolve() in inputs:
            raise CcdError(f"its result {target} would replace an input.", "Choose another --out.")


def refuse_foreign(base: Path, targets: Iterable[Path]) -> None:
    """Raise CcdError where one of the files that results at `base` would replace exists, and the sidecar there does not list it.

    Listed are files beside the sidecar, and with `frames` the numbered ones in the folder of that name. A damaged sidecar does not
    say what it listed: nothing is refused.
    """
    old = read_sidecar(base)
    if old is not None and SEAL in old and not is_sealed(old):
        return
    listed = set() if old is None else {base.parent / str(name) for name in old["files"].values()}
    for target in targets:
        if target.exists() and target not in listed and target.parent not in listed:
            hint = "Choose another --out, or replace it by --overwrite."
            raise CcdError(f"{target} is there, and no result of ccd predict here.", hint)


@contextmanager
def writing(base: Path, targets: Collection[Path], overwrite: bool) -> Iterator[None]:
    """Within the block the files `targets` of results at `base` are written, the sidecar last.

    Raises CcdError as `refuse_foreign`, unless `overwrite` or where a run was killed in such a block.
    """
    mark = _mark(base)
    if not overwrite and not mark.exists():
        refuse_foreign(base, targets)
    write_text(mark, "")
    try:
        yield
    except Exception:  # whatever it is, it goes on; the mark stays where it tells whose the files are
        if not any(target.exists() for target in targets):
            mark.unlink(missing_ok=True)
        raise
    mark.unlink(missing_ok=True)


def _mark(base: Path) -> Path:
    """The file that is there while results at `base` are being written."""
    return base.parent / f".{base.name}.json.writing"


def settle(base: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return the new sidecar, sealed and with the checksums of its files, with what an earlier run made beside it settled.

    Damaged files of an earlier run are not listed. Raises CcdError where a file cannot be read.
    """
    checksums = {str(name): checksum(base.parent / str(name)) for name in content["files"].values()}
    old = read_sidecar(base)
    if old is not None and (SEAL not in old or is_sealed(old)):
        content = _merged(base, content, old)
        names = [name for name in content["files"].values() if name not in checksums]
        checksums |= {name: _recorded(base.parent / name, old) for name in names}
    return seal(content | {"checksums": checksums})


def _merged(base: Path, content: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Return `content` with what the sidecar `old` lists settled.

    Files that show the same map (`map` is alike) stay and are listed too; those of another model or photo are removed, as
    the sidecar no longer tells the truth about them.
    """
    new = set(content["files"].values())
    rest = {item: base.parent / str(name) for item, name in old["files"].items() if str(name) not in new}
    rest = {item: path for item, path in rest.items() if path.parent == base.parent and path.exists()}
    if old.get("map") is not None and old.get("map") == content.get("map"):
        rest = {item: path for item, path in rest.items() if is_intact(path, _recorded(path, old))}
        for item, path in rest.items():  # a cloud in another format than the new one stays beside it
            content["files"][f"{item}{path.suffix}" if item in content["files"] else item] = path.name
        if "png16" in rest:
            content |= {key: old.get(key) for key in ("scale", "offset")}
            if "video" in content:
                content["video"]["code_ranges"] = old.get("video", {}).get("code_ranges", [])
        if "cloud" in rest and "cloud" in old:
            content["cloud"] = old["cloud"]
        return content
    for path in rest.values():
        if path.is_dir():
            drop_frames(path)
        else:
            path.unlink(missing_ok=True)
    return content


def _recorded(path: Path, side: dict[str, Any]) -> Any:
    """What a sidecar says a file was; what the file is, where an earlier version wrote the sidecar."""
    return side["checksums"].get(path.name) if "checksums" in side else checksum(path)


def drop_frames(folder: Path, endings: Collection[str] = ()) -> None:
    """Remove numbered maps and clouds of frames from a video's folder (with `endings` those alone), and an empty folder."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _FRAME.fullmatch(path.name) and (not endings or path.suffix[1:] in endings):
                path.unlink(missing_ok=True)
        folder.rmdir()
