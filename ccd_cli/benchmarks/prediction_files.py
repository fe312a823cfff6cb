"""Maps that were predicted elsewhere, or by `ccd predict`: found by the names of a set's images, in any format of depth files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Benchmark, Prediction, Sample, Source
from ccd_cli.benchmarks.base import camera_at
from ccd_cli.benchmarks.own.files import file_fingerprint
from ccd_cli.core.errors import CcdError, ImageError, UsageProblem
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.media.depth_files.raw import read_raw
from ccd_cli.media.map_read import Meaning, by_sidecar, divisor, find_map
from ccd_cli.media.map_sidecar import read_sidecar_of, sidecar_of

ROUNDING, STRETCH = 8, 0.015
"""Pixels, and fraction of a side, by which it may differ from the image's shape: networks round to multiples of 14 or 16."""
NO_CROP = 0.9
"""A smaller map is taken for another size of the image below this scale alone; above, it may be a crop."""
SCALE_FLAG = "--prediction-scale"


class FileSource(Source):
    """Maps in `folder/<set>/...` under the names of the set's images; where only one set is scored, also in `folder/...`, with
    any number of leading folders left out, as `ccd predict` writes them.

    `kind` None: that of ccd's sidecars beside the maps, or meters where only a `scale` is given: what values are divided by.
    Raises CcdError without the folder, UsageProblem where sidecars contradict `kind`, `scale` or each other.
    """

    batch = 1

    def __init__(
        self, folder: Path, kind: Kind | None, sets: Sequence[Benchmark] = (), scale: float | None = None
    ) -> None:
        if not folder.is_dir():
            raise CcdError(f"--predictions {folder}: there is no such folder.")
        self.label = folder.resolve().name
        self.folder = folder
        self.notes: dict[str, None] = {}
        self._alone = len(sets) == 1
        self._places: dict[str, tuple[Path, int] | None] = {}
        self._several: dict[tuple[str, int], set[Path]] = {}
        self.scale = scale
        self.kind = _settled(kind, scale, {path for benchmark in sets for path in self._all(benchmark)})

    def facts(self) -> dict[str, Any]:
        """Return the kind, that these are files, and the scale that was given for them."""
        scale = {} if self.scale is None else {"scale": self.scale}
        return {"kind": self.kind, "predictions": str(self.folder)} | scale

    def why_not(self, benchmark: Benchmark) -> str:
        """Return that there is no folder for the set and no map of it; empty where there is."""
        there = (self.folder / benchmark.spec.name).is_dir() or self._place(benchmark) is not None
        return "" if there else "it has no folder for the set"

    def layout(self, benchmark: Benchmark) -> str:
        """Return where the map of the first image of a set would be, in words."""
        return str(self.folder / benchmark.spec.name / benchmark.prediction_names(0)[-1])

    def key(self, benchmark: Benchmark, index: int) -> str:
        """Return the size and time of the file and its sidecar, so that a prediction made anew is scored anew."""
        path = self._find(benchmark, index)
        if path is None:
            return "none"
        beside = file_fingerprint(sidecar_of(path))
        return file_fingerprint(path) + ("" if beside == "none" else f" {beside}")

    def prepare(self, benchmark: Benchmark, index: int) -> NDArray[np.float32]:
        """Read the map of one sample. Raises ImageError where there is none or it is damaged."""
        path = self._find(benchmark, index)
        if path is None:
            self._refuse_shared(benchmark, index)
            wanted = benchmark.prediction_names(index)
            others = f" (nor {', '.join(wanted[1:3])}, nor another format of depth)" if len(wanted) > 1 else ""
            raise ImageError(f"no prediction: there is no {self.folder / benchmark.spec.name / wanted[0]}{others}")
        return read_prediction(path, self.kind, self.scale, self.notes)

    def predict(
        self, benchmark: Benchmark, samples: Sequence[Sample], prepared: Sequence[NDArray[np.float32] | None]
    ) -> list[Prediction | CcdError]:
        """Return the maps that were read, of the image's size or of one that is resized to the ground truth's."""
        return [self._checked(benchmark, *pair) for pair in zip(samples, prepared, strict=True)]

    def _checked(
        self, benchmark: Benchmark, sample: Sample, values: NDArray[np.float32] | None
    ) -> Prediction | CcdError:
        assert values is not None
        infinite = np.isposinf(values)
        made = Prediction(values, self.kind, np.isfinite(values), infinite=infinite if infinite.any() else None)
        size, shape = sample.rgb.shape[:2], values.shape
        if shape in (size, sample.depth.shape):
            return made
        got, want = ("x".join(map(str, each[::-1])) for each in (shape, size))
        if not same_view(shape, size):
            return ImageError(
                f"the prediction is {got} pixels and the scored frame {want}: cropped or stretched, so it is not resized; "
                "make predictions at that size (KITTI: of the photo after its crop)"
            )
        self.notes[f"predictions of another size ({got} for {want}) are resized bilinearly to the ground truth"] = None
        return made if benchmark.spec.task == "depth" else resized(made, size)

    def _find(self, benchmark: Benchmark, index: int) -> Path | None:
        place = self._place(benchmark)
        return None if place is None else self._at(*place, benchmark, index)

    def _at(self, base: Path, depth: int, benchmark: Benchmark, index: int) -> Path | None:
        """The map of a sample below `base`, with `depth` leading folders of its name left out, unless it may be another's, too."""
        shared = self._shared(benchmark, depth)
        return _found(base, [stem for stem in _stems(benchmark, index, depth) if stem not in shared])

    def _shared(self, benchmark: Benchmark, depth: int) -> set[Path]:
        """The names without ending under which maps of several samples would lie."""
        key = benchmark.spec.name, depth
        if key not in self._several:
            names = Counter(stem for i in range(_count(benchmark)) for stem in set(_stems(benchmark, i, depth)))
            self._several[key] = {stem for stem, count in names.items() if count > 1}
        return self._several[key]

    def _refuse_shared(self, benchmark: Benchmark, index: int) -> None:
        """Raise ImageError where a map has a name that is that of several images."""
        if (place := self._place(benchmark)) is None:
            return
        base, depth = place
        stems = [stem for stem in _stems(benchmark, index, depth) if stem in self._shared(benchmark, depth)]
        if stems and (path := _found(base, stems)) is not None:
            own = PurePosixPath(benchmark.names()[index]).name
            raise ImageError(f"no prediction: {path} could be another image's; call it {own}{path.suffix}")

    def _place(self, benchmark: Benchmark) -> tuple[Path, int] | None:
        """Where the maps of a set lie: (folder, number of leading folders that their names leave out)."""
        name = benchmark.spec.name
        if name not in self._places:
            base = self.folder / name
            self._places[name] = self._searched(benchmark, base if base.is_dir() else self.folder)
        return self._places[name]

    def _searched(self, benchmark: Benchmark, base: Path) -> tuple[Path, int] | None:
        if base == self.folder and not self._alone:
            return None
        for depth in range(_folders(benchmark) + 1):
            firsts = [next(_stems(benchmark, i, depth), None) for i in range(_count(benchmark))]
            if len(set(firsts)) < len(firsts):  # two images would have one map
                break
            if any(self._at(base, depth, benchmark, i) for i in range(len(firsts))):
                return base, depth
        return (base, 0) if base != self.folder else None

    def _all(self, benchmark: Benchmark) -> Iterator[Path]:
        for index in range(_count(benchmark)):
            if (path := self._find(benchmark, index)) is not None:
                yield path


