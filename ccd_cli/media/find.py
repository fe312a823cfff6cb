"""What a user points at - files, folders, globs, lists - as photos, or as photos and videos with a place for results.

Hidden files and folders, and what ccd itself wrote, are nobody's photos.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from glob import glob, has_magic  # the only one of the two that takes absolute patterns
from pathlib import Path

from ccd_cli.core.errors import CcdError
from ccd_cli.core.paths import builtin_path, expand_home
from ccd_cli.media.formats import PICTURES, SUFFIXES, why_unread
from ccd_cli.media.not_read import NotRead
from ccd_cli.media.outputs import is_result, result_folder
from ccd_cli.media.video.read import SUFFIXES as VIDEO_SUFFIXES

LIST_SUFFIX = ".txt"
NAMED = 10
"""Names of a list that are missing and are given each; the rest is counted."""
STANDARD_INPUT = "-"
MISSING = "no such file"
MEDIA_SUFFIXES = SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True)
class Media:
    """A photo or video, and where its results go: `stem` is a path below the output folder, without a suffix."""

    path: Path
    stem: Path
    video: bool


def find_media(
    words: Iterable[str], lines: Iterable[str] = (), out: Path | None = None, not_read: NotRead | None = None
) -> tuple[list[Media], list[tuple[str, str]]]:
    """Return (photos and videos in the order given, [(word, reason)] of what is none).

    `not_read` takes what was found in folders and by globs and is passed over: pictures of formats that are not read here,
    and folders that hold a run or labels.

    A word is a file, a folder (all photos and videos below it, hidden ones left out, results mirrored), a glob, a `.txt`
    list (one path a line, relative to the list's folder), `builtin:photos` or `builtin:photos/NAME` (what ships with ccd), or `-`
    for the list `lines`. A file given by name, in whatever
    way, has its results directly in the output folder. A file that comes twice is taken once. No two stems are alike:
    files that would share one keep their suffix in it, and those that still do are numbered.

    Results of earlier runs are no inputs: what a sidecar lists, and everything in the folder `out` below a folder given.
    """
    found: dict[Path, Media] = {}
    bad: list[tuple[str, str]] = []
    results: list[tuple[str, str]] = []
    not_read = NotRead() if not_read is None else not_read
    for word in words:
        here = NotRead()
        new = _listed(lines, Path()) if word == STANDARD_INPUT else _expand(word, MEDIA_SUFFIXES, here, out)
        not_read.add(here)
        if not new:
            what = f"no photo or video there{here.because()}" if _exists(word) or here else "no such file or folder"
            bad.append((word, what))
        problems: list[tuple[str, str]] = []
        for path, stem in new:
            if is_result(path):
                results.append((str(path), "a result that ccd wrote, not a photo or video"))
                continue
            problem = _problem(path)
            if problem:
                problems.append((str(path), problem))
            else:
                video = path.suffix.lower() in VIDEO_SUFFIXES
                found.setdefault(_real(path), Media(path, stem.with_suffix(""), video))
        bad += _first_ones(word, problems)
    return _apart(list(found.values())), bad if found or bad else results


def _first_ones(word: str, problems: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The problems of one word's files, those that are missing named up to NAMED and then counted."""
    missing = [each for each in problems if each[1] == MISSING]
    if len(missing) <= NAMED:
        return problems
    others = [each for each in problems if each[1] != MISSING]
    return [*others, *missing[:NAMED], (word, f"{len(missing) - NAMED:,} more of its {len(missing):,} missing files")]


def list_photos(words: Iterable[str], not_read: NotRead | None = None) -> list[Path]:
    """Return the photos that `words` stand for (as of `find_media`, without videos), sorted, each path once.

    What is named, in a list too, need not be a photo by its name, and a list's files need not be there: whoever reads them
    finds out. Raises CcdError for a word that does not exist or under which nothing is found.
    """
    found: set[Path] = set()
    not_read = NotRead() if not_read is None else not_read
    for word in words:
        here = NotRead()
        new = [path for path, _ in _expand(word, SUFFIXES, here) if not is_result(path)]
        not_read.add(here)
        if not new and not here and not _exists(word):
            raise CcdError(f"images: {word} does not exist.", "Give a folder of photos: --set images=DIR")
        if not new:
            kinds = " ".join(sorted(SUFFIXES))
            looked = f"Looked for {kinds} that ccd did not write"
            raise CcdError(
                f"images: no photos in {word}{here.because()}.", f"{looked}; give another folder: --set images=DIR"
            )
        found.update(new)
    return sorted(found)


def not_read_below(words: Iterable[str]) -> NotRead:
    """Return what `list_photos` passes over, also where it finds no photo."""
    not_read = NotRead()
    with suppress(CcdError):
        list_photos(words, not_read)
    return not_read


def _expand(
    word: str, suffixes: Collection[str], not_read: NotRead, out: Path | None = None
) -> list[tuple[Path, Path]]:
    """(path, place below the output folder) of everything that one word stands for, in the order of names.

    `suffixes` choose in folders and globs; files that are named, also in a list, are taken as they are.
    """
    try:
        path = expand_home(builtin_path(word))
        if path.is_dir():
            inside = _below(path, not_read)
            if out is not None and path.resolve() in (results := out.resolve()).parents:
                inside = [p for p in inside if results not in p.resolve().parents]
            return [(p, p.relative_to(path)) for p in not_read.choose(inside, suffixes)]
        if path.is_file() and path.suffix.lower() == LIST_SUFFIX:
            return _listed(list_lines(path.read_bytes()), path.parent)
        if path.is_file():
            return [(path, Path(path.name))]
        matches = [Path(p) for p in sorted(glob(str(path), recursive=True))]
        matches = [p for p in matches if not _in_results(p, path, not_read) and not p.is_dir()]
    except (OSError, ValueError, RuntimeError):  # a name that is too long, has a null byte, or ~ of nobody
        return []
    return [(p, Path(p.name)) for p in not_read.choose(matches, suffixes)]


def _below(folder: Path, not_read: NotRead) -> list[Path]:
    """All files below a folder in the order of their paths, without those that are hidden or lie in a result folder."""
    found = []
    for root, folders, names in os.walk(folder):
        if made := result_folder(Path(root), names):
            not_read.folders[Path(root)] = made
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _in_results(path: Path, pattern: Path, not_read: NotRead) -> bool:
    """Whether a match of a glob lies in a result folder that the pattern does not spell out."""
    spelled = next((i for i, part in enumerate(pattern.parts) if has_magic(part)), len(pattern.parts))
    for folder in list(path.parents)[: max(0, len(path.parts) - spelled - 1)]:
        if folder not in not_read.looked_into:
            names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
            not_read.looked_into[folder] = result_folder(folder, names)
        if made := not_read.looked_into[folder]:
            not_read.folders[folder] = made
            return True
    return False


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
        return word == STANDARD_INPUT or expand_home(builtin_path(word)).exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _problem(path: Path) -> str:
    try:
        if not path.is_file():
            return MISSING
    except (OSError, ValueError):
        return MISSING
    suffix = path.suffix.lower()
    if suffix in MEDIA_SUFFIXES:
        return ""
    if suffix in PICTURES:
        return why_unread(suffix)
    return f"not a photo or video by its name (known: {' '.join(sorted(SUFFIXES))} and videos)"


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
