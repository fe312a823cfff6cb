"""The files of a user's own sets: found by globs, matched with each other, read as maps."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from glob import glob
from itertools import groupby
from pathlib import Path, PurePosixPath

import numpy as np

from ccd_cli.benchmarks.decode import FloatMap
from ccd_cli.core.errors import CcdError
from ccd_cli.media.depth_files.raw import read_raw

_PIECE, _WHOLE = 4096, 1 << 22


def match_files(root: Path, patterns: Mapping[str, str], pair: str) -> dict[str, list[str]]:
    """Return {key: files below `root`, relative to it} for {key: glob}, all of one length and in one order.

    `pair` is `order` (sorted files belong together) or `match` (what wildcards stand for must be the same text; every file of
    the first glob must find its partners). Raises CcdError where nothing is found or the numbers differ.
    """
    lists = {key: find(root, pattern) for key, pattern in patterns.items()}
    for key, names in lists.items():
        if not names:
            raise CcdError(f"nothing matches '{patterns[key]}' in {root}.")
    if pair == "match":
        return dict(zip(lists, _matched(list(patterns.values()), list(lists.values()), root), strict=True))
    if len({len(names) for names in lists.values()}) > 1:
        counts = ", ".join(f"{len(names)} match '{patterns[key]}'" for key, names in lists.items())
        raise CcdError(
            f"{counts} in {root}.", "Every glob must find the same number; or pair them by name: pair: match."
        )
    _check_folders(patterns, lists, root)
    return lists


def read_values(path: Path) -> FloatMap:
    """Return float32 [H, W] of a file of depth, labels or a mask in its own unit, NaN where it says so; raises ImageError."""
    raw = read_raw(path)
    return raw.values if raw.valid is None else np.where(raw.valid, raw.values, np.float32(np.nan))


def find(root: Path, pattern: str) -> list[str]:
    """Return the files below a folder that match a glob, relative to it, sorted: numbers in names count as numbers.

    Raises CcdError for names not in UTF-8.
    """
    found = (Path(text) for text in glob(str(Path(glob_escape(root)) / pattern), recursive=True))
    names = sorted((Path(os.path.relpath(path, root)).as_posix() for path in found if path.is_file()), key=in_numbers)
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise CcdError(f"{root} holds {name!a}, a name that is not UTF-8.", "Rename it.") from None
    return names


def in_numbers(name: str) -> tuple[list[str | int], str]:
    """Return texts and numbers of a name in turn, to sort by: frame 2 before frame 10."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", name))], name


def file_fingerprint(path: Path) -> str:
    """Return a file's size and time, `none` where there is none."""
    try:
        about = path.stat()
    except OSError:
        return "none"
    return f"{about.st_size} {about.st_mtime_ns}"


