"""A user's own pairs as training images: opened from suite files, split into what trains and what validates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from filecmp import cmp
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from ccd_cli.benchmarks.own.files import sampled_hash
from ccd_cli.benchmarks.own.sets import CustomBenchmark
from ccd_cli.benchmarks.suites import open_pairs
from ccd_cli.config.pairs import Pairs, Sensor, Split
from ccd_cli.core.errors import CcdError, ImageError, RecipeError, UsageProblem
from ccd_cli.core.parse import read_text
from ccd_cli.core.paths import expand_home
from ccd_cli.data.sensor import without_edges, without_seen_past
from ccd_cli.data.truth import MeasuredTruth
from ccd_cli.media.photos import read_photo

SHOWN = 3


@dataclass(frozen=True)
class PairSource:
    """Images with ground truth, by number: those of several sets, some of them more than once. See `data.truth.Pairs`."""

    sets: list[CustomBenchmark]
    order: list[tuple[int, int]]
    """(set, index in it) of each number."""
    sensors: list[Sensor] = field(default_factory=list)
    """What is left out of each set's measurements; [] of none."""

    @cached_property
    def paths(self) -> list[Path]:
        """Return the files of the images."""
        return [self.sets[place].root / self.sets[place].files[index][0] for place, index in self.order]

    @cached_property
    def names(self) -> list[Path]:
        """Return what each pair is called: its image, and its ground truth where the image has another one as well."""
        files = [(self.sets[place].root, *self.sets[place].files[index][:2]) for place, index in self.order]
        truths: dict[Path, set[Path]] = {}
        for path, (root, _, truth) in zip(self.paths, files, strict=True):
            truths.setdefault(path, set()).add(root / truth)
        return [
            path if len(truths[path]) == 1 else Path(f"{path} ({root / truth})")
            for path, (root, _, truth) in zip(self.paths, files, strict=True)
        ]

    @property
    def metric(self) -> bool:
        """Whether all of the ground truth is in meters."""
        return all(self.sets[place].rule.metric for place in {place for place, _ in self.order})

    def read(self, number: int) -> tuple[np.ndarray, MeasuredTruth]:
        """Return (uint8 RGB (H,W,3), its truth); raises ImageError, as `CustomBenchmark.read`."""
        rgb = read_photo(self.paths[number])
        return rgb, self.truth(number, (rgb.shape[0], rgb.shape[1]))

    def truth(self, number: int, shape: tuple[int, int]) -> MeasuredTruth:
        """Return the truth of an image of (height, width) `shape`; raises ImageError, as `CustomBenchmark.ground_truth`."""
        place, index = self.order[number]
        benchmark = self.sets[place]
        known, mask = benchmark.ground_truth(index, shape)
        depth = np.where(mask, known, np.float32(np.nan)).astype(np.float32)
        if self.sensors:
            sensor = self.sensors[place]
            depth = without_edges(without_seen_past(depth, sensor.seen_past), sensor.edges)
            if not np.isfinite(depth).any():
                raise ImageError(
                    f"{self.sets[place].files[index][1]}: `sensor` leaves no pixel of it; are `edges` and `seen_past` too wide?"
                )
        focal = benchmark.camera.fx if benchmark.camera else None
        return MeasuredTruth(depth, shape, benchmark.rule.metric, focal)

    def part(self, numbers: Sequence[int]) -> PairSource:
        """Return some of them, numbered anew in that order; of their sets it holds the files of these alone."""
        chosen = [self.order[number] for number in numbers]
        kept: dict[int, dict[int, int]] = {}  # by set: the new place of each index
        for place, index in chosen:
            places = kept.setdefault(place, {})
            places.setdefault(index, len(places))
        new = {place: i for i, place in enumerate(kept)}
        return PairSource(
            [_part(self.sets[place], list(places)) for place, places in kept.items()],
            [(new[place], kept[place][index]) for place, index in chosen],
            [self.sensors[place] for place in kept] if self.sensors else [],
        )

    @cached_property
    def digest(self) -> str:
        """Return a sha256 over the pairs, the `sampled_hash` of the files of their ground truth, and what its numbers mean."""
        rules = [benchmark.rule.model_dump_json() for benchmark in self.sets]
        names = [f"{place} {self.sets[place].files[index]}" for place, index in self.order]
        cut = [sensor.model_dump_json() for sensor in self.sensors]
        contents = contents_of((self.sets[place], index) for place, index in self.order)
        return hashlib.sha256("\n".join([*rules, *names, *cut, *contents]).encode(errors="surrogateescape")).hexdigest()


