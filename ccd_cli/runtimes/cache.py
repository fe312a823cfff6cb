"""Networks that were exported once for other runtimes, and what OpenVINO compiled of them, in `$CCD_HOME/runtimes`.

A folder a network: `network.onnx` with its facts, and a folder of OpenVINO's for each of its versions, precision, threads and
processor. What is there is whole (written beside and renamed) and is compared with its checksums before it is used; what is
damaged is made again. One process at a time works in a folder. No torch here.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from ccd_cli.core.checksums import checksum, is_intact, is_sealed, seal
from ccd_cli.core.errors import CheckpointError
from ccd_cli.core.files import atomic_write, disk_error, write_json
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.core.parse import parse_json
from ccd_cli.core.paths import cache_folder
from ccd_cli.core.report import Report
from ccd_cli.runtimes.facts import ExportFacts, facts_path, read_facts, write_facts
from ccd_cli.runtimes.sessions import Session, open_session

FORMAT = 1
"""Goes up when the graphs of the same weights change."""
_BUSY = "Another process prepares this network."


def graph_path(about: ExportFacts) -> Path:
    """Return where the graph of these weights belongs, by their hash, the architecture, and the versions that write graphs."""
    made_by = [FORMAT, metadata.version("torch"), about.source_sha256, asdict(about.arch)]
    digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", about.arch.name)[:60]
    return cache_folder() / "runtimes" / f"{name}-{digest}" / "network.onnx"


def is_cached(about: ExportFacts) -> bool:
    """Return whether the graph of these weights is there, whole or damaged."""
    return facts_path(graph_path(about)).is_file()


def cached_graph(about: ExportFacts, write: Callable[[Path], None], report: Report, seconds: float) -> Path:
    """Return the graph of these weights, which `write(path)` writes where there is none or a damaged one.

    `seconds` is how long that is expected to take, for the note. Raises what `write` raises, and CcdError on a full disk.
    """
    path = graph_path(about)
    with exclusive_lock(path.parent / ".lock", _BUSY, lambda: report.note(f"{_BUSY} Waiting for it")):
        if is_cached(about):
            try:
                if read_facts(path).source_sha256 == about.source_sha256:
                    return path
                problem = "it is of other weights"
            except CheckpointError as error:
                problem = error.message
            report.note(f"The prepared network in {path.parent} cannot be used and is made again: {problem}")
            facts_path(path).unlink(missing_ok=True)
        report.note(
            f"Preparing {about.name} for other runtimes, once: this takes about {max(1, round(seconds))} seconds"
        )
        with atomic_write(path) as temporary:
            write(temporary)
        write_facts(path, about)  # last: where the facts are, the graph is whole
    return path


def open_cached(runtime: str, graph: Path, precision: str, threads: int | None, report: Report) -> Session:
    """Return a graph of the cache as a session; what OpenVINO compiles is kept beside it. Raises what `open_session` raises."""
    if runtime != "openvino":
        return open_session(runtime, graph, precision, threads)
    folder = graph.parent / f"openvino-{_compiled_key(precision, threads)}"
    record = folder.with_name(f"{folder.name}.json")
    with exclusive_lock(graph.parent / ".lock", _BUSY, lambda: report.note(f"{_BUSY} Waiting for it")):
        if record.is_file():
            if _is_whole(folder, record):
                return open_session(runtime, graph, precision, threads, folder)
            report.note(f"What OpenVINO compiled in {folder} is damaged and is made again")
        shutil.rmtree(folder, ignore_errors=True)
        record.unlink(missing_ok=True)
        temporary = folder.with_name(f".{folder.name}-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            for left in graph.parent.glob(".openvino-*"):  # by a process that was killed: only one at a time works here
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir(parents=True)
            session = open_session(runtime, graph, precision, threads, temporary)
            found = checksum(temporary)
            if found["files"]:  # on a full disk OpenVINO keeps nothing, without a word
                temporary.replace(folder)
                write_json(record, seal({"compiled": found}))
        except OSError as error:
            raise disk_error(error, folder) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return session


def _is_whole(folder: Path, record: Path) -> bool:
    try:
        found = parse_json(record.read_bytes())
    except (OSError, ValueError):
        return False
    return is_sealed(found) and is_intact(folder, found.get("compiled"), full=True)


def _compiled_key(precision: str, threads: int | None) -> str:
    """What else decides OpenVINO's code: its version, the precision, the threads, and the processor's instructions."""
    facts = [metadata.version("openvino"), precision, threads, processor()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def processor() -> str:
    """Return what tells processors apart: model and instruction sets on Linux, else what the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    keys = ("model name", "flags", "Features", "CPU part")
    found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    return "; ".join(found[key] for key in keys if key in found)
