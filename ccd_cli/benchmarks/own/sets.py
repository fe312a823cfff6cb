"""Sets of a user's own pairs, as a suite file describes them.

Ground truth of another size than its photo must have the photo's shape: predictions are resized to it when they are scored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks.base import Sample, Spec
from ccd_cli.benchmarks.decode import FloatMap, known
from ccd_cli.benchmarks.own.files import file_fingerprint, match_files, read_values
from ccd_cli.benchmarks.own.schema import EXTRAS, CustomSet
from ccd_cli.benchmarks.zero_shot import same_size
from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.paths import expand_home
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.geometry.kinds import Kind
from ccd_cli.media.depth_files.no_depth import has_depth
from ccd_cli.media.depth_files.plane import RawMap
from ccd_cli.media.depth_files.raw import read_raw
from ccd_cli.media.map_sidecar import read_sidecar_of
from ccd_cli.media.photos import read_photo

UNKNOWN_KEY = "`unknown: [VALUES]` in the suite file"
CROPPED = 2
"""Pixels by which sizes may not differ: so small a difference is a crop, and no other size of the same view."""


@dataclass(frozen=True)
class CustomBenchmark:
    """Photos below `root` with their ground truth and, where there are any, masks: paths relative to `root`."""

    rule: CustomSet
    root: Path
    files: list[tuple[str, str, str]]

    extras: dict[str, list[str]] = field(default_factory=dict)
    """Further maps of each photo by key (see EXTRAS): paths relative to `root`."""

    notes: dict[str, None] = field(default_factory=dict, compare=False)
    """What was assumed about the ground truth that was read so far."""

    @property
    def spec(self) -> Spec:
        """What the suite file says."""
        rule = self.rule
        return Spec(
            name=rule.name,
            title=rule.name,
            depth_range=rule.depth_range,
            resolution=rule.resolution,
            max_res=None,
            boundary=rule.boundary,
            points=rule.intrinsics is not None,
            metric=rule.metric,
            about=rule.about or f"{len(self.files)} pairs; {rule.min:g} < {self._value()} < {rule.max:g}",
            floor="image" if rule.cap is None else "range",
            extras=tuple(self.extras),
            bins=tuple(rule.bins),
            clouds=rule.clouds,
        )

    def __len__(self) -> int:
        return len(self.files)

    def names(self) -> list[str]:
        """Return the photos' paths below the root."""
        return [image for image, _, _ in self.files]

    def read(self, index: int) -> Sample:
        """Read one pair; raises ImageError for a damaged file, shapes that differ and ground truth without a valid pixel."""
        image = self.files[index][0]
        rgb = read_photo(self.root / image)
        depth, mask = self.ground_truth(index, (rgb.shape[0], rgb.shape[1]))
        edges, planes, segments = (self._extra(key, index, depth.shape) for key in EXTRAS)
        return Sample(
            image,
            rgb,
            depth,
            mask,
            self.camera,
            edges=None if edges is None else edges > 0,
            planes=planes,
            segments=segments,
        )

    def ground_truth(self, index: int, size: tuple[int, int]) -> tuple[FloatMap, NDArray[np.bool_]]:
        """Return (depth, pixels to score), both [h, w], of one photo of (height, width) `size`; raises ImageError as `read`."""
        name = self.files[index][1]
        read_sidecar_of(
            self.root / name
        )  # refuses a map of `ccd predict` that was damaged; the suite says what it means
        raw = read_raw(self.root / name)
        self._check_unit(raw, name)
        codes = raw.bits is not None
        listed = tuple(self.rule.unknown) if "unknown" in self.rule.model_fields_set else None
        kind: Kind = "metric" if codes or self.rule.kind == "depth" else "disparity"
        has, notes = has_depth(raw.values, kind, codes, listed)
        notes = [*raw.notes, *(note.replace("--no-depth VALUES or none", UNKNOWN_KEY) for note in notes)]
        self.notes.update(dict.fromkeys(notes))
        values = np.where(has if raw.valid is None else has & raw.valid, raw.values, np.float32(np.nan))
        self._same_view(values.shape, size, name)
        mask = self._valid(values) & self.allowed(index, (values.shape[0], values.shape[1]))
        if not mask.any():
            raise ImageError(
                f"{name}: no pixel between {self.rule.min:g} and {self.rule.max:g} is left to score; "
                "are `scale` (or `divisor`), `mask` and `crop` right?"
            )
        return self._depth(values), mask

    def allowed(self, index: int, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the pixels [h, w] of ground truth of `size` that crop and mask let through; raises ImageError for a bad mask."""
        rows, columns = self.rule.crop.rows or (None,), self.rule.crop.columns or (None,)
        inside = np.zeros(size, bool)
        inside[slice(*rows), slice(*columns)] = True
        if name := self.files[index][2]:
            mask = read_values(self.root / name)
            same_size(mask.shape, size, name)
            inside &= np.nan_to_num(mask) != 0
        return inside

    def fingerprint(self, index: int) -> str:
        """Return size and time of one photo's files, so that one that was made anew is scored anew."""
        names = [*self.files[index], *(files[index] for files in self.extras.values())]
        return " ".join(file_fingerprint(self.root / name) for name in names if name)

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

    def _value(self) -> str:
        if self.rule.kind == "depth":
            return "depth in meters"
        return "disparity in pixels" + ("" if self.rule.baseline else ", depth of unknown scale")

    def _check_unit(self, raw: RawMap, name: str) -> None:
        """Raise ImageError for whole numbers whose unit nobody said, and for an array whose name contradicts the kind."""
        said = self.rule.divisor is not None or "scale" in self.rule.model_fields_set
        if raw.bits == 1:
            raise ImageError(f"{name}: a mask, not a map of numbers")
        if (raw.bits is not None or raw.looks_like_codes) and self.rule.kind == "depth" and not said:
            raise ImageError(
                f"{name}: whole numbers of unknown unit; say `divisor: 1000` for millimeters in the suite file, or `scale: 1`"
            )
        if raw.inverse and self.rule.kind == "depth":
            raise ImageError(
                f"{name}: '{raw.name}' is a disparity by its name; say `kind: disparity` in the suite file"
            )

    def _same_view(self, shape: tuple[int, ...], size: tuple[int, int], name: str) -> None:
        """Raise ImageError for ground truth (height, width) that is no other size of a photo of `size`."""
        if shape == size:
            return
        if not same_aspect(shape, size):
            same_size(shape, size, name)
        if self.rule.kind == "disparity" and self.rule.baseline is not None and self.rule.focal is None:
            raise ImageError(
                f"{name}: is {shape[1]}x{shape[0]} pixels and its photo {size[1]}x{size[0]}, so the suite file must say "
                "`focal` in the pixels that the disparity counts"
            )

    def _extra(self, key: str, index: int, size: tuple[int, ...]) -> NDArray[np.int64] | None:
        """Return a label map [h, w] of one photo, None where the set has none. Raises ImageError."""
        if key not in self.extras:
            return None
        name = self.extras[key][index]
        values = read_values(self.root / name)
        same_size(values.shape, size, name)
        return np.asarray(np.nan_to_num(values), np.int64)

    def _valid(self, values: FloatMap) -> NDArray[np.bool_]:
        rule = self.rule
        scaled = known(values * np.float32(self._per_unit))
        return (scaled > rule.min) & (scaled < rule.max)

    def _depth(self, values: FloatMap) -> FloatMap:
        scaled = known(values * np.float32(self._per_unit))
        return scaled if self.rule.kind == "depth" else known((self.rule.reach / scaled).astype(np.float32))


def open_custom(rule: CustomSet, base: Path) -> CustomBenchmark:
    """Match the files of one set; `base` is the suite file's folder. Raises CcdError where nothing is found or matches."""
    root = base / expand_home(rule.root)
    if not root.is_dir():
        raise CcdError(f"no folder {root}.")
    keys = ["image", "depth", *(key for key in ("mask", *EXTRAS) if getattr(rule, key))]
    found = match_files(root, {key: getattr(rule, key) for key in keys}, rule.pair)
    masks = found.get("mask", [""] * len(found["image"]))
    extras = {key: found[key] for key in EXTRAS if key in found}
    return CustomBenchmark(rule, root, list(zip(found["image"], found["depth"], masks, strict=True)), extras)


def same_aspect(shape: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Return whether (height, width) `shape` is another size of the same view as `size`, up to rounding to whole pixels."""
    (height, width), (high, wide) = sorted((tuple(shape[:2]), tuple(size[:2])), key=lambda one: one[0] * one[1])
    if max(abs(height - high), abs(width - wide)) <= CROPPED:
        return False
    return abs(height - high * width / wide) < 1 or abs(width - wide * height / high) < 1
