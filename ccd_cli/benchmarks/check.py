"""Is this the published split? Names, counts and a checksum over the sorted photo paths answer it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ccd_cli.benchmarks.base import Benchmark
from ccd_cli.benchmarks.clip import ClipBenchmark
from ccd_cli.benchmarks.da2k import PAIRS, PHOTOS, SCENES, Da2kSet
from ccd_cli.benchmarks.layouts import Layout
from ccd_cli.benchmarks.members import TarMembers
from ccd_cli.benchmarks.moge.bundle import MogeSet
from ccd_cli.benchmarks.own.doubts import LOOKED_AT, doubts, facts, look
from ccd_cli.benchmarks.own.sets import CustomBenchmark
from ccd_cli.benchmarks.suites import BUILTIN, SETS, SUITES, open_set, open_suite
from ccd_cli.benchmarks.zero_shot import ZeroShotSet
from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.report import Report

SHOWN = 5
_LEADING_FILES = re.compile(r"^(?:\S*[./]\S*: )+")
"""The files that a message begins with."""
MOGE_FILES = ("image.jpg", "depth.png", "meta.json")


@dataclass
class Checked:
    """What is known about one set: `good` is False where something is missing, damaged or not as published."""

    name: str
    place: str = ""
    found: int = 0
    published: int | None = None
    """Samples of the published set; None where nothing is published."""
    digest: str = ""
    """sha256 of the sorted photo paths joined by newlines."""
    proven: bool = False
    """Whether the digest is the published one."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    """What is odd about a user's own pairs: no problem for certain."""

    @property
    def good(self) -> bool:
        """Whether the set is whole and, where that can be told, the published one."""
        return not self.problems


