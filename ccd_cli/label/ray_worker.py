"""What runs inside a Ray actor: one stage of labeling, loaded once, unit by unit; errors come back as answers.

An actor that dies is started again by Ray, and its unit is redone. A file per unit counts the tries, so that a unit which
kills every worker that takes it (out of memory, say) ends in a plain error instead of going round for ever.
"""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError

TRIES = 3
"""How many workers may die over one unit."""


class Worker:
    """A `map_batches` class: a batch is one unit, so what is computed together is the stage's decision alone."""

    def __init__(self, stage: str, job: dict[str, Any], folder: str, tries: str, threads: int) -> None:
        """Stage by name, and the job, plain; `folder` is where relative paths begin; `threads` read photos and encode."""
        self._stage, self._job = stage, job
        self._folder, self._tries, self._threads = folder, Path(tries), threads
        self._ready: tuple[Any, ThreadPoolExecutor] | None = None
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Do one unit, given as JSON, and return its answer as JSON."""
        (text,) = batch["unit"]
        return {"answer": [json.dumps(self.answer(json.loads(str(text))))]}

    def answer(self, unit: dict[str, Any]) -> dict[str, Any]:
        """Return what the stage answers, with `tries`, or `error`."""
        mark = self._tries / f"{unit['shard']:06d}"
        try:
            tries = count_try(mark)
            if tries > TRIES:
                raise CcdError(
                    f"Shard {unit['shard']}: {TRIES} workers died over it, one after another.",
                    "Is the memory full? Go on with fewer --workers; finished work is kept.",
                )
            stage, pool = self._prepared()
            done = stage(unit, pool, self._threads, lambda count: None)
            mark.unlink(missing_ok=True)
            return {**done, "tries": tries}
        except CcdError as error:
            return {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        except Exception as error:
            return {"error": "", "message": f"{type(error).__name__}: {error}", "hint": traceback.format_exc()}

    def _prepared(self) -> tuple[Any, ThreadPoolExecutor]:
        """Return the stage and its pool of threads; made for the first unit, where a death is counted."""
        if self._ready is None:
            try:
                os.chdir(self._folder)
            except OSError as error:
                raise CcdError(
                    f"A machine of the cluster has no {self._folder}.",
                    "All its machines need the photos, the teachers and the folder of labels at the same paths.",
                ) from error
            import torch

            from ccd_cli.label.stages import stage_of

            pool = ThreadPoolExecutor(self._threads, "photos", torch.set_num_threads, (1,))
            self._ready = stage_of(self._stage, self._job), pool
        return self._ready


def probe(device: str, precisions: list[str], threads: int) -> tuple[str, list[str]]:
    """Return the kind of device and the number formats that this worker has."""
    from ccd_cli.label.ray import runtimes

    return runtimes(device, precisions, threads)


def _end_with(parent: int) -> None:
    """End this process when Ray's process on this machine is gone; in the middle of a unit Ray alone takes its time."""
    while os.getppid() == parent:
        time.sleep(0.3)
    os._exit(1)


def count_try(mark: Path) -> int:
    """Note one more try, and the process that makes it, in a unit's file; return how many there are now."""
    mark.parent.mkdir(parents=True, exist_ok=True)
    with mark.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    return len(mark.read_text(encoding="utf-8").splitlines())
