"""The named views of a batch, and the one place where they are stacked for a network and its output taken apart again.

B images of side S with P patches each. Networks see all shared views first, then all patches, the first image's first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageViews:
    """A teacher's views of one image, or maps of them: `shared` (S,S,...) or None, `patches` (P,S,S,...)."""

    shared: np.ndarray | None
    patches: np.ndarray

    def flipped(self) -> Self:
        """Return the views mirrored left to right."""
        return type(self)(None if self.shared is None else _mirrored(self.shared, 1), _mirrored(self.patches, 2))


@dataclass(frozen=True)
class Example:
    """The views of one image. Pixels are uint8 RGB (S,S,3), boxes float32 (P,3).

    teacher: the clean views; None where every teacher's maps are precomputed. student and own: see `StudentViews`. boxes:
    footprints of the patches in that region as (top, left, side) fractions. precomputed: maps float32 of the clean views
    by the index of the teacher that they stand for.
    """

    teacher: ImageViews | None
    student: np.ndarray
    own: np.ndarray | None
    boxes: np.ndarray
    path: Path
    precomputed: dict[int, ImageViews] = field(default_factory=dict)

    def flipped(self) -> Self:
        """Return the crops of the mirrored image: every view and map mirrored left to right, boxes where the patches then lie."""
        top, left, side = self.boxes.astype(np.float64).T
        boxes = np.stack([top, np.clip(1.0 - left - side, 0.0, 1.0), side], axis=1)
        return replace(
            self,
            teacher=None if self.teacher is None else self.teacher.flipped(),
            student=_mirrored(self.student, 1),
            own=None if self.own is None else _mirrored(self.own, 1),
            boxes=boxes.astype(np.float32),
            precomputed={teacher: maps.flipped() for teacher, maps in self.precomputed.items()},
        )


@dataclass(frozen=True)
class TeacherViews:
    """Pixels, maps or masks of a teacher's views: `shared` [B,...] (None where nothing asks for it), `patches` [B,P,...]."""

    shared: Tensor | None
    patches: Tensor

    def stack(self) -> Tensor:
        """Return all views [B+B*P,...], or [B*P,...] without shared ones, in the order in which networks see them."""
        patches = self.patches.flatten(0, 1)
        if self.shared is None:
            return patches
        return torch.cat([self.shared, patches]) if len(patches) else self.shared

    @classmethod
    def split(cls, stack: Tensor, images: int, patches: int) -> Self:
        """Return the parts of something made of a stack; they are views of its memory."""
        first = len(stack) - images * patches
        return cls(stack[:first] if first else None, stack[first:].unflatten(0, (images, patches)))

    def to(self, device: torch.device) -> Self:
        """Return the views on a device."""
        shared = None if self.shared is None else self.shared.to(device, non_blocking=True)
        return type(self)(shared, self.patches.to(device, non_blocking=True))


@dataclass(frozen=True)
class StudentViews:
    """Pixels of the student's views [B,3,S,S], with augmentation.

    `shared` is the crop of the teacher's shared view; `own` is the region that the patches lie in, None where that is
    `shared` too.
    """

    shared: Tensor
    own: Tensor | None = None

    def stack(self) -> Tensor:
        """Return all views [B,3,S,S] or [2B,3,S,S], the shared crops first."""
        return self.shared if self.own is None else torch.cat([self.shared, self.own])

    def split(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return (maps of the shared crops, maps that the patches lie in), both [B,...]; the same where none is `own`."""
        count = len(self.shared)
        return maps[:count], maps[-count:]

    def to(self, device: torch.device) -> Self:
        """Return the views on a device."""
        own = None if self.own is None else self.own.to(device, non_blocking=True)
        return type(self)(self.shared.to(device, non_blocking=True), own)


@dataclass(frozen=True)
class Batch:
    """Views of B images: pixels uint8, boxes [B,P,3] float32; see `Example`.

    precomputed holds maps [B,S,S] and [B,P,S,S] by teacher, of the teachers for which every image has them.
    """

    teacher: TeacherViews | None
    student: StudentViews
    boxes: Tensor
    precomputed: dict[int, TeacherViews]
    paths: list[Path]

    def to(self, device: torch.device) -> Self:
        """Return the batch on a device."""
        return type(self)(
            teacher=None if self.teacher is None else self.teacher.to(device),
            student=self.student.to(device),
            boxes=self.boxes.to(device, non_blocking=True),
            precomputed={index: maps.to(device) for index, maps in self.precomputed.items()},
            paths=self.paths,
        )


def network_input(pixels: Tensor) -> Tensor:
    """Return uint8 pixels [N,3,S,S] as float32 in 0..1, channels last, where convolutions are faster."""
    return pixels.float().div_(255.0).contiguous(memory_format=torch.channels_last)


def collate(examples: Sequence[Example]) -> Batch:
    """Return the batch of some images; teachers' maps that one of them lacks are dropped."""
    seen = [example.teacher for example in examples if example.teacher is not None]
    own = [example.own for example in examples if example.own is not None]
    known = set.intersection(*(set(example.precomputed) for example in examples))
    return Batch(
        teacher=_with_channels_first(_batch_of(seen)) if seen else None,
        student=StudentViews(
            _channels_first(_tensor([example.student for example in examples])),
            _channels_first(_tensor(own)) if own else None,
        ),
        boxes=_tensor([example.boxes for example in examples]),
        precomputed={teacher: _batch_of([e.precomputed[teacher] for e in examples]) for teacher in sorted(known)},
        paths=[example.path for example in examples],
    )


def _batch_of(images: Sequence[ImageViews]) -> TeacherViews:
    shared = [image.shared for image in images if image.shared is not None]
    return TeacherViews(_tensor(shared) if shared else None, _tensor([image.patches for image in images]))


def _with_channels_first(views: TeacherViews) -> TeacherViews:
    shared = None if views.shared is None else _channels_first(views.shared)
    return TeacherViews(shared, _channels_first(views.patches))


def _mirrored(pixels: np.ndarray, columns: int) -> np.ndarray:
    """Return an array in the opposite order along the axis `columns`."""
    return np.ascontiguousarray(np.flip(pixels, columns))


def _tensor(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _channels_first(pixels: Tensor) -> Tensor:
    """Return [...,S,S,3] as [...,3,S,S]; the memory stays as it is."""
    return pixels.movedim(-1, -3)