@dataclass(frozen=True)
class OpenPairs:
    """What a recipe's pairs are: those that train, and the sets that validate (none where nothing is held out)."""

    train: PairSource
    validation: list[CustomBenchmark]

    def doubts(self, split: Split) -> list[str]:
        """Return what is odd about the split, as sentences: more held out than was asked for, because folders are large."""
        held, train = sum(len(one) for one in self.validation), len(set(self.train.order))
        if split.images or not held or held <= 2 * max(1.0, split.fraction * (held + train)):
            return []
        return [
            f"images.pairs.validation: {held} of {held + train} images are held out (fraction: {split.fraction:g}): no folder is "
            "smaller, and frames of one clip stay together. If yours are none, say `by: image`; or name some in `images`."
        ]


def open_training_pairs(section: Pairs, seed: int) -> OpenPairs:
    """Open the pairs of a recipe and split them.

    Raises RecipeError with the problems of all files at once, UsageProblem for a split that leaves a side empty or that would put
    frames of one folder on both.
    """
    sets: list[CustomBenchmark] = []
    repeats: list[int] = []
    sensors: list[Sensor] = []
    problems: list[tuple[str, str]] = []
    for number, each in enumerate(section.files):
        try:
            found = [one for one in open_pairs(expand_home(each.file)) if isinstance(one, CustomBenchmark)]
        except RecipeError as error:
            problems += [(f"images.pairs.files.{number} ({each.file}): {key}", text) for key, text in error.problems]
        except CcdError as error:
            problems.append((f"images.pairs.files.{number} ({each.file})", str(error)))
        else:
            sets += found
            repeats += [each.repeat] * len(found)
            sensors += [each.sensor] * len(found)
    if problems:
        raise RecipeError("images.pairs", problems)
    held = held_out(sets, section.validation, seed)
    train = [
        (place, index)
        for place, benchmark in enumerate(sets)
        for index in range(len(benchmark))
        for _ in range(repeats[place])
        if (place, index) not in held
    ]
    if not train:
        raise UsageProblem("images.pairs.validation: every image validates and none trains.", "Hold out fewer.")
    kept = [
        [index for index in range(len(benchmark)) if (place, index) in held] for place, benchmark in enumerate(sets)
    ]
    validation = [_part(benchmark, indices) for benchmark, indices in zip(sets, kept, strict=True) if indices]
    source = PairSource(sets, train, sensors)
    check_apart(source.paths, [each.root / files[0] for each in validation for files in each.files])
    return OpenPairs(source, validation)


def held_out(sets: Sequence[CustomBenchmark], split: Split, seed: int) -> set[tuple[int, int]]:
    """Return the (set, index) pairs that validate; a pure function of the names of sets and images and the seed, wherever the data
    lies.

    Groups (folders or single images) go by the hash of their names, each that brings the number of images nearer to the fraction;
    the smallest one where none does. Raises UsageProblem where folders cannot be told apart, or a name in the list matches nothing.
    """
    names = {(place, index): name for place, one in enumerate(sets) for index, name in enumerate(one.names())}
    if split.images:
        return _listed(names, split.images)
    if not split.fraction:
        return set()
    called = _called(sets)
    places: dict[tuple[int, str], Path] = {}  # by set and folder in it: the folder itself
    groups: dict[Path, list[tuple[int, int]]] = {}
    titles: dict[Path, tuple[str, str]] = {}  # what a group is called: the same wherever the data lies
    for key, name in names.items():
        pure = PurePosixPath(name)
        where = (key[0], pure.parent.as_posix())
        if where not in places:
            places[where] = (sets[key[0]].root / where[1]).resolve()
        group = places[where] / pure.name if split.by == "image" else places[where]
        title = (name if split.by == "image" else where[1], called[key[0]])
        groups.setdefault(group, []).append(key)
        titles[group] = min(titles.get(group, title), title)
    if len(groups) < 2:
        one = "image" if split.by == "image" else "folder"
        raise UsageProblem(
            f"images.pairs.validation: all images lie in one {one}, so {split.fraction:g} of them cannot be held out by {one}.",
            "If they are not frames of one clip, say `by: image`; else name what validates in `images`, or give eval.pairs.",
        )
    ranked = sorted(  # names that are the same twice go by the order of the files
        groups, key=lambda group: hashlib.sha256(f"{seed} {' '.join(titles[group])}".encode()).digest()
    )
    wanted, chosen = split.fraction * len(names), set[tuple[int, int]]()
    for group in ranked:
        after = len(chosen) + len(groups[group])
        if abs(after - wanted) <= abs(len(chosen) - wanted) and after < len(names):  # one trains in any case
            chosen |= set(groups[group])
    return chosen or set(groups[min(ranked, key=lambda group: len(groups[group]))])


