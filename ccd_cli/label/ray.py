"""The engine of `ccd label --engine ray`: units of work go to the processes of a Ray cluster.

Without `RAY_ADDRESS`, and where no cluster runs, one is started on this machine, on its loopback interface alone, and ended
with the run. Ray itself lives in `label_ray_driver`, a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import queue
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ccd_cli.core import errors
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import choose_runtime
from ccd_cli.label.setup import LabelJob
from ccd_cli.label.stages import Stage, Tick, Unit

PATIENCE = 30.0  # seconds for Ray to end before its processes are killed
_LONGEST = 40  # characters of the folder of Ray's sockets, whose whole paths may have 107


class RayEngine:
    """Units go to `workers` actors (None: one a GPU, or as many as fit the cores), each with a teacher of its own."""

    def __init__(self, workers: int | None, verbose: bool, stop_if_asked: Callable[[], None], report: Report) -> None:
        """Raises CcdError where Ray is not installed; nothing is started before it is needed."""
        if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
            raise CcdError("--engine ray needs Ray.", 'Install it with: pip install -e ".[ray]"')
        self._wanted, self._verbose, self._stop_if_asked, self._report = workers, verbose, stop_if_asked, report
        self._process: subprocess.Popen[str] | None = None
        self._said: queue.Queue[str | None] = queue.Queue()
        self._temporary = ""
        self.workers, self._cpus, self._gpus, self._machines, self._device = 0, 1.0, 0.0, 1, ""

    def runtimes(self, device: str, precisions: Sequence[str], threads: int) -> tuple[str, list[str]]:
        """See `Engine`. Connects or starts the cluster, and asks one of its workers where it is another machine's."""
        if device.startswith("cuda:"):
            raise UsageProblem(
                f"--device {device}: --engine ray uses every GPU.",
                "Choose with CUDA_VISIBLE_DEVICES and --device cuda.",
            )
        address = cluster_address()
        if not address:
            self._device, precisions = runtimes(device, list(precisions), threads)
            gpus = 0 if self._device != "cuda" else _visible_gpus()
            self._spread_out([{"cpus": float(os.cpu_count() or 1), "gpus": float(gpus)}], threads)
            self._start("", math.ceil(self.workers * self._cpus))
            return self._device, list(precisions)
        nodes = self._start(address, 0)["nodes"]
        if device in ("cpu", "mps") or not any(node["gpus"] for node in nodes):
            nodes = [{**node, "gpus": 0.0} for node in nodes]
            device = "cpu" if device == "auto" else device
        self._spread_out(nodes, threads)
        self._send({"probe": [device, list(precisions), threads], "cpus": self._cpus, "gpus": self._gpus})
        self._device, precisions = self._hear(lambda: self._stop_if_asked())["probe"]
        return self._device, list(precisions)

    def each(self, job: LabelJob, stage: Stage, units: Iterable[Unit], tick: Tick) -> Iterator[dict[str, Any]]:
        """See `Engine`."""
        tries = (job.folder.parts / "tries" / stage.name).absolute()
        shutil.rmtree(tries, ignore_errors=True)
        waiting = list(units)
        self._send(
            {
                "stage": stage.name,
                "job": job.plain(),
                "folder": str(Path.cwd()),
                "tries": str(tries),
                "threads": max(1, job.workers * self._machines // self.workers),
                "workers": self.workers,
                "cpus": self._cpus,
                "gpus": self._gpus if stage.name.startswith("teacher") else 0.0,
                "units": len(waiting),
            }
        )
        for unit in waiting:
            self._send(unit)
        for _ in range(len(waiting)):
            answer = self._hear(lambda: tick(0))
            if answer["tries"] > 1:
                self._report.warn(f"Shard {answer['shard']} was made again: the worker that made it had died.")
            yield answer

    def describe(self) -> str:
        """See `Engine`."""
        return f"{self._device}, {self.workers} Ray workers"

    def close(self) -> None:
        """End Ray and wait until its processes are gone."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()  # tells it to leave
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _spread_out(self, nodes: list[dict[str, float]], threads: int) -> None:
        """Decide how many workers there are and what each one claims."""
        self._machines = len(nodes)
        gpus, largest = int(sum(node["gpus"] for node in nodes)), max(node["cpus"] for node in nodes)
        self._cpus = 1.0 if gpus else max(1.0, min(float(threads), largest))
        fitting = gpus or sum(int(node["cpus"] // self._cpus) for node in nodes)
        self.workers = self._wanted or max(1, fitting)
        self._gpus = 0.0 if not gpus else 1.0 if self.workers <= gpus else 1.0 / math.ceil(self.workers / gpus)

    def _start(self, address: str, cpus: int) -> dict[str, Any]:
        """Start the driver; return what the cluster has."""
        short = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST else "/tmp"
        self._temporary = tempfile.mkdtemp(prefix="ccd-ray-", dir=short)
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        environment.pop("RAY_ADDRESS", None)
        if not address:
            environment |= {
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's switch for "127.0.0.1 is this node's address"
                "RAY_AUTH_MODE": "token",  # whoever may connect may run code
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
            }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ccd_cli.label.ray_driver"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self._verbose else subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process, which ends the other one in order
        )
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        self._send({"address": address, "cpus": cpus, "folder": self._temporary, "verbose": self._verbose})
        return dict(self._hear(self._stop_if_asked)["cluster"])

    def _listen(self, source: Iterable[str]) -> None:
        for line in source:
            self._said.put(line)
        self._said.put(None)

    def _send(self, value: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        with suppress(BrokenPipeError):  # `_hear` says why
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()

    def _hear(self, meanwhile: Callable[[], None]) -> dict[str, Any]:
        """Return the driver's next line, calling `meanwhile` as it waits; raises the error that the line may be."""
        while True:
            meanwhile()
            try:
                line = self._said.get(timeout=0.2)
            except queue.Empty:
                continue
            if line is None:
                raise CcdError("Ray ended unexpectedly.", "-v shows what Ray says; the same command goes on.")
            said: dict[str, Any] = json.loads(line)
            if "error" not in said:
                return said
            if not said["error"]:
                raise RuntimeError(f"{said['message']}\n{said['hint']}")
            raise getattr(errors, said["error"])(said["message"], said["hint"])


def cluster_address() -> str:
    """Return the address of the cluster to join, or "" to start one.

    `RAY_ADDRESS` decides (`local` starts one); without it, a cluster that `ray start` has left running on this machine.
    Raises CcdError where nothing answers at `RAY_ADDRESS`.
    """
    wanted = os.environ.get("RAY_ADDRESS", "")
    if wanted == "local":
        return ""
    if wanted and wanted != "auto":
        if not _answers(wanted):
            raise CcdError(f"RAY_ADDRESS={wanted}: no Ray cluster answers there.", "Unset it to start one here.")
        return wanted
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray/ray_current_cluster"  # written by `ray start`
    try:
        running = note.read_text(encoding="utf-8").strip()
    except OSError:
        running = ""
    if running and _answers(running):
        return running
    if wanted:
        raise CcdError("RAY_ADDRESS=auto: no Ray cluster runs on this machine.", "Unset it to start one here.")
    return ""


def _answers(address: str) -> bool:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError):
        return False
    return True


def runtimes(device: str, precisions: list[str], threads: int) -> tuple[str, list[str]]:
    """Return the kind of device and the number formats, as a worker sees them."""
    chosen = [choose_runtime(device, precision, threads) for precision in precisions]
    return chosen[0].device.type, [one.precision for one in chosen]


def _visible_gpus() -> int:
    import torch

    return torch.cuda.device_count()
