"""What was pulled: `$CCD_HOME/teachers/lock.json`, and the folders it tells about."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import TeacherError
from ccd_cli.core.files import disk_error, write_json
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.core.parse import parse_json
from ccd_cli.core.paths import builtin_folder, cache_folder
from ccd_cli.core.report import Report
from ccd_cli.models.files import sha256_file
from ccd_cli.teachers.card import NAME, Card
from ccd_cli.teachers.paths import weights_path
from ccd_cli.teachers.registry import all_cards, card

VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """One file as it was when it was verified; `digest` is the hub's own: a sha256, or a git blob's sha1."""

    sha256: str
    size: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One pulled teacher."""

    repo: str
    revision: str  # commit of `repo`
    license: str
    commercial: bool
    date: str  # UTC, ISO 8601
    files: dict[str, LockedFile]  # by path inside the teacher's folder
    also: dict[str, str] = field(default_factory=dict)  # further repositories and their commits


class DamagedLock(TeacherError):
    """lock.json is no record of this version of ccd; pulling makes it anew."""


def teachers_folder() -> Path:
    """Return the folder of all pulled teachers."""
    return cache_folder() / "teachers"


def partial(name: str) -> Path:
    """Return the folder of what is not complete yet of one teacher."""
    return teachers_folder() / ".partial" / name


def installed_at(card: Card) -> Path:
    """Return where a teacher's weights are, or belong: a file, or a folder for whole repositories."""
    if card.adapter == "builtin":
        return builtin_folder() / card.file
    return weights_path(card)


def is_pulled(card: Card) -> bool:
    """Return whether a teacher's weights are on this machine (present, not verified); a damaged lock.json tells nothing."""
    path = installed_at(card)
    if path.is_dir():
        entry = None if lock_problem() else entries().get(card.name)
        return all((path / place).is_file() for place in entry.files) if entry else any(path.iterdir())
    return path.is_file()


def check_sizes(card: Card) -> None:
    """Raise `TeacherError` where files of a downloaded teacher are missing or of another size than recorded."""
    entry = entries().get(card.name) if card.path is None and weights_path(card).exists() else None
    if entry is not None:
        paths = {place: teachers_folder() / card.name / place for place in entry.files}
        sizes = {place: path.stat().st_size for place, path in paths.items() if path.is_file()}
        _refuse(card, [place for place, file in entry.files.items() if sizes.get(place) != file.size])


def check_hashes(card: Card, hashes: dict[str, str]) -> None:
    """Raise `TeacherError` where files of a downloaded teacher, given as {place: sha256}, are not what was recorded."""
    entry = entries().get(card.name) if card.path is None else None
    if entry is not None:
        _refuse(card, [place for place, file in entry.files.items() if hashes.get(place, file.sha256) != file.sha256])


def _refuse(card: Card, wrong: list[str]) -> None:
    if wrong:
        consent = "" if card.commercial else " --allow-noncommercial"
        raise TeacherError(
            f"The weights of {card.name} are damaged: not what was downloaded is {teachers_folder() / card.name / wrong[0]}"
            f"{f' and {len(wrong) - 1} more' if wrong[1:] else ''}.",
            f"Download them again with: ccd teachers pull {card.name}{consent}",
        )


