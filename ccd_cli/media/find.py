"""What a user points at - files, folders, globs, lists - as photos, or as photos and videos with a place for results.

Hidden files and folders, and what ccd itself wrote, are nobody's photos.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from glob import glob  # the only one of the two that takes absolute patterns
from pathlib import Path

from ccd_cli.core.errors import CcdError
from ccd_cli.core.paths import expand_home
from ccd_cli.media.outputs import is_result
from ccd_cli.media.photos import SUFFIXES
from ccd_cli.media.video_read import SUFFIXES as VIDEO_SUFFIXES

LIST_SUFFIX = ".txt"
STANDARD_INPUT = "-"
MEDIA_SUFFIXES = SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True)
class Media:
    """A photo or video, and where its results go: `stem` is a path below the output folder, without a suffix."""

    path: Path
    stem: Path
    video: bool


def find_media(
    words: Iterable[str], lines: Iterable[str] = (), out: Path | None = None
) -> tuple[list[Media], list[tuple[str, str]]]:
    """Return (photos and videos in the order given, [(word, reason)] of what is none).

    A word is a file, a folder (all photos and videos below it, hidden ones left out, results mirrored), a glob, a `.txt`
    list (one path a line, relative to the list's folder), or `-` for the list `lines`. A file given by name, in whatever
    way, has its results directly in the output folder. A file that comes twice is taken once. No two stems are alike:
    files that would share one keep their suffix in it, and those that still do are numbered.

    Results of earlier runs are no inputs: what a sidecar lists, and everything in the folder `out` below a folder given.
    """
    found: dict[Path, Media] = {}
    bad: list[tuple[str, str]] = []
    results: list[tuple[str, str]] = []
    for word in words:
        new = _listed(lines, Path()) if word == STANDARD_INPUT else _expand(word, MEDIA_SUFFIXES, out)
        if not new:
            bad.append((word, "no photo or video there" if _exists(word) else "no such file or folder"))
        for path, stem in new:
            if is_result(path):
                results.append((str(path), "a result that ccd wrote, not a photo or video"))
                continue
            problem = _problem(path)
            if problem:
                bad.append((str(path), problem))
            else:
                video = path.suffix.lower() in VIDEO_SUFFIXES
                found.setdefault(_real(path), Media(path, stem.with_suffix(""), video))
    return _apart(list(found.values())), bad if found or bad else results


def list_photos(words: Iterable[str]) -> list[Path]:
    """Return the photos that `words` stand for (as of `find_media`, without videos), sorted, each path once.

    What is named, in a list too, need not be a photo by its name, and a list's files need not be there: whoever reads them
    finds out. Raises CcdError for a word that does not exist or under which nothing is found.
    """
    found: set[Path] = set()
    for word in words:
        new = [path for path, _ in _expand(word, SUFFIXES) if not is_result(path)]
        if not new and not _exists(word):
            raise CcdError(f"images: {word} does not exist.", "Give a folder of photos: --set images=DIR")
        if not new:
            kinds = " ".join(sorted(SUFFIXES))
            looked = f"Looked for {kinds} that ccd did not write"
            raise CcdError(f"images: no photos in {word}.", f"{looked}; give another folder: --set images=DIR")
        found.update(new)
    return sorted(found)


def _expand(word: str, suffixes: Collection[str], out: Path | None = None) -> list[tuple[Path, Path]]:
    """(path, place below the output folder) of everything that one word stands for, in the order of names.

    `suffixes` choose in folders and globs; files that are named, also in a list, are taken as they are.
    """
    try:
        path = expand_home(word)
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in suffixes]
            inside = [p for p in inside if not _hidden(p.relative_to(path)) and not p.is_dir()]
            if out is not None and path.resolve() in (results := out.resolve()).parents:
                inside = [p for p in inside if results not in p.resolve().parents]
            return [(p, p.relative_to(path)) for p in inside]
        if path.is_file() and path.suffix.lower() == LIST_SUFFIX:
            return _listed(list_lines(path.read_bytes()), path.parent)
        if path.is_file():
            return [(path, Path(path.name))]
        matches = [Path(p) for p in sorted(glob(str(path), recursive=True))]
    except (OSError, ValueError, RuntimeError):  # a name that is too long, has a null byte, or ~ of nobody
        return []
    return [(p, Path(p.name)) for p in matches if p.suffix.lower() in suffixes and not p.is_dir()]


def list_lines(content: bytes) -> list[str]:
    """Return the lines of a list of paths: UTF-8 or, as its first bytes tell, UTF-16; other names stay what they are."""
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = content.decode("utf-16", "replace") if utf16 else os.fsdecode(content.removeprefix(b"\xef\xbb\xbf"))
    return re.split(r"\r\n|\r|\n", text)


def _listed(lines: Iterable[str], folder: Path) -> list[tuple[Path, Path]]:
    names = [line.strip() for line in lines]
    paths = [folder / _home(name) for name in names if name and not name.startswith("#")]
    return [(path, Path(path.name)) for path in paths]


def _home(name: str) -> Path:
    """A path with its `~`, unless that is of nobody: editors end the names of copies in it."""
    return expand_home(name)


def _exists(word: str) -> bool:
    try:
        return word == STANDARD_INPUT or expand_home(word).exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _problem(path: Path) -> str:
    try:
        if not path.is_file():
            return "no such file"
    except (OSError, ValueError):
        return "no such file"
    return (
        "" if _is_media(path) else f"not a photo or video by its name (known: {' '.join(sorted(SUFFIXES))} and videos)"
    )


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in MEDIA_SUFFIXES


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _apart(media: Sequence[Media]) -> list[Media]:
    """Give every item a stem of its own; case is ignored, as some file systems do."""
    shared = Counter(_key(m.stem) for m in media)
    named = [m if shared[_key(m.stem)] == 1 else replace(m, stem=m.stem.with_name(m.path.name)) for m in media]
    taken: set[str] = set()
    result = []
    for item in named:
        stem, number = item.stem, 2
        while _key(stem) in taken:
            stem, number = item.stem.with_name(f"{item.stem.name}-{number}"), number + 1
        taken.add(_key(stem))
        result.append(replace(item, stem=stem))
    return result


def _key(stem: Path) -> str:
    return stem.as_posix().casefold()
