"""A fresh process that predicts one photo and ends: what a first result costs, and the memory that it takes at its peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ccd_cli.bench.settings import Settings
from ccd_cli.core.errors import CcdError


def first_result(way: tuple[str, str], settings: Settings, exported: Path | None, photo: Path) -> tuple[float, int]:
    """Return (seconds from the start of a process to its end, bytes of memory at its peak) for one photo's default outputs.

    Raises CcdError with the last line that the process said where it fails.
    """
    asked = {
        "way": way,
        "model": settings.model,
        "arch": settings.arch,
        "resolution": settings.resolution,
        "threads": settings.threads,
        "exported": None if exported is None else str(exported),
        "photo": str(photo),
    }
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ccd_cli.bench.fresh", json.dumps(asked)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CcdError(f"A fresh process with {way[0]} {way[1]} failed: {said}.")
    return seconds, int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])


def main(asked: dict[str, Any]) -> None:
    """Predict one photo; print the peak of the memory."""
    import tempfile

    from ccd_cli.bench.subjects import Way, load
    from ccd_cli.core.compute import choose_compute
    from ccd_cli.core.report import Silent
    from ccd_cli.predict.run import run
    from ccd_cli.predict.settings import Settings as Predict

    way = Way(*asked["way"])
    plain = {key: asked[key] for key in ("model", "arch", "resolution", "threads")}
    settings = Settings(**plain)
    compute = choose_compute("cpu", way.precision, settings.threads)
    exported = None if asked["exported"] is None else Path(str(asked["exported"]))
    subject = load(way, settings, exported)
    with tempfile.TemporaryDirectory() as folder:
        outcome = run([str(asked["photo"])], subject.model, Predict(out=Path(folder)), compute, Silent())
    if outcome.failed:
        raise SystemExit(outcome.failed[0][1])
    print(json.dumps({"peak_bytes": peak_memory()}))


def peak_memory() -> int:
    """Return the bytes of memory that this process held at most.

    Linux carries the peak of the parent over into `getrusage` of a process that it starts; /proc tells the process's own.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