def digest(names: Iterable[str]) -> str:
    """Return the sha256 of names, sorted and joined by newlines."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def check_suite(suite: str, data_root: Path, *, read: bool = False, report: Report | None = None) -> list[Checked]:
    """Check every set of a suite, one set by its name, or a YAML file of one's own pairs.

    `read` also decodes every sample. Raises UsageProblem for an unknown suite and RecipeError for a bad YAML file.
    """
    names = SUITES.get(suite, (suite,) if suite in SETS else ())
    if names:
        results = []
        for name in names:
            try:
                results.append(check_set(open_set(name, data_root), read=read, report=report))
            except CcdError as error:
                results.append(Checked(name, problems=[str(error)]))
        return results
    found, missing = open_suite(suite, data_root)
    checked = [check_set(benchmark, read=read, report=report) for benchmark in found]
    return checked + [Checked(name, problems=[reason]) for name, reason in missing]


def check_set(benchmark: Benchmark, *, read: bool = False, report: Report | None = None) -> Checked:
    """Check one set that was opened."""
    names = benchmark.names()
    result = Checked(benchmark.spec.name, found=len(names), digest=digest(names))
    if isinstance(benchmark, ZeroShotSet):
        _check_layout(benchmark, result)
    elif isinstance(benchmark, MogeSet):
        _check_moge(benchmark, result)
    elif isinstance(benchmark, Da2kSet):
        _check_da2k(benchmark, result)
    elif isinstance(benchmark, CustomBenchmark):
        result.place = str(benchmark.root)
    elif isinstance(benchmark, ClipBenchmark):
        result.place = str(benchmark.ground_truth.root)
    elif benchmark.spec.name == BUILTIN:
        result.place = "generated when it is read"
    if read:
        _check_reading(benchmark, result, report)
    return result


def _check_layout(benchmark: ZeroShotSet, result: Checked) -> None:
    layout, names = benchmark.layout, benchmark.names()
    spelled = _published_spelling(layout, names)
    result.place, result.published = str(benchmark.members.place), layout.count
    result.digest = digest(spelled)
    result.proven = result.digest == layout.digest
    if len(names) != layout.count:
        result.problems.append(f"{len(names)} samples, {layout.count} are published")
    for start, count in layout.groups:
        here = sum(name.startswith(start) for name in spelled)
        if here != count:
            result.problems.append(f"{here} of {count} below {start}")
    if len(set(names)) != len(names):
        result.problems.append(f"{len(names) - len(set(names))} samples are listed twice")
    if not result.proven and not result.problems:
        result.problems.append("the number is right and the photo paths are not those of the published set")
    _check_files(benchmark, result)


def _check_files(benchmark: ZeroShotSet, result: Checked) -> None:
    """Name what is listed and not there, and what is there and not used."""
    there = benchmark.members.names()
    if isinstance(benchmark.members, TarMembers) and (refused := benchmark.members.refused):
        few = _few([f"{name} ({why})" for name, why in refused.items()])
        result.notes.append(f"{len(refused)} members of the tar are skipped: {few}")
    if benchmark.unpaired:
        text = f"{len(benchmark.unpaired)} photos have no depth and drop out: {_few(benchmark.unpaired)}"
        (result.notes if benchmark.layout.depthless else result.problems).append(text)
    if benchmark.list_file is None:
        return
    wanted = [path for entry in benchmark.entries for path in (entry.rgb, entry.depth, entry.mask) if path]
    absent = [path for path in wanted if path not in there]
    if absent:
        result.problems.append(f"{len(absent)} files of {benchmark.list_file.name} are missing: {_few(absent)}")
    extra = sorted(_photos(benchmark.layout, there) - {entry.rgb for entry in benchmark.entries})
    if extra:
        result.notes.append(f"{len(extra)} photos are not in {benchmark.list_file.name} and not used: {_few(extra)}")


def _check_moge(benchmark: MogeSet, result: Checked) -> None:
    result.place, result.published = str(benchmark.members.place), benchmark.entry.count
    if result.found != benchmark.entry.count:
        result.problems.append(f"{result.found} samples, {benchmark.entry.count} are published")
    there = benchmark.members.names()
    wanted = (f"{folder}/{name}" for folder in benchmark.folders for name in MOGE_FILES)
    absent = [path for path in wanted if path not in there]
    if absent:
        result.problems.append(f"{len(absent)} files of the index are missing: {_few(absent)}")
    result.notes.append("no checksum of this set's names is published: the count alone was compared")


def _check_da2k(benchmark: Da2kSet, result: Checked) -> None:
    """Compare counts, which are all that is published, and name photos that are missing."""
    result.place, result.published = str(benchmark.root), PHOTOS
    scenes = benchmark.scenes()
    pairs = sum(count for _, count in scenes.values())
    if (result.found, pairs) != (PHOTOS, PAIRS):
        result.problems.append(f"{result.found} photos with {pairs} pairs, {PHOTOS} with {PAIRS} are published")
    if lacking := [scene for scene in SCENES if scene not in scenes]:
        result.problems.append(f"no photo of {', '.join(lacking)}")
    if absent := [name for name in benchmark.names() if not (benchmark.root / name).is_file()]:
        result.problems.append(f"{len(absent)} photos are missing: {_few(absent)}")
    result.notes.append("; ".join(f"{scene} {photos} photos, {n} pairs" for scene, (photos, n) in scenes.items()))
    result.notes.append("no checksum of this set is published: the counts alone were compared")


def _check_reading(benchmark: Benchmark, result: Checked, report: Report | None) -> None:
    """Decode every sample; a sample without a pixel to score is a problem as well."""
    names = benchmark.names()
    bad: dict[str, dict[str, str]] = {}  # by reason: {sample: whole message}
    if report:
        report.begin(f"reading {benchmark.spec.name}", len(names))
    try:
        for index, name in enumerate(names):
            if message := _unreadable(benchmark, index, name):
                bad.setdefault(_LEADING_FILES.sub("", message), {})[name] = message
            if report:
                report.advance(index + 1)
    finally:
        if report:
            report.end()
    for reason, samples in bad.items():
        if len(samples) == 1:
            result.problems.append(f"1 sample cannot be scored: {next(iter(samples.values()))}")
        else:
            result.problems.append(f"{len(samples)} samples cannot be scored: {reason}: {_few(samples)}")
    if isinstance(benchmark, CustomBenchmark):
        _look_at(benchmark, result, report)


def _look_at(benchmark: CustomBenchmark, result: Checked, report: Report | None) -> None:
    """Measure what the numbers are like, and say what is odd about them."""
    if report:
        report.begin(f"comparing edges of {benchmark.spec.name}", min(len(benchmark), LOOKED_AT))
    try:
        seen = look(benchmark, report.advance if report else lambda done: None)
    finally:
        if report:
            report.end()
    if said := facts(benchmark, seen):
        result.notes.append(said)
    result.doubts += doubts(benchmark, seen)


def _unreadable(benchmark: Benchmark, index: int, name: str) -> str:
    """Return why a sample cannot be scored, empty where it can."""
    try:
        sample = benchmark.read(index)
        scored = sample.mask.any() or sample.pairs is not None or sample.pose is not None
        return "" if scored else f"{name}: no pixel to score"
    except ImageError as error:
        return error.message


def _photos(layout: Layout, names: Collection[str]) -> set[str]:
    return {name for name in names if layout.photo.match(name)}


def _published_spelling(layout: Layout, names: Iterable[str]) -> list[str]:
    other, usual = layout.spelling
    return [usual + name.removeprefix(other) if other and name.startswith(other) else name for name in names]


def _few(names: Collection[str]) -> str:
    return ", ".join(list(names)[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
