"""A process of its own that talks to Ray, so that Ray's messages, signal handlers and threads stay out of `ccd`.

Started by `label_ray`; JSON lines come in on stdin and go out on stdout. First the cluster, then one line a stage, followed
by its units. When stdin ends, however `ccd` ended, a cluster that was started here ends as well.

Ray Data runs a stage: `map_batches` over an actor pool gives workers that keep their teacher, bounds what is in flight,
and redoes the work of an actor that died. Each block is one unit and each batch one block, so Ray decides neither which
crops are computed together nor what a shard holds.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TextIO

IN_FLIGHT = 2
"""Units that an actor has at a time: the one it works on, and the next."""
RESTARTS = 100
"""How often one actor is started again; the tries of each unit are bounded in `label_ray_worker`."""

_LEAVING = threading.Lock()
_FOLDER: list[str] = []  # of Ray's own files


def main() -> None:
    """Serve one run."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Ray prints belongs with its log
    lines = _lines()
    start = json.loads(next(lines))
    _FOLDER.append(start["folder"])

    def say(value: dict[str, Any]) -> None:
        out.write(json.dumps(value) + "\n")
        out.flush()

    try:
        say({"cluster": _connect(start)})
        for line in lines:
            order = json.loads(line)
            if "probe" in order:
                say({"probe": _probe(order)})
            else:
                for answer in _each(order, [next(lines) for _ in range(order["units"])]):
                    out.write(answer + "\n")
                    out.flush()
    except Exception as error:
        say({"error": "CcdError", "message": f"Ray: {_first_line(error)}", "hint": "-v shows what Ray says."})
    finally:
        _leave()


def _lines() -> Iterator[str]:
    """Yield the lines of stdin; at its end, which a thread notices while Ray works, leave."""
    import queue

    ready: queue.Queue[str | None] = queue.Queue(1000)

    def read(source: TextIO) -> None:
        for line in source:
            ready.put(line)
        ready.put(None)
        _leave()

    threading.Thread(target=read, args=(sys.stdin,), daemon=True).start()
    while (line := ready.get()) is not None:
        yield line


def _connect(start: dict[str, Any]) -> dict[str, Any]:
    """Join the cluster at `address`, or start one of `cpus` on the loopback interface; return what it has."""
    import logging

    import ray

    quiet: dict[str, Any] = {
        "log_to_driver": bool(start["verbose"]),
        "logging_level": "INFO" if start["verbose"] else "ERROR",
    }
    if start["address"]:
        ray.init(address=start["address"], **quiet)
    else:
        ray.init(
            address="local",
            num_cpus=start["cpus"],
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            _temp_dir=start["folder"],
            **quiet,
        )
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    if not start["verbose"]:
        logging.getLogger("ray").setLevel(logging.ERROR)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return {"nodes": [{"cpus": node.get("CPU", 0.0), "gpus": node.get("GPU", 0.0)} for node in nodes]}


def _probe(order: dict[str, Any]) -> Any:
    """Return the device and the number formats that a worker with these resources has."""
    import ray

    from ccd_cli.label.ray_worker import probe

    task = ray.remote(probe).options(num_cpus=order["cpus"], num_gpus=order["gpus"])
    return ray.get(task.remote(*order["probe"]))


def _each(order: dict[str, Any], units: list[str]) -> Iterator[str]:
    """Yield the answers of a stage as JSON."""
    import ray.data

    from ccd_cli.label.ray_worker import Worker

    rows = ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
    answers = rows.map_batches(
        Worker,
        fn_constructor_args=(order["stage"], order["job"], order["folder"], order["tries"], order["threads"]),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            size=min(order["workers"], len(units)), max_tasks_in_flight_per_actor=IN_FLIGHT
        ),
        num_cpus=order["cpus"],
        num_gpus=order["gpus"],
        max_restarts=RESTARTS,
        max_task_retries=-1,
    )
    for batch in answers.iter_batches(batch_size=1, prefetch_batches=0):
        yield str(batch["answer"][0])


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _leave() -> None:
    """End Ray, with every process that was started for it, and this process."""
    _LEAVING.acquire()  # for good: only one thread does it
    if "ray" in sys.modules:
        import psutil  # comes with Ray
        import ray

        started = psutil.Process().children(recursive=True)  # nothing where a cluster was joined
        if not started:
            with suppress(Exception):
                ray.shutdown()
        else:
            shutil.rmtree(_FOLDER[0], ignore_errors=True)  # now: without its cluster this process ends at any moment
        for process in started:  # asked politely, Ray's agents outlive it by half a minute
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(started, timeout=5)
    if _FOLDER:
        shutil.rmtree(_FOLDER[0], ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
