"""The Ray cluster of a run: one that is running already, or one on this machine that is started and ended with the run.

Ray's driver is this process. A cluster that is started here listens on the loopback interface alone and asks for a token.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ccd_cli.core.errors import CcdError, first_line

_LONGEST = 40  # characters of the folder of Ray's sockets, whose whole paths may have 107
_OBJECT_STORE = 200 * 2**20  # bytes: units and answers are small
_TOKEN = secrets.token_hex(32)  # one per process: Ray reads it once
_WAIT = 5.0  # seconds for killed processes to be gone


class Node(NamedTuple):
    """CPU cores and GPUs of one machine, as Ray counts them."""

    cpus: float
    gpus: float


class Cluster:
    """A connection to the cluster at `address`, or to one of `cpus` workers that is started here where that is "".

    `verbose` shows Ray's own messages, on stderr. `folder` has the files of a cluster that was started here, else "".
    Raises CcdError where Ray cannot start or be reached.
    """

    def __init__(self, address: str, cpus: int, verbose: bool) -> None:
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():
            raise CcdError("This process is connected to a Ray cluster already.", "Call ray.shutdown() first.")
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        options: dict[str, Any] = {"address": address}
        self.folder = ""
        self._processes: list[Any] = []  # psutil's
        if not address:
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's switch for "127.0.0.1 is this node's address"
            os.environ["RAY_AUTH_MODE"] = "token"  # whoever may connect may run code
            os.environ.setdefault("RAY_AUTH_TOKEN", _TOKEN)
            short = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST else "/tmp"
            self.folder = tempfile.mkdtemp(prefix="ccd-ray-", dir=short)
            options = {
                "address": "local",
                "num_cpus": cpus,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE,
                "_temp_dir": self.folder,
            }
        self._output = ExitStack()
        self._output.enter_context(_stdout_without_ray(verbose))
        import ray

        with _own_signal_handler(), self._ended_on_failure():
            ray.init(**options, log_to_driver=verbose, logging_level=logging.INFO if verbose else logging.ERROR)

    def nodes(self) -> list[Node]:
        """Return the machines that are up."""
        import ray

        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return [Node(one.get("CPU", 0.0), one.get("GPU", 0.0)) for one in resources]

    def close(self) -> None:
        """Disconnect; a cluster that was started here is ended and its files are removed."""
        import psutil  # Ray brings it
        import ray

        running = [process for parent in self._processes for process in _with_children(parent)]
        ray.shutdown()  # first: Ray ends a process whose cluster is gone
        self._output.close()
        for process in running:  # Ray's agents outlive it by half a minute, workers by their unit
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(running, timeout=_WAIT)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def _ended_on_failure(self) -> Iterator[None]:
        """Record the processes that the block starts; where it fails, end them and raise CcdError with the reason."""
        import psutil

        before = set(psutil.Process().children())
        try:
            try:
                yield
            finally:
                if self.folder:
                    self._processes = [one for one in psutil.Process().children() if one not in before]
        except Exception as error:
            self.close()
            raise CcdError(
                f"Ray cannot start or be reached: {first_line(error)}.", "-v shows Ray's messages."
            ) from error
        except BaseException:
            self.close()
            raise


def _with_children(process: Any) -> list[Any]:
    """Return a process of psutil's and all that it started."""
    import psutil

    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return [process]


@contextmanager
def _stdout_without_ray(verbose: bool) -> Iterator[None]:
    """Keep stdout for results, for the block: Ray's driver prints there. With `verbose` its lines go to stderr."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(sys.stderr if verbose else nowhere):
        yield


@contextmanager
def _own_signal_handler() -> Iterator[None]:
    """Restore the handler of SIGTERM after the block: Ray sets its own, which would end this process at once."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


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
