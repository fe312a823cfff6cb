"""Images and videos predicted by the workers of a pool, each with a model of its own: `ccd predict --engine ray`.

Images go to a worker several at a time, so that they are read and written while its model computes; a video goes whole. The
process that began the run finds what is missing and records what comes of it, as one process alone does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ccd_cli.cluster.pool import Lost, Pool
from ccd_cli.core.compute import Compute, choose_compute
from ccd_cli.core.errors import CcdError, Interrupted
from ccd_cli.core.report import Silent
from ccd_cli.core.settings import DeviceSettings
from ccd_cli.core.signals import Signals
from ccd_cli.media.find import Media
from ccd_cli.predict.finished import skip_finished
from ccd_cli.predict.job import Fingerprints, Job, Outcome
from ccd_cli.predict.photos import GPU_BATCH, Taken, Tally, pending_images, predict_pending
from ccd_cli.predict.settings import Settings
from ccd_cli.predict.video import predict_video
from ccd_cli.teachers.model import About, Loading, Model

IMAGES = 16
"""How many images a worker gets at a time, or about as many: a multiple of the batch."""
_TURNS = 4  # how many times each worker gets images, at least, where they are few


def choose_pool_compute(pool: Pool, hardware: DeviceSettings) -> Compute:
    """Return the Compute of the workers. On CPUs each computes with `--threads`, by default as many as this process would.

    Raises what `Pool.ask` and `choose_compute` raise.
    """
    threads = hardware.threads
    if threads is None:
        import torch

        threads = torch.get_num_threads()
    question = partial(_compute_here, precision=hardware.precision, threads=threads)
    _, compute = pool.ask(hardware.device, threads, question, lambda: None)
    return compute


def _compute_here(device: str, precision: str, threads: int) -> tuple[str, Compute]:
    compute = choose_compute(device, precision, threads)
    return compute.place, Compute(compute.place, compute.precision, threads=threads)


@dataclass(frozen=True)
class Unit:
    """What goes to a worker together: images, with the fingerprints of their results, or one video."""

    items: tuple[Media, ...]
    fingerprints: tuple[Fingerprints, ...] = ()

    @property
    def title(self) -> str:
        """See `cluster.pool.Item`."""
        return f"predict-{self.items[0].stem.name}"

    @property
    def words(self) -> str:
        """See `cluster.pool.Item`."""
        more = len(self.items) - 1
        return f"{self.items[0].path}" + (f" (and {more} more)" if more else "")

    def split(self) -> list[Unit]:
        """See `cluster.pool.Item`: each image alone, so that one that kills its worker is found."""
        if len(self.items) == 1:
            return [self]
        return [Unit((item,), (prints,)) for item, prints in zip(self.items, self.fingerprints, strict=True)]


@dataclass(frozen=True)
class Answer:
    """What came of a unit: (image, record or error, notes) of each image, or the outcome of a video; and what was said."""

    images: list[tuple[Media, Taken, Sequence[str]]] = field(default_factory=list)
    video: Outcome = field(default_factory=Outcome)
    said: Silent = field(default_factory=Silent)


@dataclass
class Predict:
    """The task of the workers: a model that is loaded for the first unit, for `passes` of all workers, and stays loaded."""

    loading: Loading
    about: About
    settings: Settings
    passes: int
    model: Model | None = None
    warned: bool = False

    def run(self, unit: Unit) -> Answer:
        """Predict a unit and write its results; raises what is not specific to an input."""
        said = Silent()
        if self.model is None:
            self.model = self.loading.in_worker(self.about, said)
        outcome, answer = Outcome(), Answer([], Outcome(), said)
        job = Job(self.model, self.settings, self.loading.compute, said, Signals(), outcome, [], lambda: self.passes)
        if unit.items[0].video:
            predict_video(unit.items[0], job)
            return replace(answer, video=outcome)

        def take(item: Media, made: Taken, notes: Sequence[str] = ()) -> None:
            answer.images.append((item, made, notes))

        job.begin(len(unit.items))
        predict_pending(dict(zip(unit.items, unit.fingerprints, strict=True)), job, take, self.warned)
        self.warned = True
        return answer

    def release(self) -> None:
        """Free the model."""
        self.model = None


def predict_in_pool(
    images: list[Media], clips: list[Media], job: Job, pool: Pool, frames: Callable[[], int] = lambda: 0
) -> None:
    """Predict images and videos by the workers of a pool; what comes of them goes to `job.outcome`, in the order of the inputs.

    After a signal it ends at once: workers stop in the middle, and what they have finished stays. Raises Unwritable where the
    output cannot be written, what loading the model raises, and CcdError where workers die before anything is done.
    """
    pending, clips = pending_images(images, job), list(_unfinished(clips, job))
    count = len(pending) + len(clips)
    if not count:
        return
    assert job.model.loading is not None
    batch = job.batch(GPU_BATCH)
    choosing = job.model.loading.runtime == "auto" and job.compute.type == "cpu"
    passes = len(pending) + frames() if choosing else 1
    task = Predict(job.model.loading, job.model.about, job.settings, passes)
    job.report.note(f"{count} inputs for {pool.workers} Ray workers ({job.compute.type}, {job.compute.precision})")
    units = _units(pending, clips, batch, pool.workers)
    job.report.begin("Inputs", count)
    try:
        _collect(pool.run(task, units, partial(_stop_if_asked, job.signals)), job)
    except Interrupted:
        if job.signals.received is None:
            raise
    finally:
        job.report.end()
        place = place_in(job.inputs)
        job.outcome.done.sort(key=lambda record: place((record["input"], "")))
        job.outcome.failed.sort(key=place)


def place_in(inputs: Iterable[Media]) -> Callable[[tuple[str, str]], int]:
    """Return what gives the place of an (input, reason): first what is no input, then images, then videos, in their order."""
    ordered = sorted(inputs, key=lambda item: item.video)
    places: Mapping[str, int] = {str(item.path): place for place, item in enumerate(ordered)}
    return lambda failure: places.get(failure[0], -1)


def _unfinished(clips: Iterable[Media], job: Job) -> Iterator[Media]:
    """The videos without complete results."""
    for clip in clips:
        try:
            if skip_finished(clip, job) is not None:
                yield clip
        except CcdError as error:
            job.fail(clip, error)


def _units(pending: dict[Media, Fingerprints], clips: list[Media], batch: int, workers: int) -> Iterator[Unit]:
    """The units of work: videos first, which take longest; then images, as many as whole batches."""
    yield from (Unit((clip,)) for clip in clips)
    together = min(IMAGES, math.ceil(len(pending) / (_TURNS * workers)))
    size = math.ceil(max(1, together) / batch) * batch
    images = list(pending)
    for start in range(0, len(images), size):
        items = tuple(images[start : start + size])
        yield Unit(items, tuple(pending[item] for item in items))


def _collect(answers: Iterator[tuple[Unit, Any]], job: Job) -> None:
    """Record what comes of units, and say what their workers say, each thing once."""
    tally, outcome, done, warned = Tally(job), job.outcome, 0, set[str]()
    for unit, answer in answers:
        if isinstance(answer, Lost):
            (item,) = unit.items
            problem = answer.problem(f"{item.path}")
            if not done:
                raise problem from answer.error
            job.fail(item, problem)
        else:
            for note in answer.said.notes:
                tally.note(note)
            for text in answer.said.warnings:
                if text not in warned:
                    warned.add(text)
                    job.report.warn(text)
            for made in answer.images:
                tally.take(*made)
            outcome.done += answer.video.done
            outcome.failed += answer.video.failed
            outcome.skipped += answer.video.skipped
        done += len(unit.items)
        job.report.advance(done)
    tally.close()


def _stop_if_asked(signals: Signals) -> None:
    """Raise Interrupted after a signal."""
    if signals.received is not None:
        raise signals.interruption("Interrupted.", "Finished results are in place; run again to resume.")