def _called(sets: Sequence[CustomBenchmark]) -> list[str]:
    """What the root of each set is called: the first name, by the alphabet, of those with that root."""
    roots = [one.root.resolve() for one in sets]
    names: dict[Path, str] = {}
    for one, root in zip(sets, roots, strict=True):
        names[root] = min(names.get(root, one.rule.name), one.rule.name)
    return [names[root] for root in roots]


def contents_of(pairs: Iterable[tuple[CustomBenchmark, int]]) -> list[str]:
    """Return the `sampled_hash` of each file that pairs take their ground truth from: depth, mask and maps beside it."""
    files: dict[Path, None] = {}
    for benchmark, index in pairs:
        beside = [names[index] for names in benchmark.extras.values()]
        files |= dict.fromkeys(benchmark.root / name for name in (*benchmark.files[index][1:], *beside) if name)
    with ThreadPoolExecutor(16) as pool:  # a shared file system answers many at once
        return list(pool.map(sampled_hash, files))


def check_apart(train: Sequence[Path], validation: Sequence[Path]) -> None:
    """Raise UsageProblem where images validate that are trained on too: the same file, or a copy of it under another name.

    Only files of one size that agree in their middle are read whole: uncompressed images all have one size.
    """
    trained = {path.resolve(): path for path in train if path.exists()}
    held = {path: path.stat().st_size for path in dict.fromkeys(validation) if path.exists()}
    sizes = set(held.values())
    alike: dict[tuple[int, bytes], list[Path]] = {}
    for path in trained.values():
        if (size := path.stat().st_size) in sizes and (middle := _middle(path)) is not None:
            alike.setdefault((size, middle), []).append(path)
    both: list[str] = []
    for path, size in held.items():
        if path.resolve() in trained:
            both.append(str(path))
        elif (middle := _middle(path)) is not None:
            twins = (other for other in alike.get((size, middle), ()) if cmp(path, other, shallow=False))
            both += [f"{path} (a copy of {twin})" for twin in islice(twins, 1)]
    if both:
        shown = ", ".join(both[:SHOWN]) + (", ..." if len(both) > SHOWN else "")
        raise UsageProblem(
            f"{len(both)} images validate and are trained on: {shown}.",
            "Scores on them say nothing. Take them out of one of the two.",
        )


def _middle(path: Path) -> bytes | None:
    """A few bytes from the middle of a file; None where it cannot be read, which training names."""
    try:
        with path.open("rb") as file:
            file.seek(path.stat().st_size // 2)
            return file.read(64)
    except OSError:
        return None


def _listed(names: dict[tuple[int, int], str], wanted: Sequence[str]) -> set[tuple[int, int]]:
    """The images that globs, folders or lists of them name; UsageProblem for a word that names none."""
    words: list[str] = []
    for word in wanted:
        if word.endswith(".txt"):
            lines = read_text(expand_home(word)).splitlines()
            words += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        else:
            words.append(word)
    chosen: set[tuple[int, int]] = set()
    for word in words:
        plain = word.rstrip("/")
        found = {key for key, name in names.items() if fnmatchcase(name, word) or name.startswith(f"{plain}/")}
        if not found:
            raise UsageProblem(
                f"images.pairs.validation.images: '{word}' names none of the {len(names)} images.",
                f"Their names are like {next(iter(names.values()))}.",
            )
        chosen |= found
    return chosen


def _part(benchmark: CustomBenchmark, indices: list[int]) -> CustomBenchmark:
    """The set with some of its samples."""
    extras = {key: [files[index] for index in indices] for key, files in benchmark.extras.items()}
    return replace(benchmark, files=[benchmark.files[index] for index in indices], extras=extras)
