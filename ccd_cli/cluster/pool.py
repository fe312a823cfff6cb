"""A pool of Ray actors that run items of work: `--engine ray` of `ccd label` and `ccd predict`.

An actor has one item at a time, so it is clear which item one that dies had: it goes to another. Items take seconds to minutes;
the milliseconds between two of them do not count. Which actor runs an item must not change what it writes.
"""

from __future__ import annotations

import gc
import importlib.util
import math
import os
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from ccd_cli.cluster.connection import Cluster, Node, cluster_address
from ccd_cli.core.compute import empty_cache
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Report

MAX_DEATHS = 3
"""How many workers may die over one item."""
_POLL = 0.2  # seconds between looks for Ctrl-C
_VARIABLES = ("CCD_HOME", "HF_HOME", "HF_HUB_OFFLINE")
"""What the workers of a cluster that runs already take over from this process."""

Place = TypeVar("Place")


class Item(Protocol):
    """A piece of work; it is pickled."""

    @property
    def title(self) -> str:
        """Its name as the title of the worker's process, for `ps`."""
        ...

    @property
    def words(self) -> str:
        """Its name in a warning."""
        ...

    def split(self) -> Sequence[Self]:
        """Return the smaller items that it is done as once a worker has died over it; itself where there are none."""
        ...


class Task(Protocol):
    """What is done with items; it is pickled and sent to a worker once, not with every item."""

    def run(self, item: Any) -> Any:
        """Do an item and return the answer, which is pickled; what it raises ends the run."""
        ...

    def release(self) -> None:
        """Free what was loaded."""
        ...


@dataclass(frozen=True)
class Lost:
    """In place of an answer: MAX_DEATHS workers died over the item."""

    error: Exception

    def problem(self, words: str) -> CcdError:
        """Return the error for an item of this name."""
        return CcdError(
            f"{words}: {MAX_DEATHS} workers died over it, one after another.",
            "Is the memory full? Resume with fewer --workers; finished work is kept.",
        )


