"""A teacher's views in passes that fit its device: moved there piece by piece, and what it says of them moved back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ccd_cli.core.compute import memory_error, moved
from ccd_cli.core.errors import CcdError
from ccd_cli.data.batch import network_input
from ccd_cli.models.compiling import plain_compile_errors
from ccd_cli.teachers.adapters.native import NativeTeacher
from ccd_cli.teachers.base import Teacher

Found = tuple[Tensor | None, Tensor | None, Tensor | None]


class Passes:
    """Asks one teacher about any number of views, uint8 or float32 in 0..1, and answers on the views' device.

    `device`: where it runs, if not there. `batch`: the most views in a pass; None: all of them, and half as many from then on
    whenever memory runs out. Passes are of even size, and a teacher sees each view as if it were alone: how they are cut
    changes rounding alone.
    """

    def __init__(self, teacher: Teacher, device: str | None = None, batch: int | None = None) -> None:
        self.teacher, self.device, self.batch = teacher, None if device is None else torch.device(device), batch
        self.most = batch
        self._compiled: tuple[int, Teacher] | None = None

    def predict(self, views: Tensor) -> Tensor:
        """Return maps [N,H,W] of views [N,3,H,W]; see `Teacher`."""
        return self.predict_with_features(views, 0)[0]

    def predict_with_features(
        self, views: Tensor, first: int, sky: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return (maps [N,H,W], patch features of the first `first` views, sky scores [N,H,W]), one pass for all.

        Features are None where there are none, scores where `sky` does not ask a `NativeTeacher` for them, or it marks no sky.
        """

        def ask(teacher: Teacher, part: Tensor, start: int) -> Found:
            score: Tensor | None = None
            if sky and isinstance(teacher, NativeTeacher):
                made, tokens, score = teacher.predict_all(part)
            elif start >= first:
                return teacher.predict(part), None, None
            else:
                made, tokens = teacher.predict_with_features(part)
            return made, None if tokens is None or start >= first else tokens[: first - start], score

        made, tokens, score = self._all(ask, views)
        assert made is not None
        return made, tokens, score

    def features(self, views: Tensor) -> Tensor | None:
        """Return patch features of all views, or None where the teacher has none."""
        return self._all(lambda teacher, part, _: (None, teacher.features(part), None), views)[1]

    def compile(self, views: Tensor) -> bool:
        """Compile the network for the passes that `views` [N,3,H,W] come to, and ask it; passes of other sizes are not compiled.

        Returns False where it is not one of ccd's own architectures. Raises CcdError where this machine cannot compile.
        """
        if not isinstance(self.teacher, NativeTeacher):
            return False
        compiled = self.teacher.compiled()
        with plain_compile_errors("Set compute.compile to none."):
            while self._compiled is None or self._compiled[0] != self._pass_size(
                len(views)
            ):  # again where memory ran out
                self._compiled = self._pass_size(len(views)), compiled
                self.predict(views)
        return True

    def _pass_size(self, views: int) -> int:
        passes = math.ceil(views / (self.most or views))
        return math.ceil(views / passes)

    @torch.no_grad()
    def _all(self, ask: Callable[[Teacher, Tensor, int], Found], views: Tensor) -> Found:
        """Return what `ask` (teacher, part of the views, its first view's number) finds, put together."""
        found: list[Found] = []
        done = 0
        while done < len(views):
            size = self._pass_size(len(views))
            part = views[done : done + size]
            try:
                made = ask(self._who(len(part)), self._input(part), done)
            except (RuntimeError, MemoryError) as error:
                if memory_error(error) is None or (size == 1 and self.batch is None):
                    raise
                if self.batch is not None:
                    raise CcdError(
                        f"Out of memory in a pass of {size} views of the teacher {self.teacher.name}.",
                        "Lower compute.teacher_batch, or leave it at auto.",
                    ) from error
                self.most = math.ceil(size / 2)
                continue
            maps, tokens, score = (None if each is None else moved(each, views.device) for each in made)
            found.append((maps, tokens, score))
            done += len(part)
        maps, tokens, score = (_joined(list(each)) for each in zip(*found, strict=True))
        return maps, tokens, score

    def _who(self, count: int) -> Teacher:
        """The compiled network for the one size that it was compiled for, else the network as it is."""
        return self._compiled[1] if self._compiled is not None and self._compiled[0] == count else self.teacher

    def _input(self, part: Tensor) -> Tensor:
        there = part if self.device is None else moved(part, self.device)
        return there if there.is_floating_point() else network_input(there)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return known[0] if len(known) == 1 else torch.cat(known) if known else None
