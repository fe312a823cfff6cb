"""What the shards of an evaluation (`--shard`) keep, each in a folder of its own, and how a run without --shard takes it over."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ccd_cli.core.files import disk_error
from ccd_cli.core.shard import Shard
from ccd_cli.evaluate.store import read_book, write_book

SHARDS = "shards"
PICTURES, MAPS = "pictures", "maps"


def place_of(folder: Path, shard: Shard | None) -> Path:
    """Return where a process keeps the scores of a source: in the source's folder, or as a shard in one of its own there."""
    return folder if shard is None else folder / SHARDS / shard.name


def other_books(folder: Path, name: str, shard: Shard) -> list[Path]:
    """Return the books of a set that other processes write or wrote; a shard only reads them."""
    own = place_of(folder, shard)
    places = [folder, *(place for place in sorted((folder / SHARDS).glob("*")) if place != own)]
    return [book for place in places if (book := _book(place, name)).is_file()]


def take_over(folder: Path, name: str, fingerprints: Sequence[str], overwrite: bool) -> None:
    """Move what shards found out about a set into the source's folder; with `overwrite` it is removed.

    Killed at any moment, it loses nothing: figures are moved first, scores are copied, and a shard's are removed last. Raises
    CcdError where the disk does not allow it.
    """
    places = sorted(place for place in (folder / SHARDS).glob("*") if place.is_dir())
    if not places:
        return
    try:
        if not overwrite:
            book = _book(folder, name)
            records = read_book(book, fingerprints)
            for place in places:
                new = {i: r for i, r in read_book(_book(place, name), fingerprints).items() if i not in records}
                _move_figures(place / PICTURES / name, folder / PICTURES / name, {f"{i:05d}" for i in new})
                records |= new
                kept = folder / MAPS / name
                if (place / MAPS / name).is_dir() and not kept.exists():  # of a clip whose shard did not end
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    (place / MAPS / name).rename(kept)
            write_book(book, records)
        for place in places:
            _book(place, name).unlink(missing_ok=True)
            shutil.rmtree(place / PICTURES / name, ignore_errors=True)
            shutil.rmtree(place / MAPS / name, ignore_errors=True)
            for empty in (place / PICTURES, place / MAPS, place, folder / SHARDS):
                with suppress(OSError):
                    empty.rmdir()
    except OSError as error:
        raise disk_error(error, folder) from error


def _book(place: Path, name: str) -> Path:
    return place / f"{name}.jsonl"


def _move_figures(source: Path, target: Path, numbers: set[str]) -> None:
    """Move the figures of these samples, numbered as `Gallery` does."""
    for path in source.glob("*.jpg") if numbers else ():
        if path.name.partition("-")[0] in numbers:
            target.mkdir(parents=True, exist_ok=True)
            path.replace(target / path.name)
