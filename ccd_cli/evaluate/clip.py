"""Scoring a source on a clip: all frames get one scale and one shift, and following frames are compared with each other.

Maps are predicted first and kept on the disk, so that a clip of any length fits into memory and a run that was stopped goes on;
when the clip is scored they are removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Sample
from ccd_cli.benchmarks.clip import ClipBenchmark
from ccd_cli.core.errors import CcdError, Interrupted, Unwritable
from ccd_cli.core.files import atomic_write, write_text
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals
from ccd_cli.evaluate.figures import Panels, draw, draw_untrue
from ccd_cli.evaluate.task import Task, predicted, ran_in
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.metrics.alignment_clip import ClipFit
from ccd_cli.metrics.depth import image_metrics
from ccd_cli.metrics.points import Seen, reprojection_errors
from ccd_cli.scoring.image import more_scores
from ccd_cli.scoring.rows import TAE, Record

Map = NDArray[np.float32]


class ClipTask:
    """A task on a clip. `kept` is the folder for maps of these settings; folders beside it hold those of other settings.
    `overwrite`: maps that a stopped run kept are made again.
    """

    def __init__(self, task: Task, clip: ClipBenchmark, kept: Path, overwrite: bool = False) -> None:
        if overwrite:
            shutil.rmtree(kept, ignore_errors=True)
        self.task, self.clip, self.kept = task, clip, kept
        self.method = task.options.alignment.method(task.source.kind)
        self.kind = task.options.alignment.taken_as(task.source.kind)

    def score(self, wanted: list[int], signals: Signals, report: Report) -> None:
        """Score the frames `wanted` (following ones) until a signal comes, unless all that can be scored are in the book.

        One that can be scored now and could not before changes the fit of all, which are scored anew.
        """
        task, what = self.task, f"{self.task.source.label} on {self.clip.spec.name}"
        todo = [i for i in wanted if i not in task.book.records]
        if not todo:
            report.note(f"{what}: scored already (--overwrite does it again)")
            return
        if not self.clip.has_depth and (self.method != "none" or self.kind != "metric"):
            why = "it has no ground truth to fit to, so it is scored for models in meters alone"
            task.left_out(self.clip.spec.name, CcdError(why))
            return
        self._clear(all_of_it=False)
        there = self._predict(todo, f"{what}, maps", signals, report)
        if not there or signals.received is not None:  # none: what could not be scored before still cannot
            return
        lost = set(todo) - set(there)
        there = self._predict([i for i in wanted if i not in lost], f"{what}, maps", signals, report)
        if signals.received is None:
            try:
                self._score(there, f"{what}, scores", signals, report)
            except (Interrupted, Unwritable):
                raise
            except CcdError as error:  # nothing to fit to, in any frame
                task.left_out(self.clip.spec.name, error)
        if signals.received is None:
            self._clear(all_of_it=True)

    def _predict(self, frames: list[int], what: str, signals: Signals, report: Report) -> list[int]:
        """Predict what is not kept yet; return which frames have a map now."""
        todo = [i for i in frames if not self._path(i).is_file()]
        done = len(frames) - len(todo)
        report.begin(what, len(frames), done)
        for index, _, made in predicted(self.task.source, self.clip, todo, self._left_out, signals):
            if isinstance(made, CcdError):
                self._left_out(self.task.names[index], made)
            else:
                self._keep(index, made.told, made.kind)
            done += 1
            report.advance(done)
        report.end()
        return [i for i in frames if self._path(i).is_file()]

    def _score(self, frames: list[int], what: str, signals: Signals, report: Report) -> None:
        task, clip = self.task, self.clip
        self._settle()
        fit = ClipFit(self.method, self.kind, task.options.alignment.limits(clip.spec, self.method))
        if clip.has_depth:
            for _, sample, values in self._frames(frames, signals):
                fit.add(values, sample.depth, sample.mask)
        report.begin(what, len(frames))
        before: tuple[int, Seen] | None = None
        for done, (index, sample, values) in enumerate(self._frames(frames, signals), 1):
            depth = fit.depth(values)
            seen: Seen | None = None
            if sample.camera is not None and sample.pose is not None:
                seen = (depth, sample.camera, sample.pose, sample.compared)
            follows = seen is not None and before is not None and before[0] == index - 1
            carried = reprojection_errors(before[1], seen) if follows and before and seen else []
            before = None if seen is None else (index, seen)
            try:
                record = self._record(index, sample, depth, fit, carried)
            except CcdError as error:
                self._left_out(task.names[index], error)
                continue
            if not _same_fit(task.book.records.get(index), record):
                task.gallery.add(record, self._panels(sample, depth) if task.gallery.wants(record) else None)
                task.book.add(record | ran_in(task.source))
            report.advance(done)
        report.end()

    def _record(
        self, index: int, sample: Sample, depth: NDArray[np.float64], fit: ClipFit, carried: list[float]
    ) -> Record:
        scores: dict[str, float] = {}
        if self.clip.has_depth:
            scores |= image_metrics(depth, sample.depth, sample.mask)
            scores |= more_scores(self.clip.spec, sample, depth)
        if sample.pose is not None:
            scores[TAE] = float(np.mean(carried)) if carried else float("nan")
        scale, shift = fit.fit()
        return {
            "index": index,
            "image": self.task.names[index],
            "pixels": int(np.count_nonzero(sample.mask)),
            "alignment": self.method,
            "scale": scale,
            "shift": shift,
            "carried": carried,
            "scores": scores,
        }

    def _panels(self, sample: Sample, depth: NDArray[np.float64]) -> Panels:
        return draw(sample, depth, sample.mask) if self.clip.has_depth else draw_untrue(sample, depth)

    def _frames(self, frames: list[int], signals: Signals) -> Iterator[tuple[int, Sample, Map]]:
        """Give the frames that can be read with their maps, until a signal comes."""
        for index in frames:
            if signals.received is not None:
                return
            if not self._path(index).is_file():  # left out in the pass before
                continue
            try:
                yield index, self.clip.read(index), np.load(self._path(index), allow_pickle=False)
            except (CcdError, OSError, ValueError) as error:
                self._path(index).unlink(missing_ok=True)
                self._left_out(self.task.names[index], CcdError(f"cannot be read again ({error})"))

    def _left_out(self, image: str, error: CcdError) -> None:
        self.task.left_out(image, error)

    def _path(self, index: int) -> Path:
        return self.kept / f"{index:06d}.npy"

    def _keep(self, index: int, values: Map, kind: Kind | None) -> None:
        """Keep a map, and beside it what it is: a focal length that is told may turn depth into meters."""
        write_text(self.kept / f"{index:06d}.kind", kind or "")
        with atomic_write(self._path(index)) as temporary, temporary.open("wb") as file:
            np.save(file, values)

    def _settle(self) -> None:
        """Take method and kind from the maps. Raises CcdError where they are of several kinds."""
        kinds = {path.read_text(encoding="utf-8") for path in self.kept.glob("*.kind")}
        if len(kinds) > 1:
            raise CcdError(
                f"{self.task.source.label} gives maps of several kinds in one clip: {', '.join(sorted(kinds))}."
            )
        said = next((kind for kind in KINDS if kind in kinds), None)
        self.method = self.task.options.alignment.method(cast("Kind | None", said))
        self.kind = self.task.options.alignment.taken_as(cast("Kind | None", said))

    def _clear(self, *, all_of_it: bool) -> None:
        """Remove the maps of other settings, or every map of this clip."""
        for folder in self.kept.parent.glob("*"):
            if all_of_it or folder != self.kept:
                shutil.rmtree(folder, ignore_errors=True)
        if all_of_it:
            shutil.rmtree(self.kept.parent, ignore_errors=True)
            with suppress(OSError):
                self.kept.parent.parent.rmdir()


def _same_fit(known: Record | None, record: Record) -> bool:
    """Whether a frame's record in the book, if there is one, comes from the same fit, and was compared with the same frames."""
    return known is not None and all(known.get(key) == record[key] for key in ("scale", "shift", "carried"))