class Pool:
    """Items go to `workers` actors (None: one per GPU, or as many as fit the cores); `verbose` shows Ray's own messages.

    Use it as a context, or `close` it.
    """

    def __init__(self, workers: int | None, verbose: bool, report: Report) -> None:
        """Raises CcdError where Ray is not installed; nothing is started before it is needed."""
        if importlib.util.find_spec("ray") is None:
            raise CcdError("--engine ray needs Ray.", 'Install it with: pip install -e ".[ray]"')
        self._requested, self._verbose, self._report = workers, verbose, report
        self._cluster: Cluster | None = None
        self._idle: list[Any] = []  # actors that have no item
        self._starting: dict[Any, Any] = {}  # actors that are not there yet, by the reference of their first answer
        self._stillborn = 0
        self.workers, self._cpus, self._gpus, self._machines = 0, 1.0, 0.0, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, device: str, cores: int, question: Callable[[str], tuple[str, Place]], tick: Callable[[], object]
    ) -> tuple[str, Place]:
        """Return what `question(device)` answers where the workers run: the device that is meant by it, and what belongs to it.

        Decides how many workers there are, each of which takes `cores` where they compute on CPUs. Connects to the cluster that
        runs already, and has a worker answer; where there is none, one is started on this machine by the first `run`. `tick` may
        raise to stop. Raises UsageProblem for a single GPU.
        """
        if device.startswith("cuda:"):
            raise UsageProblem(
                f"--device {device}: --engine ray uses every GPU.",
                "Choose with CUDA_VISIBLE_DEVICES and --device cuda.",
            )
        if not (address := cluster_address()):
            answer = question(device)
            self._allot([Node(float(os.cpu_count() or 1), float(_gpus_of(answer[0])))], cores)
            return answer
        self._cluster = Cluster(address, 0, self._verbose)
        import ray

        nodes = self._cluster.nodes()
        if device in ("cpu", "mps") or not any(node.gpus for node in nodes):
            nodes = [Node(node.cpus, 0.0) for node in nodes]
            device = "cpu" if device == "auto" else device
        self._allot(nodes, cores)
        asked = _remote(_answer, self._cpus, self._gpus).remote(question, device)
        while not ray.wait([asked], timeout=_POLL)[0]:
            tick()
        found: tuple[str, Place] = _result(asked)
        return found

    def share(self, threads: int) -> int:
        """Return how many of the `threads` of every machine are one worker's."""
        return max(1, threads * self._machines // self.workers)

    def run(self, task: Task, items: Iterable[Item], tick: Callable[[], object]) -> Iterator[tuple[Any, Any]]:
        """Yield (item, answer) of every item, in any order; `tick` is called all the while and may raise to stop.

        `items` is read as workers become free. Where a worker dies, its item is split and done again, with a warning; where
        MAX_DEATHS of them died over one, the answer is Lost. Raises what the task raises, and CcdError where no worker starts.
        """
        if self._cluster is None:
            self._cluster = Cluster("", math.ceil(self.workers * self._cpus), self._verbose)
            tick()
        import ray
        from ray.exceptions import OutOfMemoryError, RayActorError

        reference, source = [ray.put(task)], iter(items)
        waiting, deaths = deque[Item](), Counter[int]()  # deaths by the identity of the item
        running: dict[Any, tuple[Any, Item]] = {}  # (worker, item) by the reference of the answer
        while True:
            waiting.extend(islice(source, max(0, self.workers - len(waiting))))
            while waiting and self._idle:
                worker, item = self._idle.pop(), waiting.popleft()
                running[worker.run.options(name=item.title).remote(reference, item)] = worker, item
            while len(self._starting) < min(len(waiting), self.workers - len(running)):
                self._start_worker()
            if not running and not waiting:
                return
            done, _ = ray.wait([*running, *self._starting], timeout=_POLL)
            tick()
            for answer in done:
                if answer in self._starting:
                    self._take_started(answer)
                    continue
                worker, item = running.pop(answer)
                count = deaths.pop(id(item), 0)
                try:
                    result = _result(answer)
                except (RayActorError, OutOfMemoryError) as error:
                    ray.kill(worker)  # it may be out of reach only
                    if count + 1 == MAX_DEATHS:
                        yield item, Lost(error)
                        continue
                    self._report.warn(f"{item.words} is computed again: the worker that had it died.")
                    parts = item.split()
                    deaths.update({id(part): count + 1 for part in parts})
                    waiting.extendleft(reversed(parts))
                else:
                    self._idle.append(worker)
                    yield item, result

    def close(self) -> None:
        """End Ray and wait until its processes are gone."""
        cluster, self._cluster, self._idle, self._starting = self._cluster, None, [], {}
        if cluster is not None:
            cluster.close()

    def _allot(self, nodes: Sequence[Node], cores: int) -> None:
        """Decide how many workers there are and how many cores and GPUs each one claims."""
        self._machines = len(nodes)
        gpus, largest = int(sum(node.gpus for node in nodes)), max(node.cpus for node in nodes)
        self._cpus = 1.0 if gpus else max(1.0, min(float(cores), largest))
        fitting = gpus or sum(int(node.cpus // self._cpus) for node in nodes)
        self.workers = self._requested or max(1, fitting)
        self._gpus = 0.0 if not gpus else 1.0 if self.workers <= gpus else 1.0 / math.ceil(self.workers / gpus)

    def _start_worker(self) -> None:
        """Ask for a new actor. It gets an item when it is there: a cluster that has lost a machine may never have room for it."""
        assert self._cluster is not None
        variables = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        actor = _remote(_Worker, self._cpus, self._gpus).remote(str(Path.cwd()), self._cluster.folder, variables)
        self._starting[actor.ready.remote()] = actor

    def _take_started(self, answer: Any) -> None:
        """Take over an actor that is there; raises CcdError where none will be."""
        import ray
        from ray.exceptions import OutOfMemoryError, RayActorError

        worker = self._starting.pop(answer)
        try:
            _result(answer)
        except (RayActorError, OutOfMemoryError) as error:
            ray.kill(worker)
            _check_that_workers_start(error)
            self._stillborn += 1
            if self._stillborn == MAX_DEATHS:
                raise CcdError(f"{MAX_DEATHS} Ray workers died as they started.", "-v shows Ray's messages.") from error
        else:
            self._stillborn = 0
            self._idle.append(worker)


class _Worker:
    """Runs items; lives in a process of Ray's to the end of the run, with what the present task has loaded.

    `folder` is where relative paths begin. `session` is the folder of a cluster that ends with the run, or "".
    """

    def __init__(self, folder: str, session: str, variables: dict[str, str]) -> None:
        os.dup2(2, 1)  # what a model prints goes to stderr
        os.environ |= variables
        threading.Thread(target=_end_with_parent, args=(os.getppid(), session), daemon=True).start()
        self._folder = folder
        self._task: tuple[Any, Task] | None = None  # with its reference

    def ready(self) -> None:
        """Answer, which a worker can that is there."""

    def run(self, reference: list[Any], item: Any) -> Any:
        """Do an item of the task that the only reference in a list is to; raises what the task raises.

        The list keeps Ray from sending the task with every item. Raises CcdError where this machine lacks the folder.
        """
        try:
            os.chdir(self._folder)
        except OSError as error:
            raise CcdError(
                f"A machine of the cluster has no {self._folder}.",
                "All its machines need the inputs, the models and the output folder at the same paths.",
            ) from error
        return self._present(*reference).run(item)

    def _present(self, reference: Any) -> Task:
        """Return the task of a reference; one that came before is released first."""
        import ray

        if self._task is None or self._task[0] != reference:
            if self._task is not None:
                self._task[1].release()
                self._task = None
                gc.collect()
                empty_cache()
            self._task = reference, ray.get(reference)
        return self._task[1]


def _answer(question: Callable[[str], Any], device: str) -> Any:
    return question(device)  # Ray's tasks are plain functions, and a question may be a partial one


def _check_that_workers_start(error: Any) -> None:
    """Raise CcdError where another worker would not help."""
    if getattr(error, "actor_init_failed", False):
        reason = str(error).strip().splitlines()[-1]
        raise CcdError(
            f"A Ray worker cannot start: {reason}", "All machines need the same versions installed."
        ) from error


def _gpus_of(device: str) -> int:
    """Return how many GPUs this machine has for a device."""
    if device.partition(":")[0] != "cuda":
        return 0
    import torch

    return torch.cuda.device_count()


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
    """End this process when Ray's process on this machine is gone; Ray would end it too, but not in the middle of an item.

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
