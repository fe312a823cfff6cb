"""What runs the units of a stage: here the engine in this process; `label.ray` has the one on a Ray cluster."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from ccd_cli.core.compute import choose_compute, empty_cache, warn_of_idle_gpu
from ccd_cli.core.report import Report
from ccd_cli.label.job import LabelJob
from ccd_cli.label.stages import Answer, Progress, Stage
from ccd_cli.label.threads import ImageThreads


class Engine(Protocol):
    """Runs the units of stages."""

    def resolve_device(self, device: str, precisions: Sequence[str], threads: int) -> tuple[str, list[str]]:
        """Return what `--device` and the recipe's `precision` of each teacher mean here, with `threads` for tensors."""
        ...

    def run_stage(self, job: LabelJob, stage: Stage, shards: Sequence[int], progress: Progress) -> Iterator[Answer]:
        """Yield the answer of every shard's unit, in any order; `progress` is called all the while and may raise to stop."""
        ...

    def describe(self) -> str:
        """Return what computes, in words."""
        ...

    def close(self) -> None:
        """End whatever was started."""
        ...


class LocalEngine:
    """One unit after another in this process; a pool of threads reads images ahead and encodes labels behind."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def resolve_device(self, device: str, precisions: Sequence[str], threads: int) -> tuple[str, list[str]]:
        """See `Engine`."""
        self._device, resolved = resolve_device(device, precisions, threads)
        warn_of_idle_gpu(device, self._device, self._report)
        return self._device, resolved

    def run_stage(self, job: LabelJob, stage: Stage, shards: Sequence[int], progress: Progress) -> Iterator[Answer]:
        """See `Engine`."""
        threads = ImageThreads(job.threads)
        try:
            for shard in shards:
                progress(0)
                yield stage.run(stage.unit(shard), threads, progress)
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
            _release(stage)

    def describe(self) -> str:
        """See `Engine`."""
        return f"{self._device.partition(':')[0]}, {torch.get_num_threads()} threads"

    def close(self) -> None:
        """See `Engine`."""


def resolve_device(device: str, precisions: Sequence[str], threads: int) -> tuple[str, list[str]]:
    """Return the device and the precision of each teacher on it, as this process sees them; sets torch's threads.

    Raises UsageProblem for a device or precision that is not available.
    """
    runtimes = [choose_compute(device, precision, threads) for precision in precisions]
    return str(runtimes[0].device), [compute.precision for compute in runtimes]


def _release(stage: Stage) -> None:
    """Free what a stage has loaded: a teacher's memory is free before the next one loads."""
    stage.release()
    gc.collect()
    empty_cache()
