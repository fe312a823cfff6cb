"""Download teachers: what appears in a teacher's folder is complete and is what the hub says, or it does not appear."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ccd_cli.core.errors import CcdError, TeacherError
from ccd_cli.core.report import Report
from ccd_cli.teachers.card import Card
from ccd_cli.teachers.download.hub import HubUnreachable, RemoteFile, download, is_offline, remote_files, verify
from ccd_cli.teachers.download.lock import (
    Locked,
    LockedFile,
    differences,
    entries,
    holding,
    installed_at,
    is_pulled,
    partial,
    record,
    set_damaged_aside,
    teachers_folder,
)
from ccd_cli.teachers.registry import card

__all__ = ["HubUnreachable", "Outcome", "ensure", "pull"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one name of a pull."""

    name: str
    status: Literal["pulled", "already there", "failed"]
    error: CcdError | None = None


def ensure(name: str, report: Report) -> Path:
    """Return the weights of catalog teacher `name`, pulling them on first use where their license lets anyone.

    Raises `HubUnreachable` where there is no network (or this run is offline), `TeacherError` for everything else.
    """
    found = card(name)
    if not is_pulled(found):
        (outcome,) = pull([name], report)
        if outcome.error:
            raise outcome.error
    return installed_at(found)


def pull(
    names: Iterable[str], report: Report, allow_noncommercial: bool = False, offline: bool = False
) -> list[Outcome]:
    """Download, verify and record the teachers `names`; one that fails does not keep the others from it.

    Raises `CcdError` before anything is downloaded where the disk is too small for what is missing.
    """
    outcomes: dict[str, Outcome] = {}
    plans: dict[str, list[RemoteFile]] = {}
    names, silent = list(dict.fromkeys(names)), False
    for name in names:
        try:
            found = card(name)
            _check_license(found, allow_noncommercial)
            if not found.repo:
                _check_local(found)
                report.note(f"{name}: nothing to pull, it is at {installed_at(found)}.")
                outcomes[name] = Outcome(name=name, status="already there")
            elif offline or is_offline():
                outcomes[name] = _offline(found, report)
            elif silent:
                raise HubUnreachable(f"{name} was not asked for: the hub cannot be reached.")
            else:
                plans[name] = remote_files(found)
        except CcdError as error:
            silent = silent or isinstance(error, HubUnreachable)
            outcomes[name] = Outcome(name=name, status="failed", error=error)
    _check_space(plans)
    if plans:
        set_damaged_aside(plans, report)
    for name, files in plans.items():
        try:
            with holding(name, report):
                changed = _fetch(card(name), files, report)
            outcomes[name] = Outcome(name=name, status="pulled" if changed else "already there")
        except CcdError as error:
            outcomes[name] = Outcome(name=name, status="failed", error=error)
    return [outcomes[name] for name in names]


def _check_license(found: Card, allowed: bool) -> None:
    if found.commercial or allowed:
        return
    unknown = found.commercial_use == "unknown"
    why = "which ccd does not know" if unknown else "which forbids commercial use"
    why = f"disputed: {found.disputed}" if found.disputed else why
    raise TeacherError(
        f"{found.name} is under {found.license} ({found.license_url}), {why}.",
        "To take it all the same, add --allow-noncommercial; a student made with it carries this license.",
    )


def _check_local(found: Card) -> None:
    if found.adapter != "plugin" and not installed_at(found).is_file():
        raise TeacherError(f"{found.name}: there is no file {installed_at(found)}.")


def _offline(found: Card, report: Report) -> Outcome:
    """What an offline pull can do: look whether the teacher is there and as it was recorded."""
    if not is_pulled(found):
        raise HubUnreachable(f"{found.name} is not on this machine, and this run is offline.", "Pull it once online.")
    entry = entries().get(found.name)
    if entry and (wrong := differences(found.name, entry)):
        raise TeacherError(f"{found.name} is damaged: {'; '.join(wrong)}.", "Pull it again online.")
    report.note(f"{found.name}: existing files are used{'' if entry else ', though never verified'} (offline).")
    return Outcome(name=found.name, status="already there")


def _check_space(plans: dict[str, list[RemoteFile]]) -> None:
    """Raise `CcdError` where the files that are missing, by their sizes, are more than the disk has free."""
    need = 0
    for name, files in plans.items():
        for file in files:
            here = (teachers_folder() / name / file.place, partial(name) / "tree" / file.place)
            if not any(path.is_file() and path.stat().st_size == file.size for path in here):
                part = _part(name, file)
                need += file.size - min(file.size, part.stat().st_size if part.is_file() else 0)
    folder = teachers_folder().absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if need > free:
        raise CcdError(
            f"This takes {need / 1e6:,.1f} MB in {folder}, and {free / 1e6:,.1f} MB are free there.",
            "Free some space, pull fewer, or set CCD_HOME to a folder on a larger disk.",
        )