def sampled_hash(path: Path) -> str:
    """Return a sha256 over a file's size and content, `none` where it cannot be read.

    There may be very many. Of files that end in a checksum of what they hold the last 4 KiB are read, of others all of the first
    4 MiB and 64 pieces of the rest.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            made = hashlib.sha256(str(size).encode())
            sealed = path.suffix.lower() in (".png", ".npz")
            rest = range(_WHOLE, size, max(1, (size - _WHOLE) // 64))
            for start, length in [(size - _PIECE, _PIECE)] if sealed else [(0, _WHOLE), *((at, _PIECE) for at in rest)]:
                file.seek(max(0, start))
                made.update(file.read(length))
    except OSError:
        return "none"
    return made.hexdigest()


def glob_escape(root: Path) -> str:
    """Return a folder as a glob that means this folder alone."""
    return re.sub(r"([*?[])", r"[\1]", str(root))


def _matched(patterns: list[str], lists: list[list[str]], root: Path) -> list[list[str]]:
    """Return the lists cut to what all of them have, in one order; every photo must find its partners."""
    tables = [_by_wildcards(pattern, names) for pattern, names in zip(patterns, lists, strict=True)]
    lonely = [name for key, name in tables[0].items() if any(key not in table for table in tables[1:])]
    if lonely:
        _check_suffixes(patterns, tables, root)
        shown = ", ".join(lonely[:5]) + (", ..." if len(lonely) > 5 else "")
        raise CcdError(f"{len(lonely)} photos in {root} have no partner whose name matches: {shown}.")
    return [[table[key] for key in tables[0]] for table in tables]


def _check_folders(patterns: Mapping[str, str], lists: Mapping[str, list[str]], root: Path) -> None:
    """Raise CcdError where folders hold different numbers of files that go by their order: all between would be shifted.

    Folders are told apart by what the wildcards before the files' names stand for; globs with other wildcards are not compared.
    """
    folders = {key: PurePosixPath(pattern).parent.as_posix() for key, pattern in patterns.items()}
    wild = {key: re.findall(r"\*\*|\*|\?|\[[^]]+\]", folder) for key, folder in folders.items()}
    first = next(iter(patterns))
    for key in list(patterns)[1:]:
        if not wild[first] or wild[key] != wild[first]:
            continue
        counted = [_by_folder(folders[each], lists[each]) for each in (first, key)]
        for (here, one), (there, other) in zip(
            *counted, strict=True
        ):  # as many in all: a difference shows before an end
            if one != other:
                raise CcdError(
                    f"{root}: {here} holds {one} that match '{patterns[first]}', and {there} {other} that match '{patterns[key]}': "
                    "by their order, files of different folders would belong together.",
                    "Add or remove what is alone; or pair them by name: pair: match.",
                )


def _by_folder(pattern: str, names: Iterable[str]) -> list[tuple[str, int]]:
    """(folder of the first, number) of files in a row for which the wildcards of a folder's pattern stand for the same."""
    rule = re.compile(_expression(pattern))

    def stands_for(name: str) -> object:
        match = rule.fullmatch(PurePosixPath(name).parent.as_posix())
        return match and match.groups()

    rows = (list(found) for _, found in groupby(names, stands_for))
    return [(PurePosixPath(row[0]).parent.as_posix(), len(row)) for row in rows]


def _check_suffixes(patterns: list[str], tables: list[dict[tuple[str, ...], str]], root: Path) -> None:
    """Raise CcdError where wildcards stand for suffixes too, which differ, while the names without them match."""
    bare = [{_without_suffix(key, name): PurePosixPath(name).suffix for key, name in t.items()} for t in tables]
    if any(key not in table for table in bare[1:] for key in bare[0]):
        return
    found = "; ".join(f"'{p}': {', '.join(sorted(set(t.values())))}" for p, t in zip(patterns, bare, strict=True))
    raise CcdError(
        f"pair: match wants the same text behind all wildcards in {root}, and theirs are suffixes that differ ({found}).",
        "Write suffixes out; photos of several suffixes are several sets.",
    )


def _without_suffix(key: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return what wildcards stand for, without the suffix of the file's name where it is part of that."""
    suffix = PurePosixPath(name).suffix
    if key[-1] == suffix[1:]:
        return key[:-1]
    return (*key[:-1], key[-1].removesuffix(suffix))


def _by_wildcards(pattern: str, names: Iterable[str]) -> dict[tuple[str, ...], str]:
    rule = re.compile(_expression(pattern))
    table: dict[tuple[str, ...], str] = {}
    for name in names:
        match = rule.fullmatch(name)
        key = tuple(text or "" for text in match.groups()) if match else (name,)
        if key in table:
            raise CcdError(f"{table[key]} and {name} are the same to '{pattern}'.")
        table[key] = name
    return table


def _expression(pattern: str) -> str:
    """Return a glob as a regular expression in which every wildcard is a group."""
    pieces = {"**/": "(.*/)?", "**": "(.*)", "*": "([^/]*)", "?": "([^/])"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern)
    return "".join(
        pieces.get(part) or (f"({part.replace('[!', '[^')})" if part[:1] == "[" else re.escape(part)) for part in parts
    )