def read_prediction(
    path: Path, kind: Kind | None = None, scale: float | None = None, notes: dict[str, None] | None = None
) -> NDArray[np.float32]:
    """Return the predicted map float32 [H, W] of a file of depth, NaN where it is unknown; what was assumed goes into `notes`.

    Infinite depth in a file that has ccd's sidecar is sky that a student marks, and stays; others write it where they know nothing.
    Values are turned as ccd's sidecar says. Without one they are divided by `scale`, in meters or the unit of `kind`; whole
    numbers of a depth are unknown where they are 0, and for meters they need a scale. Raises ImageError for anything that is
    not one map of real numbers, is not what its sidecar recorded, or contradicts it.
    """
    meaning = Meaning(kind, scale, scale_flag=SCALE_FLAG)
    side, _ = read_sidecar_of(path)
    raw = read_raw(path)
    if raw.bits == 1:
        raise ImageError(f"{path}: not a map of numbers (a mask)")
    if raw.inverse and kind not in (None, "disparity"):
        raise ImageError(f"{path}: '{raw.name}' is a disparity by its name, which contradicts the kind '{kind}'")
    if side:
        _, values, valid = by_sidecar(path, raw, side, meaning)
    else:
        values = raw.values / np.float32(divisor(path, raw, kind, meaning))
        empty = raw.bits is not None and kind in ("depth", "metric")
        valid = raw.values != 0 if empty else np.isfinite(values)
        if notes is not None:
            notes.update(dict.fromkeys(raw.notes))
    sky = np.isposinf(raw.values) if side and raw.bits is None and side.get("kind") in ("depth", "metric") else None
    values = np.where(valid if raw.valid is None else valid & raw.valid, values, np.float32(np.nan))
    if sky is not None:
        values[sky] = np.inf
    if not np.isfinite(values).any():
        raise ImageError(f"{path}: holds no finite value")
    return values


