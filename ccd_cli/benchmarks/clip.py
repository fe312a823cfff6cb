"""A user's own clip: frames in order, from photos or a video, with ground truth, a camera and its poses where there are any."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks.base import Sample, Spec
from ccd_cli.benchmarks.own.files import file_fingerprint, find
from ccd_cli.benchmarks.own.schema import CustomClip
from ccd_cli.benchmarks.own.sets import CustomBenchmark
from ccd_cli.benchmarks.poses import read_poses
from ccd_cli.benchmarks.zero_shot import same_size
from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.paths import expand_home
from ccd_cli.media.photos import read_photo
from ccd_cli.media.video.read import Frame, Video, open_video

KEPT = 16
"""Decoded frames of a video that stay for a reader that comes a little late."""

Matrix = NDArray[np.float64]
Photo = NDArray[np.uint8]


class Frames:
    """The frames of a video by number: decoded in order, with a second start where an earlier one is asked for. Threads may
    ask at the same time.
    """

    def __init__(self, video: Video) -> None:
        self.video = video
        self._lock = threading.Lock()
        self._coming: Iterator[Frame] | None = None
        self._kept: dict[int, Frame] = {}
        self._next = 0

    def read(self, number: int) -> Photo:
        """Return uint8 RGB [H, W, 3]; raises ImageError for a frame that does not decode."""
        with self._lock:
            if number in self._kept:
                return self._kept[number].rgb
            if self._coming is None or number < self._next:
                self._kept.clear()
                self._coming, self._next = self.video.frames(), 0
            for frame in self._coming:
                self._next = frame.number + 1
                self._kept[frame.number] = frame
                while len(self._kept) > KEPT:
                    self._kept.pop(next(iter(self._kept)))
                if frame.number >= number:
                    break
            if number in self._kept:
                return self._kept[number].rgb
        raise ImageError(f"{self.video.path}: frame {number} cannot be decoded")


@dataclass(frozen=True)
class ClipBenchmark:
    """The frames of one clip in order. `truth` names and reads photos, ground truth and masks; `poses` is empty without any."""

    rule: CustomClip
    ground_truth: CustomBenchmark
    poses: list[Matrix] = field(default_factory=list)
    frames: Frames | None = None

    @property
    def spec(self) -> Spec:
        """What the suite file says."""
        rule, spec = self.rule, self.ground_truth.spec
        known = f"{rule.min:g} < ground truth < {rule.max:g}" if rule.depth else "no ground truth"
        steady = "; temporal alignment error by its poses" if rule.poses else ""
        return replace(
            spec,
            about=rule.about
            or f"a clip of {len(self)} frames; {known}; one scale and shift for the whole clip{steady}",
            task="clip",
            points=False,
        )

    @property
    def has_depth(self) -> bool:
        """Whether there is ground truth to fit to and to score on."""
        return bool(self.rule.depth)

    def __len__(self) -> int:
        return len(self.ground_truth.files)

    def names(self) -> list[str]:
        """Return the frames' paths below the root; of a video its path and the frame's number."""
        return [image for image, _, _ in self.ground_truth.files]

    def read(self, index: int) -> Sample:
        """Read one frame; raises ImageError for what is damaged and for ground truth of another size."""
        name = self.names()[index]
        rgb = read_photo(self.ground_truth.root / name) if self.frames is None else self.frames.read(index)
        size = (rgb.shape[0], rgb.shape[1])
        if self.has_depth:
            depth, mask = self.ground_truth.ground_truth(index, size)
            same_size(depth.shape, size, self.ground_truth.files[index][1])  # maps of a clip are not resized
        else:
            depth, mask = np.full(size, np.nan, np.float32), np.zeros(size, bool)
        if not self.poses:
            return Sample(name, rgb, depth, mask, self.ground_truth.camera)
        compared = self.ground_truth.allowed(index, size)
        return Sample(name, rgb, depth, mask, self.ground_truth.camera, pose=self.poses[index], compared=compared)

    def fingerprint(self, index: int) -> str:
        """Return size and time of one frame's files, and of its pose the numbers."""
        video = [] if self.frames is None else [file_fingerprint(self.frames.video.path)]
        return " ".join(
            [
                *video,
                self.ground_truth.fingerprint(index),
                *(str(pose.tolist()) for pose in self.poses[index : index + 1]),
            ]
        )

    def prediction_names(self, index: int) -> list[str]:
        """Return the frame's own name as `.npy` and with `pred_`; of a video `<name>/NNNNNN.npy`, as `ccd predict` writes."""
        if self.frames is None:
            return self.ground_truth.prediction_names(index)[::-1]
        return [f"{PurePosixPath(self.rule.video).stem}/{index:06d}.npy", f"{index:06d}.npy"]


def open_clip(rule: CustomClip, base: Path) -> ClipBenchmark:
    """Find a clip's files; `base` is the suite file's folder.

    Raises CcdError where something is missing, the numbers of frames, maps and poses differ, or a pose is none.
    """
    root = base / expand_home(rule.root)
    if not root.is_dir():
        raise CcdError(f"no folder {root}.")
    frames: Frames | None = None
    if rule.video:
        frames = Frames(open_video(root / rule.video))
        names = [f"{rule.video}/{number:06d}" for number in range(frames.video.frame_count)]
    else:
        names = _some(root, rule.image)
    depths = _as_many(root, rule.depth, names) if rule.depth else [""] * len(names)
    masks = _as_many(root, rule.mask, names) if rule.mask else [""] * len(names)
    if len(names) < 2:
        raise CcdError(f"a clip has two frames or more, and there is {len(names)} in {root}.")
    poses = read_poses([root / name for name in _some(root, rule.poses)], len(names)) if rule.poses else []
    if rule.pose == "world-to-camera":
        poses = [np.asarray(np.linalg.inv(pose), np.float64) for pose in poses]
    return ClipBenchmark(rule, CustomBenchmark(rule, root, list(zip(names, depths, masks, strict=True))), poses, frames)


def _some(root: Path, pattern: str) -> list[str]:
    """Return the files that match a glob in the order of a clip: numbers in names count as numbers, frame 2 before frame 10."""
    found = find(root, pattern)
    if not found:
        raise CcdError(f"nothing matches '{pattern}' in {root}.")
    return found


def _as_many(root: Path, pattern: str, names: list[str]) -> list[str]:
    found = _some(root, pattern)
    if len(found) != len(names):
        raise CcdError(f"{len(found)} files match '{pattern}' in {root}, and the clip has {len(names)} frames.")
    return found