def _fetch(found: Card, files: list[RemoteFile], report: Report) -> bool:
    """Bring one teacher's folder to what the hub offers; return whether anything had to be downloaded."""
    name, folder, tree = found.name, teachers_folder() / found.name, partial(found.name) / "tree"
    _tidy(name, files)
    entry = entries().get(name)
    known = {file.place: sha256 for file in files if (sha256 := verify(file, folder / file.place))}
    missing = [file for file in files if file.place not in known]
    if not missing:
        _record(found, files, known)
        report.note(f"{name}: existing files verified ({_short(files[0].revision)}).")
        return False
    if entry:
        for line in _changes(entry, files, missing):
            report.note(f"{name}: {line}")
    for file in missing:
        known[file.place] = _one(found, file, tree / file.place, report)
    _put_in_place(name, entry, known, {file.place for file in missing})
    _record(found, files, known)
    size = sum(file.size for file in missing)
    report.note(f"{name}: {size / 1e6:,.1f} MB verified, {found.license}; it is at {installed_at(found)}.")
    return True


def _tidy(name: str, files: list[RemoteFile]) -> None:
    """Bring back a folder that a killed swap took away, and drop staged files that no longer belong."""
    folder, old, tree = teachers_folder() / name, partial(name) / "old", partial(name) / "tree"
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)
    for path in [path for path in tree.rglob("*") if path.is_file()]:
        if path.relative_to(tree).as_posix() not in {file.place for file in files}:
            path.unlink()


def _part(name: str, file: RemoteFile) -> Path:
    """Where the beginning of a file waits for the rest; by content, so that two revisions never mix."""
    return partial(name) / "parts" / file.digest


def _one(found: Card, file: RemoteFile, target: Path, report: Report) -> str:
    """Download and verify one file; return its sha256. What is not what the hub says is deleted."""
    if sha256 := verify(file, target):  # an earlier run came this far
        return sha256
    part = _part(found.name, file)
    report.begin(f"{found.name}: {file.path}", total=file.size, done=part.stat().st_size if part.is_file() else 0)
    try:
        download(file, part, lambda done: report.advance(done))
    finally:
        report.end()
    sha256 = verify(file, part)
    if sha256 is None:
        part.unlink()
        raise TeacherError(
            f"{file.path} of {file.repo} did not arrive as the hub describes it (checksum {_short(file.digest)}...); "
            "it was deleted.",
            "Pull again; if that does not help, the hub or mirror in HF_ENDPOINT serves something else.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)
    return sha256


def _put_in_place(name: str, entry: Locked | None, known: dict[str, str], fresh: set[str]) -> None:
    """Complete the staged folder with what stays of the one in place, and put it there in one rename."""
    folder, old, tree = teachers_folder() / name, partial(name) / "old", partial(name) / "tree"
    if folder.exists():
        outdated = set(entry.files) - set(known) if entry else set()
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            place = path.relative_to(folder).as_posix()
            if place not in outdated | fresh:  # verified, or the user's own
                _link(path, tree / place)
        folder.rename(old)
    tree.rename(folder)
    shutil.rmtree(partial(name))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _changes(entry: Locked, files: list[RemoteFile], missing: list[RemoteFile]) -> list[str]:
    """What differs between what was pulled before and what the hub offers now."""
    now = files[0].revision
    lines = [f"revision {_short(entry.revision)} is now {_short(now)}"] if now != entry.revision else []
    for file in missing:
        before = entry.files.get(file.place)
        if before is None:
            lines.append(f"{file.place} is new ({file.size} bytes)")
        elif before.digest == file.digest:
            lines.append(f"{file.place} is missing or damaged here: fetching it again")
        else:
            lines.append(
                f"{file.place} changed: {_short(before.digest)} ({before.size} bytes) is now "
                f"{_short(file.digest)} ({file.size} bytes)"
            )
    return lines + [f"{place} is gone" for place in entry.files if place not in {file.place for file in files}]


def _record(found: Card, files: list[RemoteFile], known: dict[str, str]) -> None:
    entry = Locked(
        repo=found.repo,
        revision=files[0].revision,
        license=found.effective_license,
        commercial=found.commercial,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        files={f.place: LockedFile(sha256=known[f.place], size=f.size, digest=f.digest) for f in files},
        also={file.repo: file.revision for file in files if file.repo != found.repo},
    )
    before = entries().get(found.name)
    if before is None or _undated(before) != _undated(entry):
        record(found.name, entry)


def _undated(entry: Locked) -> tuple[object, ...]:
    return (entry.repo, entry.revision, entry.license, entry.commercial, entry.files, entry.also)


def _short(digest: str) -> str:
    return digest[:12]