def same_view(shape: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Tell whether a map (height, width) `shape` shows all of an image of `size` at another scale, up to what networks round.

    A map a little smaller than the image is refused: it may be a crop.
    """
    scale = float(np.sqrt(shape[0] * shape[1] / (size[0] * size[1])))
    fits = all(abs(a - scale * b) <= 1 + min(ROUNDING, STRETCH * a) for a, b in zip(shape, size, strict=True))
    return fits and (scale < NO_CROP or all(a >= b for a, b in zip(shape, size, strict=True)))


def resized(prediction: Prediction, size: tuple[int, ...]) -> Prediction:
    """Return a prediction at another (height, width) `size`: values bilinearly, its camera with them.

    A pixel that draws on an unknown one is unknown.
    """
    shape = prediction.values.shape
    if shape == size:
        return prediction
    known = np.where(prediction.known, prediction.values, np.float32("nan"))
    values = np.asarray(cv2.resize(known, dsize=(size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)
    camera = None if prediction.camera is None else camera_at(prediction.camera, shape, size)
    infinite = prediction.infinite
    if infinite is not None:
        mask = cv2.resize(infinite.astype(np.uint8), dsize=(size[1], size[0]), interpolation=cv2.INTER_NEAREST)
        infinite = np.asarray(mask, bool)
    known = np.isfinite(values) if infinite is None else np.isfinite(values) & ~infinite
    return replace(prediction, values=values, known=known, camera=camera, infinite=infinite)


def _settled(kind: Kind | None, scale: float | None, paths: set[Path]) -> Kind | None:
    """The kind of all predictions, by the flag, by ccd's sidecars, or meters by a scale alone.

    Raises UsageProblem where they disagree, and what is wrong with the sidecars where none can be read.
    """
    found: dict[Kind, Path] = {}
    damaged: list[ImageError] = []
    for path in sorted(paths):
        try:
            side, _ = read_sidecar_of(path, compare=False)
        except ImageError as error:  # said where the map is read
            damaged.append(error)
            continue
        if side.get("kind") in KINDS:
            found.setdefault(side["kind"], path)
        if side and scale not in (None, 1.0) and (side.get("scale") is not None or path.suffix.lower() != ".png"):
            raise UsageProblem(
                f"{SCALE_FLAG} {scale:g}: the sidecar of {path} says what its values are.", "Leave the option out."
            )
    for stored, path in found.items():
        if kind is not None and stored != kind:
            raise UsageProblem(
                f"--prediction-kind {kind}: the sidecar of {path} says '{stored}'.",
                "Leave the option out, or correct it.",
            )
    if len(found) > 1:
        raise UsageProblem(
            f"The predictions are of several kinds: {', '.join(f'{k} ({p})' for k, p in found.items())}.",
            "Score each kind from a folder of its own.",
        )
    if kind is None and damaged and len(damaged) == len(paths):
        raise damaged[0]
    return kind or next(iter(found), None if scale is None else "metric")


def _found(base: Path, stems: Sequence[Path]) -> Path | None:
    try:
        return find_map(base, stems) if stems else None
    except ImageError:
        return None


def _count(benchmark: Benchmark) -> int:
    return len(benchmark) if hasattr(benchmark, "__len__") else 1


def _folders(benchmark: Benchmark) -> int:
    """The largest number of folders in the names of a set's predictions."""
    return max(
        (len(PurePosixPath(benchmark.prediction_names(i)[0]).parts) - 1 for i in range(_count(benchmark))), default=0
    )


def _stems(benchmark: Benchmark, index: int, depth: int) -> Iterator[Path]:
    """The names of a sample's map without their ending, the likeliest first, also as `ccd predict` tells images apart."""
    for name in _names(benchmark, index):
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or depth >= len(relative.parts):
            continue
        yield Path(*relative.parts[depth:])


def _names(benchmark: Benchmark, index: int) -> Iterator[str]:
    yield from (name.removesuffix(".npy") for name in benchmark.prediction_names(index))
    if hasattr(benchmark, "names"):
        image = PurePosixPath(benchmark.names()[index])
        yield from (image.with_suffix("").as_posix(), image.as_posix())
