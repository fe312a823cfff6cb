"""What runs the units of labeling: here the one in this process; `label_ray` has the one on Ray."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch

from ccd_cli.core.runtime import choose_runtime
from ccd_cli.label.setup import LabelJob
from ccd_cli.label.stages import Stage, Tick, Unit


class Engine(Protocol):
    """Runs a stage over units."""

    def runtimes(self, device: str, precisions: Sequence[str], threads: int) -> tuple[str, list[str]]:
        """Return the device and the number formats that `--device` and the recipe's `precision` mean here."""
        ...

    def each(self, job: LabelJob, stage: Stage, units: Iterable[Unit], tick: Tick) -> Iterator[dict[str, Any]]:
        """Yield the answer of every unit, in any order; `tick` is called all the while and may raise to stop."""
        ...

    def describe(self) -> str:
        """Return what computes, in words."""
        ...

    def close(self) -> None:
        """End whatever was started."""
        ...


class LocalEngine:
    """One unit after another in this process; a pool of threads reads photos ahead and encodes behind."""

    def runtimes(self, device: str, precisions: Sequence[str], threads: int) -> tuple[str, list[str]]:
        """See `Engine`."""
        chosen = [choose_runtime(device, precision, threads) for precision in precisions]
        self._device = chosen[0].device
        return str(self._device), [one.precision for one in chosen]

    def each(self, job: LabelJob, stage: Stage, units: Iterable[Unit], tick: Tick) -> Iterator[dict[str, Any]]:
        """See `Engine`."""
        pool = ThreadPoolExecutor(job.workers, "photos", torch.set_num_threads, (1,))
        try:
            for unit in units:
                tick(0)
                yield stage(unit, pool, job.workers, tick)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            stage.release()
            gc.collect()  # a teacher is gone before the next one loads
            if job.device.type == "cuda":
                torch.cuda.empty_cache()

    def describe(self) -> str:
        """See `Engine`."""
        return f"{self._device.type}, {torch.get_num_threads()} threads"

    def close(self) -> None:
        """See `Engine`."""
