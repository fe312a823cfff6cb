"""What a benchmark is: a numbered set of photos with true depth, read under the rules of its protocol; and what is scored on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.alignment import Floor, Limits

Task = Literal["depth", "pairs", "clip"]
"""What is scored: depth maps; which point of a pair is closer; the maps of a clip together."""


@dataclass(frozen=True)
class Sample:
    """One photo and its ground truth, of the same view. Maps are [h, w]: the photo's size, or in sets of a user's own another
    size of the same shape, to which predictions are resized."""

    name: str
    """Path of the RGB inside the set, as published."""
    rgb: NDArray[np.uint8]
    """[H, W, 3], as the network gets it (KITTI: after the KB crop)."""
    depth: NDArray[np.float32]
    """[h, w] meters, or of unknown scale where the set has none; NaN where unknown (everywhere in a set without depth).
    Disparity is already inverted."""
    mask: NDArray[np.bool_]
    """[h, w] pixels that are scored; depth is finite there."""
    camera: Camera | None = None
    """Intrinsics in pixels of `rgb`, where the set has them."""
    pairs: NDArray[np.int64] | None = None
    """[N, 2, 2] (row, column) of the closer and the farther point of every pair, where that is what is scored."""
    group: str = ""
    """What the photo shows, in sets that are also scored by part (DA-2K's scene type)."""
    pose: NDArray[np.float64] | None = None
    """[4, 4] camera to world, in the unit of the depth, for frames of a clip."""
    compared: NDArray[np.bool_] | None = None
    """[H, W] pixels of a frame that other frames are compared with, with or without a true depth; None: all."""
    edges: NDArray[np.bool_] | None = None
    """[h, w] where true depth edges are, in sets that know them."""
    planes: NDArray[np.int64] | None = None
    """[h, w] which true plane a pixel belongs to; 0: none."""
    segments: NDArray[np.int64] | None = None
    """[h, w] which object a pixel belongs to; 0: none."""

    @property
    def depth_camera(self) -> Camera | None:
        """Return the camera in pixels of `depth`."""
        return None if self.camera is None else camera_at(self.camera, self.rgb.shape[:2], self.depth.shape[:2])


@dataclass(frozen=True)
class Spec:
    """What a protocol says about a set."""

    name: str
    """Short name, which is also its folder's."""
    title: str
    """Name for tables."""
    depth_range: tuple[float, float]
    """(least, largest) depth to which aligned predictions are clipped; the largest may be infinite."""
    resolution: int | None
    """Longer side in pixels at which the protocol runs a model; None: the model's own."""
    max_res: int | None
    """`alignment_max_res` of the protocol: the fit sees a subsampled map; None: every pixel."""
    boundary: bool
    """Whether the truth is sharp enough for boundary scores."""
    about: str
    """The protocol in words: crop, mask, range."""
    task: Task = "depth"
    """What is scored."""
    points: bool = False
    """Whether points are scored too: the set knows its cameras."""
    metric: bool = True
    """Whether its depth is in meters."""
    floor: Floor = "published"
    """Smallest disparity after a fit in 1 / depth (see `Limits`)."""
    extras: tuple[str, ...] = ()
    """What else samples carry and is scored: `edges`, `planes`, `segments`."""
    bins: tuple[float, ...] = ()
    """Rising depths in meters between ranges whose errors are scored by themselves."""
    clouds: bool = False
    """Whether Chamfer distance and F-score are scored."""

    def limits(self, max_res: int | None = None) -> Limits:
        """Return what the set says about a fit; `max_res`: the columns that the fit sees."""
        return Limits(self.depth_range, max_res, self.floor)


def camera_at(camera: Camera, size: tuple[int, ...], other: tuple[int, ...]) -> Camera:
    """Return the camera of a photo of (height, width) `size` for the same view at the size `other`."""
    if size == other:
        return camera
    down, across = other[0] / size[0], other[1] / size[1]
    return Camera(camera.fx * across, camera.fy * down, camera.cx * across, camera.cy * down)


def spread(count: int, limit: int | None) -> list[int]:
    """Return `limit` indices spread evenly over `count` samples, or all."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


class Benchmark(Protocol):
    """A numbered set of samples."""

    @property
    def spec(self) -> Spec:
        """What the protocol says."""

    def __len__(self) -> int: ...

    def names(self) -> list[str]:
        """Return the name of every sample, in order."""

    def read(self, index: int) -> Sample:
        """Read one sample; safe from several threads. Raises ImageError for a damaged or missing member."""

    def fingerprint(self, index: int) -> str:
        """Return what tells the truth of a sample from an earlier one of the same name and rules; empty where it cannot change."""
        ...

    def prediction_names(self, index: int) -> list[str]:
        """Return paths below `DIR/<set>/` where a prediction of this sample may lie, the likeliest first."""


@dataclass(frozen=True)
class Prediction:
    """A map [H, W] to be scored, of `kind` (None: not told). `known` False: the model says that it does not know. `camera`: what
    the model took it for. `infinite`: where it says that depth is infinite (sky; not among the known), None: nowhere.
    """

    values: NDArray[np.float32]
    kind: Kind | None
    known: NDArray[np.bool_]
    camera: Camera | None = None
    infinite: NDArray[np.bool_] | None = None

    @property
    def told(self) -> NDArray[np.float32]:
        """The values [H, W], NaN where it does not know and infinite where it says so."""
        values = np.where(self.known, self.values, np.float32("nan"))
        if self.infinite is not None:
            values[self.infinite] = np.inf
        return values


class Source(Protocol):
    """Something whose maps are scored. `label` is its name in tables, `kind` None where nobody said it.

    What has a body here holds for a network that sees one photo after the other.
    """

    label: str
    kind: Kind | None
    batch: int
    of_others: bool = False
    """Whether its map of one sample depends on the others."""

    def facts(self) -> dict[str, Any]:
        """Return what decides its maps, for the report and for telling old scores from new ones."""
        ...

    def why_not(self, benchmark: Benchmark) -> str:
        """Return why it can say nothing about a set; empty where it can."""
        return ""

    def has(self, benchmark: Benchmark) -> bool:
        """Return whether it can say anything about a set."""
        return not self.why_not(benchmark)

    def key(self, benchmark: Benchmark, index: int) -> str:
        """Return what else decides the map of one sample; nothing where that belongs to the set."""
        return ""

    def fit(self, benchmark: Benchmark, wanted: Sequence[int], signals: Signals, report: Report) -> None:
        """Read what it needs of the samples `wanted` before the first prediction, until a signal comes."""
        return

    def prepare(self, benchmark: Benchmark, index: int) -> NDArray[np.float32] | None:
        """Read what can be read ahead, in a thread of its own. Raises ImageError."""
        return None

    def predict(
        self, benchmark: Benchmark, samples: Sequence[Sample], prepared: Sequence[NDArray[np.float32] | None]
    ) -> list[Prediction | CcdError]:
        """Return a map, or why there is none, for each sample."""
        ...