def entries() -> dict[str, Locked]:
    """Return what lock.json says; {} where there is none. `DamagedLock`, or `TeacherError` for one of another version."""
    path = _lock()
    try:
        plain = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    try:
        if plain["version"] != VERSION:
            raise TeacherError(
                f"{path} cannot be read (version {plain['version']}, and this is {VERSION}).",
                f"Update ccd; if no newer one wrote it, remove it. {_again()}",
            )
        if strange := [name for name in plain["teachers"] if not NAME.fullmatch(name)]:
            raise ValueError(strange[0])
        return {name: _locked(entry) for name, entry in plain["teachers"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def record(name: str, entry: Locked | None) -> None:
    """Write one teacher's entry (None: take it out), whole or not at all, beside whatever other processes write."""
    with exclusive_lock(teachers_folder() / ".lock.json.lock", "", wait=lambda: None):
        known = entries()
        known.pop(name, None)
        if entry:
            known[name] = entry
        teachers = {key: asdict(value) for key, value in sorted(known.items())}
        write_json(_lock(), {"version": VERSION, "teachers": teachers})


def lock_problem() -> str:
    """Return what is wrong with lock.json and what to do about it, "" where nothing is."""
    try:
        entries()
    except TeacherError as error:
        return str(error)
    return ""


def set_damaged_aside(pulled: Collection[str], report: Report) -> None:
    """Rename a damaged lock.json, so that a pull of the names `pulled` can record anew; says what has no record then.

    `CcdError` where it cannot be renamed, `TeacherError` for one of another version.
    """
    with exclusive_lock(teachers_folder() / ".lock.json.lock", "", wait=lambda: None):
        try:
            entries()
        except DamagedLock:
            aside = _lock().with_name("lock.json.damaged")
            try:
                _lock().replace(aside)
            except OSError as error:
                raise disk_error(error, aside) from error
            report.warn(f"{_lock()} was damaged and is now {aside.name}; a new record is begun.")
            if rest := [name for name in _present() if name not in pulled]:
                report.warn(
                    f"Models without a record, not compared when they are loaded: {', '.join(rest)}. {_again(rest)}"
                )


@contextmanager
def holding(name: str, report: Report) -> Iterator[None]:
    """Be the only process that changes teacher `name`; waits, and says so, where another one does."""
    note = f"Another ccd is busy with {name}: waiting for it."
    with exclusive_lock(teachers_folder() / ".locks" / f"{name}.lock", note, wait=lambda: report.note(note)):
        yield


def differences(name: str, entry: Locked) -> list[str]:
    """Hash a teacher's files again; return one line for each that is not what the lock says."""
    found = []
    for place, locked in entry.files.items():
        path = teachers_folder() / name / place
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size != locked.size:
            found.append(f"{path} has {path.stat().st_size} bytes, not {locked.size}")
        elif (sha256 := sha256_file(path)) != locked.sha256:
            found.append(f"{path} has the sha256 {sha256[:12]}..., not {locked.sha256[:12]}...")
    return found


def placed_by_hand() -> dict[str, Path]:
    """Return the models of the catalog whose weights are here and in no entry of the lock: {name: file or folder}."""
    recorded = entries()
    found = {}
    for one in all_cards().values():
        if one.repo and one.name not in recorded and is_pulled(one):
            found[one.name] = installed_at(one)
    return found


def remove(name: str, report: Report) -> int:
    """Delete a teacher's files, complete and partial, and its entry; return how many bytes were freed.

    `TeacherError` for a name that is no teacher's, and where there is nothing of it.
    """
    if name not in entries():
        card(name)
        if not NAME.fullmatch(name):
            raise TeacherError(f"{name} ships with ccd: there is nothing to remove.")
    folder, parts = teachers_folder() / name, partial(name)
    with holding(name, report):
        if not folder.exists() and not parts.exists() and name not in entries():
            raise TeacherError(f"{name} is not pulled: there is nothing to remove.")
        freed = sum(file.stat().st_size for top in (folder, parts) for file in top.rglob("*") if file.is_file())
        if folder.exists():
            parts.mkdir(parents=True, exist_ok=True)
            folder.rename(parts / f"removed-{os.getpid()}")
        record(name, None)
        if parts.exists():
            shutil.rmtree(parts)
    return freed


def _locked(plain: dict[str, Any]) -> Locked:
    files = {place: LockedFile(**values) for place, values in plain["files"].items()}
    for place, file in files.items():
        longest = max(map(len, Path(place).parts), default=0)
        if (
            place.startswith("/")
            or ".." in Path(place).parts
            or "\0" in place
            or longest > 200
            or not _SHA256.fullmatch(file.sha256)
        ):
            raise ValueError(place)
    return Locked(**{**plain, "files": files})


def _lock() -> Path:
    return teachers_folder() / "lock.json"


def _present() -> list[str]:
    """Downloadable teachers that have a folder here."""
    return [name for name, one in all_cards().items() if one.repo and (teachers_folder() / name).is_dir()]


def _again(names: Collection[str] | None = None) -> str:
    """The command that verifies and records teachers, of None: all that are here."""
    names = _present() if names is None else names
    consent = "" if all(all_cards()[name].commercial for name in names) else " --allow-noncommercial"
    what = f"Verify and record them again with: ccd teachers pull {' '.join(names)}{consent}"
    return f"{what} (complete files are not downloaded twice)" if names else "No model is downloaded here: remove it."


def _damaged(path: Path, error: Exception) -> DamagedLock:
    return DamagedLock(f"{path} cannot be read ({type(error).__name__}: {str(error)[:80]}).", _again())
