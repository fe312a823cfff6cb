"""The engine of `ccd label --engine ray`: the units of a stage go to a pool of Ray actors, each with a teacher of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ccd_cli.cluster.pool import Lost, Pool
from ccd_cli.core.report import Report
from ccd_cli.label.engine import resolve_device
from ccd_cli.label.job import LabelJob
from ccd_cli.label.stages import Answer, Progress, Stage, Unit
from ccd_cli.label.threads import ImageThreads


class RayEngine:
    """Units go to the workers of a pool."""

    def __init__(self, workers: int | None, verbose: bool, stop_if_asked: Callable[[], None], report: Report) -> None:
        """Raises CcdError where Ray is not installed; nothing is started before it is needed."""
        self._pool, self._stop_if_asked, self._device = Pool(workers, verbose, report), stop_if_asked, ""

    def resolve_device(self, device: str, precisions: Sequence[str], threads: int) -> tuple[str, list[str]]:
        """See `Engine`; raises what `Pool.ask` raises."""
        question = partial(resolve_device, precisions=precisions, threads=threads)
        device, resolved = self._pool.ask(device, threads, question, self._stop_if_asked)
        self._device = device.partition(":")[0]
        return self._device, resolved

    def run_stage(self, job: LabelJob, stage: Stage, shards: Sequence[int], progress: Progress) -> Iterator[Answer]:
        """See `Engine`."""
        task = _StageTask(stage.for_worker(), self._pool.share(job.threads))
        for unit, answer in self._pool.run(task, map(stage.unit, shards), lambda: progress(0)):
            if isinstance(answer, Lost):
                raise answer.problem(unit.words) from answer.error
            yield answer

    def describe(self) -> str:
        """See `Engine`."""
        return f"{self._device}, {self._pool.workers} Ray workers"

    def close(self) -> None:
        """See `Engine`."""
        self._pool.close()


@dataclass
class _StageTask:
    """A stage as a worker runs it, with `count` threads for images."""

    stage: Stage
    count: int
    threads: ImageThreads | None = None

    def run(self, unit: Unit) -> Answer:
        """Do a unit; raises what the stage raises."""
        if self.threads is None:
            self.threads = ImageThreads(self.count)
        return self.stage.run(unit, self.threads, lambda done: None)

    def release(self) -> None:
        """Free what the stage has loaded, and the threads."""
        self.stage.release()
        if self.threads is not None:
            self.threads.shutdown()
            self.threads = None
