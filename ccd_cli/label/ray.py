"""The engine of `ccd label --engine ray`: the units of a stage go to Ray actors, each with a teacher of its own.

An actor has one unit at a time, so it is clear which unit one that dies had: it goes to another. Units are seconds to minutes
long; the milliseconds between two of them do not count. Which actor runs a unit does not change what it writes.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.label.engine import release, resolve_device
from ccd_cli.label.job import LabelJob
from ccd_cli.label.ray_cluster import Cluster, Node, cluster_address
from ccd_cli.label.stages import Answer, Progress, Stage, Unit
from ccd_cli.label.threads import ImageThreads

MAX_DEATHS = 3
"""How many workers may die over one unit."""
_POLL = 0.2  # seconds between looks for Ctrl-C


class Worker:
    """Runs units; lives in a process of Ray's to the end of the run, with the teacher of the present stage.

    `folder` is where relative paths begin. `session` is the folder of a cluster that ends with the run, or "".
    """

    def __init__(self, folder: str, threads: int, session: str) -> None:
        os.dup2(2, 1)  # what a model prints goes to stderr
        threading.Thread(target=_end_with_parent, args=(os.getppid(), session), daemon=True).start()
        self._folder, self._threads = folder, ImageThreads(threads)
        self._stage: tuple[Any, Stage] | None = None  # with its reference

    def run(self, reference: list[Any], unit: Unit) -> Answer:
        """Do a unit of the stage that the only reference in a list is to; raises what the stage raises.

        The list keeps Ray from sending the stage with every unit. Raises CcdError where this machine lacks the folder.
        """
        try:
            os.chdir(self._folder)
        except OSError as error:
            raise CcdError(
                f"A machine of the cluster has no {self._folder}.",
                "All its machines need the images, the teachers and the folder of labels at the same paths.",
            ) from error
        return self._present(*reference).run(unit, self._threads, lambda done: None)

    def _present(self, reference: Any) -> Stage:
        """Return the stage of a reference; one that came before is released first."""
        import ray

        if self._stage is None or self._stage[0] != reference:
            if self._stage is not None:
                release(self._stage[1])
            self._stage = None
            self._stage = reference, ray.get(reference)
        return self._stage[1]


class RayEngine:
    """Units go to `workers` actors (None: one per GPU, or as many as fit the cores)."""

    def __init__(self, workers: int | None, verbose: bool, stop_if_asked: Callable[[], None], report: Report) -> None:
        """Raises CcdError where Ray is not installed; nothing is started before it is needed."""
        if importlib.util.find_spec("ray") is None:
            raise CcdError("--engine ray needs Ray.", 'Install it with: pip install -e ".[ray]"')
        self._requested, self._verbose, self._stop_if_asked, self._report = workers, verbose, stop_if_asked, report
        self._cluster: Cluster | None = None
        self._idle: list[Any] = []  # actors that have no unit
        self.workers, self._cpus, self._gpus, self._machines, self._device = 0, 1.0, 0.0, 1, ""

    def resolve_device(self, device: str, precisions: Sequence[str], threads: int) -> tuple[str, list[str]]:
        """See `Engine`. Connects to the cluster or starts one; in one that is joined, a worker resolves the device."""
        if device.startswith("cuda:"):
            raise UsageProblem(
                f"--device {device}: --engine ray uses every GPU.",
                "Choose with CUDA_VISIBLE_DEVICES and --device cuda.",
            )
        if not (address := cluster_address()):
            device, resolved = resolve_device(device, precisions, threads)
            self._device = device.partition(":")[0]
            gpus = torch.cuda.device_count() if self._device == "cuda" else 0
            self._allot([Node(float(os.cpu_count() or 1), float(gpus))], threads)
            self._cluster = Cluster("", math.ceil(self.workers * self._cpus), self._verbose)
            self._stop_if_asked()
            return self._device, resolved
        self._cluster = Cluster(address, 0, self._verbose)
        import ray

        nodes = self._cluster.nodes()
        if device in ("cpu", "mps") or not any(node.gpus for node in nodes):
            nodes = [Node(node.cpus, 0.0) for node in nodes]
            device = "cpu" if device == "auto" else device
        self._allot(nodes, threads)
        task = _remote(resolve_device, self._cpus, self._gpus)
        answer = task.remote(device, precisions, threads)
        while not ray.wait([answer], timeout=_POLL)[0]:
            self._stop_if_asked()
        device, resolved = _result(answer)
        self._device = device.partition(":")[0]
        return self._device, resolved

    def run_stage(self, job: LabelJob, stage: Stage, shards: Sequence[int], progress: Progress) -> Iterator[Answer]:
        """See `Engine`."""
        import ray
        from ray.exceptions import OutOfMemoryError, RayActorError

        reference = [ray.put(stage.for_worker())]
        waiting, deaths = deque(shards), Counter[int]()
        running: dict[Any, tuple[Any, int]] = {}  # (worker, shard) by the reference of the answer
        while waiting or running:
            while waiting and len(running) < self.workers:
                worker, shard = self._idle.pop() if self._idle else self._new_worker(job), waiting.popleft()
                task = worker.run.options(name=f"shard-{shard:06d}")  # also the title of its process, for `ps`
                running[task.remote(reference, stage.unit(shard))] = worker, shard
            done, _ = ray.wait(list(running), timeout=_POLL)
            progress(0)
            for answer in done:
                worker, shard = running.pop(answer)
                try:
                    result = _result(answer)
                except (RayActorError, OutOfMemoryError) as error:
                    ray.kill(worker)  # it may be out of reach only
                    deaths[shard] += 1
                    self._report_death(shard, deaths[shard], error)
                    waiting.appendleft(shard)
                else:
                    self._idle.append(worker)
                    yield result

    def describe(self) -> str:
        """See `Engine`."""
        return f"{self._device}, {self.workers} Ray workers"

    def close(self) -> None:
        """See `Engine`: end Ray and wait until its processes are gone."""
        cluster, self._cluster, self._idle = self._cluster, None, []
        if cluster is not None:
            cluster.close()

    def _allot(self, nodes: Sequence[Node], threads: int) -> None:
        """Decide how many workers there are and how many cores and GPUs each one claims."""
        self._machines = len(nodes)
        gpus, largest = int(sum(node.gpus for node in nodes)), max(node.cpus for node in nodes)
        self._cpus = 1.0 if gpus else max(1.0, min(float(threads), largest))
        fitting = gpus or sum(int(node.cpus // self._cpus) for node in nodes)
        self.workers = self._requested or max(1, fitting)
        self._gpus = 0.0 if not gpus else 1.0 if self.workers <= gpus else 1.0 / math.ceil(self.workers / gpus)

    def _new_worker(self, job: LabelJob) -> Any:
        """Return a new actor."""
        assert self._cluster is not None
        threads = max(1, job.threads * self._machines // self.workers)
        actor = _remote(Worker, self._cpus, self._gpus)
        return actor.remote(str(Path.cwd()), threads, self._cluster.folder)

    def _report_death(self, shard: int, deaths: int, error: Any) -> None:
        """Warn that a shard's worker died; raises CcdError where another worker would not help."""
        if getattr(error, "actor_init_failed", False):
            reason = str(error).strip().splitlines()[-1]
            raise CcdError(
                f"A Ray worker cannot start: {reason}", "All machines need the same versions installed."
            ) from error
        if deaths == MAX_DEATHS:
            raise CcdError(
                f"Shard {shard}: {MAX_DEATHS} workers died over it, one after another.",
                "Is the memory full? Resume with fewer --workers; finished work is kept.",
            ) from error
        self._report.warn(f"Shard {shard} is computed again: the worker that had it died.")


def _remote(thing: Any, num_cpus: float, num_gpus: float) -> Any:
    """Return a function as a Ray task, or a class as a Ray actor, that claims so many cores and GPUs."""
    import ray

    return ray.remote(thing).options(num_cpus=num_cpus, num_gpus=num_gpus)


def _result(reference: Any) -> Any:
    """Return a finished task's result; raises what the task raised."""
    import ray
    from ray.exceptions import RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error


def _end_with_parent(parent: int, session: str) -> None:
    """End this process when Ray's process on this machine is gone; Ray would end it too, but not in the middle of a unit.

    Where the cluster ends with the run, end its agents too, which would outlive it, and remove its files: a run that was
    killed could not do either.
    """
    import psutil  # Ray brings it

    siblings = psutil.Process(parent).children() if session else []
    while os.getppid() == parent:
        time.sleep(0.3)
    for process in siblings:
        if process.pid != os.getpid():
            with suppress(psutil.Error):
                process.kill()
    if session:
        shutil.rmtree(session, ignore_errors=True)
    os._exit(1)
