"""Convert the official archives of a set to the layout that is evaluated; existing files are skipped."""

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
from ccd_cli.prepare.archives import copy_item, list_items, open_items, read_some
from ccd_cli.prepare.plan import Job, plan

SAMPLED = ("kitti", "scannet")
"""Sets whose published split is a sample, specified only by a list file."""


@dataclass
class Prepared:
    """The result: the set's folder, numbers of files written and skipped, and the check against the published split."""

    folder: Path
    written: int = 0
    skipped: int = 0
    absent: list[str] = field(default_factory=list)
    """Listed files that are in none of the archives."""
    left_out: list[str] = field(default_factory=list)
    """Members of the archives that are no plain files: links, devices."""
    checked: Checked | None = None


def run(name: str, source: Path, data_root: Path, *, list_file: Path | None = None, report: Report) -> Prepared:
    """Convert the archives or folders below `source` into `data_root/NAME` and check the result.

    Raises UsageProblem for a set that cannot be prepared, and CcdError for missing or damaged archives and a full disk.
    """
    if name not in ZERO_SHOT:
        raise UsageProblem(f"There is nothing to prepare for '{name}'.", f"Sets: {', '.join(ZERO_SHOT)}.")
    if name == "nyuv2" and list_file is not None:
        raise UsageProblem("NYUv2's split comes from splits.mat, not from a list.", "Omit --list.")
    layout = LAYOUTS[name]
    folder = data_root / layout.folder
    if source.resolve() == folder.resolve():
        raise UsageProblem(f"{source} is where the set is written.", "Put the archives into another folder.")
    result = (
        _nyu(source, folder, report) if name == "nyuv2" else _archives(layout, source, data_root, list_file, report)
    )
    result.checked = check_set(open_layout(layout, data_root))
    return result


def _archives(layout: Layout, source: Path, data_root: Path, list_file: Path | None, report: Report) -> Prepared:
    name, folder = layout.spec.name, data_root / layout.folder
    chosen = list_file or find_list(layout, data_root)
    if chosen is None and name in SAMPLED:
        report.warn(
            f"The published split of {name} is a sample that its archives do not specify; without --list {layout.listing} "
            f"every matching image is taken."
        )
    left_out: list[str] = []
    jobs, absent = plan(layout, list_items(source, left_out), read_list(chosen, layout)[0] if chosen else None)
    pending = [job for job in jobs if not _finished(job, folder)]
    _check_space(folder, sum(job.item.size for job in pending), name)
    _write(pending, folder, f"preparing {name}", len(jobs), report)
    return Prepared(folder, len(pending), len(jobs) - len(pending), absent, left_out)


def _nyu(source: Path, folder: Path, report: Report) -> Prepared:
    with prepare_nyu.labeled(source) as file:
        frames = prepare_nyu.split_frames(source, file)
        _check_space(folder, len(frames) * prepare_nyu.BYTES, "nyuv2")
        written = prepare_nyu.write_frames(file, frames, folder, report)
    return Prepared(folder, written, 3 * len(frames) - written)


def _finished(job: Job, folder: Path) -> bool:
    """Whether the target exists (files are written atomically) and, for a plain copy, has the item's size."""
    target = folder / job.target
    return target.is_file() and (job.change is not None or target.stat().st_size == job.item.size)


def _write(pending: list[Job], folder: Path, what: str, total: int, report: Report) -> None:
    """Write one archive after the other, so that a compressed tar is read only once."""
    by_container: dict[Path, dict[str, Job]] = defaultdict(dict)
    for job in pending:
        by_container[job.item.container][job.item.name] = job
    done = total - len(pending)
    report.begin(what, total, done)
    try:
        for container, jobs in by_container.items():
            for name, file in open_items(container, jobs.keys()):
                _write_one(jobs[name], file, folder)
                done += 1
                report.advance(done)
    finally:
        report.end()


def _write_one(job: Job, file: IO[bytes], folder: Path) -> None:
    target, name = folder / job.target, job.item.name
    if job.change is None:
        copy_item(file, job.item.size, target, name)
        return
    converted = job.change(read_some(file, MAX_MEMBER, name), name)
    with atomic_write(target) as temporary:
        temporary.write_bytes(converted)


def _check_space(folder: Path, size: int, name: str) -> None:
    try:
        check_free_space(folder, size, f"Preparing {name}")
    except CcdError as error:
        raise CcdError(error.message, "Free some space or choose another folder with --data-root.") from error
