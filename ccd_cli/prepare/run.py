"""Turn the official archives of a set into the layout that is evaluated; what is finished is kept and not done again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ccd_cli.benchmarks.check import Checked, check_set
from ccd_cli.benchmarks.layouts import LAYOUTS, ZERO_SHOT, Layout
from ccd_cli.benchmarks.members import MAX_MEMBER
from ccd_cli.benchmarks.zero_shot import find_list, open_layout, read_list
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.files import atomic_write, check_free_space
from ccd_cli.core.report import Report
from ccd_cli.prepare import nyu as prepare_nyu
from ccd_cli.prepare.archives import copy_item, list_items, open_items
from ccd_cli.prepare.plan import Job, plan

SAMPLED = ("kitti", "scannet")
"""Sets whose published split is a sample that only a list file tells."""


@dataclass
class Prepared:
    """What was done: files written and kept, and whether the set is now the published one."""

    place: Path
    written: int = 0
    kept: int = 0
    absent: list[str] = field(default_factory=list)
    """Listed files that are in none of the archives."""
    checked: Checked | None = None


def run(name: str, source: Path, data_root: Path, *, list_file: Path | None = None, report: Report) -> Prepared:
    """Convert the archives or folders below `source` into `data_root/NAME` and check the result.

    Raises UsageProblem for a set that cannot be prepared, and CcdError for missing or damaged archives and a full disk.
    """
    if name not in ZERO_SHOT:
        raise UsageProblem(f"There is nothing to prepare for '{name}'.", f"Sets: {', '.join(ZERO_SHOT)}.")
    if name == "nyuv2" and list_file is not None:
        raise UsageProblem("NYUv2's split comes from splits.mat, not from a list.", "Leave --list out.")
    layout = LAYOUTS[name]
    place = data_root / layout.folder
    if source.resolve() == place.resolve():
        raise UsageProblem(f"{source} is where the set is written.", "Put the archives elsewhere.")
    result = _nyu(source, place, report) if name == "nyuv2" else _archives(layout, source, data_root, list_file, report)
    result.checked = check_set(open_layout(layout, data_root))
    return result


def _archives(layout: Layout, source: Path, data_root: Path, list_file: Path | None, report: Report) -> Prepared:
    name, place = layout.spec.name, data_root / layout.folder
    chosen = list_file or find_list(layout, data_root)
    if chosen is None and name in SAMPLED:
        report.warn(
            f"The published split of {name} is a sample that its archives do not tell; without --list {layout.listing} "
            f"every fitting photo is taken."
        )
    jobs, absent = plan(layout, list_items(source), read_list(chosen, layout)[0] if chosen else None)
    todo = [job for job in jobs if not _finished(job, place)]
    _need_space(place, sum(job.item.size for job in todo), name)
    _write(todo, place, f"preparing {name}", len(jobs), report)
    return Prepared(place, len(todo), len(jobs) - len(todo), absent)


def _nyu(source: Path, place: Path, report: Report) -> Prepared:
    with prepare_nyu.labeled(source) as file:
        frames = prepare_nyu.split_frames(source, file)
        _need_space(place, len(frames) * prepare_nyu.BYTES, "nyuv2")
        written = prepare_nyu.write_frames(file, frames, place, report)
    return Prepared(place, written, 3 * len(frames) - written)


def _finished(job: Job, place: Path) -> bool:
    """Files are whole or absent, so one that is there is finished; a copy must also have its size."""
    target = place / job.target
    return target.is_file() and (job.change is not None or target.stat().st_size == job.item.size)


def _write(todo: list[Job], place: Path, what: str, total: int, report: Report) -> None:
    """Write container after container, so that a compressed tar is read through once."""
    by_container: dict[Path, dict[str, Job]] = defaultdict(dict)
    for job in todo:
        by_container[job.item.container][job.item.name] = job
    done = total - len(todo)
    report.begin(what, total, done)
    try:
        for container, jobs in by_container.items():
            for name, file in open_items(container, jobs.keys()):
                _write_one(jobs[name], file, place)
                done += 1
                report.advance(done)
    finally:
        report.end()


def _write_one(job: Job, file: IO[bytes], place: Path) -> None:
    target, name = place / job.target, job.item.name
    if job.change is None:
        copy_item(file, job.item.size, target, name)
        return
    changed = job.change(file.read(MAX_MEMBER), name)
    with atomic_write(target) as temporary:
        temporary.write_bytes(changed)


def _need_space(place: Path, size: int, name: str) -> None:
    try:
        check_free_space(place, size, f"Preparing {name}")
    except CcdError as error:
        raise CcdError(error.message, "Free some space or choose another folder with --data-root.") from error
