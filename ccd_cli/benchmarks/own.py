"""Sets of a user's own pairs, as a suite file describes them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks.base import Sample, Spec
from ccd_cli.benchmarks.decode import FloatMap, decode_npy, known, one_channel
from ccd_cli.benchmarks.members import MAX_MEMBER
from ccd_cli.benchmarks.own_rules import CustomSet, read_suite
from ccd_cli.benchmarks.zero_shot import same_size
from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.media.photos import read_photo

__all__ = ["CustomBenchmark", "file_fingerprint", "find", "open_custom", "read_suite"]


@dataclass(frozen=True)
class CustomBenchmark:
    """Photos below `root` with their ground truth and, where there are any, masks: paths relative to `root`."""

    rule: CustomSet
    root: Path
    files: list[tuple[str, str, str]]

    @property
    def spec(self) -> Spec:
        """What the suite file says."""
        rule = self.rule
        return Spec(
            name=rule.name,
            title=rule.name,
            depth_range=self._range(),
            resolution=rule.resolution,
            max_res=None,
            boundary=rule.boundary,
            points=rule.intrinsics is not None,
            metric=rule.kind == "depth" or rule.baseline is not None,
            about=rule.about or f"{len(self.files)} pairs; {rule.min:g} < {self._value()} < {rule.max:g}",
        )

    def __len__(self) -> int:
        return len(self.files)

    def names(self) -> list[str]:
        """Return the photos' paths below the root."""
        return [image for image, _, _ in self.files]

    def read(self, index: int) -> Sample:
        """Read one pair; raises ImageError for a damaged file, sizes that differ and ground truth without a valid pixel."""
        image = self.files[index][0]
        rgb = read_photo(self.root / image)
        depth, mask = self.ground_truth(index, (rgb.shape[0], rgb.shape[1]))
        return Sample(image, rgb, depth, mask, self.camera)

    def ground_truth(self, index: int, size: tuple[int, int]) -> tuple[FloatMap, NDArray[np.bool_]]:
        """Return (depth, pixels to score), both [H, W], of one photo of (height, width) `size`; raises ImageError as `read`."""
        name = self.files[index][1]
        values = read_values(self.root / name)
        same_size(values.shape, size, name)
        mask = self._valid(values) & self.allowed(index, size)
        if not mask.any():
            raise ImageError(f"{name}: no pixel between {self.rule.min:g} and {self.rule.max:g} is left to score")
        return self._depth(values), mask

    def allowed(self, index: int, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the pixels [H, W] that crop and mask of one photo let through; raises ImageError for a damaged mask."""
        rows, columns = self.rule.crop.rows or (None,), self.rule.crop.columns or (None,)
        inside = np.zeros(size, bool)
        inside[slice(*rows), slice(*columns)] = True
        if name := self.files[index][2]:
            mask = read_values(self.root / name)
            same_size(mask.shape, size, name)
            inside &= mask != 0
        return inside

    def fingerprint(self, index: int) -> str:
        """Return size and time of one photo's files, so that one that was made anew is scored anew."""
        return " ".join(file_fingerprint(self.root / name) for name in self.files[index] if name)

    @property
    def camera(self) -> Camera | None:
        """The camera that the suite file gives."""
        return Camera(*self.rule.intrinsics) if self.rule.intrinsics else None

    def prediction_names(self, index: int) -> list[str]:
        """Return `<folder>/pred_<name>.npy`, then the photo's own name as `.npy`."""
        path = PurePosixPath(self.files[index][0])
        return [(path.parent / f"pred_{path.stem}.npy").as_posix(), path.with_suffix(".npy").as_posix()]

    @property
    def _per_unit(self) -> float:
        return self.rule.scale if self.rule.divisor is None else 1.0 / self.rule.divisor

    @property
    def _reach(self) -> float:
        """Depth at a disparity of one pixel: meters where the baseline is known."""
        rule = self.rule
        if rule.baseline is None:
            return 1.0
        return rule.baseline * (rule.focal or (rule.intrinsics or [1.0])[0])

    def _value(self) -> str:
        if self.rule.kind == "depth":
            return "depth in meters"
        return "disparity in pixels" + ("" if self.rule.baseline else ", depth of unknown scale")

    def _range(self) -> tuple[float, float]:
        least, most = self.rule.min, self.rule.max
        if self.rule.kind == "depth":
            return least, most
        return self._reach / most, self._reach / least if least > 0 else float("inf")

    def _valid(self, values: FloatMap) -> NDArray[np.bool_]:
        rule = self.rule
        scaled = known(values * np.float32(self._per_unit))
        return (scaled > rule.min) & (scaled < rule.max) & ~np.isin(values, rule.unknown)

    def _depth(self, values: FloatMap) -> FloatMap:
        scaled = known(np.where(np.isin(values, self.rule.unknown), np.nan, values) * np.float32(self._per_unit))
        return scaled if self.rule.kind == "depth" else known((self._reach / scaled).astype(np.float32))


def open_custom(rule: CustomSet, base: Path) -> CustomBenchmark:
    """Match the files of one set; `base` is the suite file's folder. Raises CcdError where nothing is found or matches."""
    root = base / Path(rule.root).expanduser()
    if not root.is_dir():
        raise CcdError(f"no folder {root}.")
    patterns = [rule.image, rule.depth] + ([rule.mask] if rule.mask else [])
    lists = [find(root, pattern) for pattern in patterns]
    for pattern, names in zip(patterns, lists, strict=True):
        if not names:
            raise CcdError(f"nothing matches '{pattern}' in {root}.")
    if rule.pair == "match":
        lists = _matched(patterns, lists, root)
    elif len({len(names) for names in lists}) > 1:
        counts = ", ".join(f"{len(names)} match '{pattern}'" for pattern, names in zip(patterns, lists, strict=True))
        raise CcdError(
            f"{counts} in {root}.", "Every glob must find the same number; or pair them by name: pair: match."
        )
    columns = lists if rule.mask else [*lists, [""] * len(lists[0])]
    return CustomBenchmark(rule, root, list(zip(*columns, strict=True)))


def read_values(path: Path) -> FloatMap:
    """Return float32 [H, W] of a PNG, TIFF, PFM or `.npy` file in its own unit; raises ImageError."""
    try:
        if path.stat().st_size > MAX_MEMBER:
            raise ImageError(f"{path}: over the limit of {MAX_MEMBER:,} bytes")
        data = path.read_bytes()
        if path.suffix.lower() == ".npy":
            return one_channel(decode_npy(data, str(path)), str(path)).astype(np.float32)
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    except cv2.error as error:
        raise ImageError(f"{path}: not readable as a map") from error
    if values is None:
        raise ImageError(f"{path}: not readable as a map")
    return one_channel(values, str(path)).astype(np.float32)


def find(root: Path, pattern: str) -> list[str]:
    """Return the files below a folder that match a glob, sorted, relative to it. Raises CcdError for names not in UTF-8."""
    found = (Path(text) for text in glob(str(Path(glob_escape(root)) / pattern), recursive=True))
    names = sorted(Path(os.path.relpath(path, root)).as_posix() for path in found if path.is_file())
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise CcdError(f"{root} holds {name!a}, a name that is not UTF-8.", "Rename it.") from None
    return names


def file_fingerprint(path: Path) -> str:
    """Return a file's size and time, `none` where there is none."""
    try:
        about = path.stat()
    except OSError:
        return "none"
    return f"{about.st_size} {about.st_mtime_ns}"


def glob_escape(root: Path) -> str:
    """Return a folder as a glob that means this folder alone."""
    return re.sub(r"([*?[])", r"[\1]", str(root))


def _matched(patterns: list[str], lists: list[list[str]], root: Path) -> list[list[str]]:
    """Return the lists cut to what all of them have, in one order; every photo must find its partners."""
    tables = [_by_wildcards(pattern, names) for pattern, names in zip(patterns, lists, strict=True)]
    lonely = [name for key, name in tables[0].items() if any(key not in table for table in tables[1:])]
    if lonely:
        shown = ", ".join(lonely[:5]) + (", ..." if len(lonely) > 5 else "")
        raise CcdError(f"{len(lonely)} photos in {root} have no partner whose name matches: {shown}.")
    return [[table[key] for key in tables[0]] for table in tables]


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
