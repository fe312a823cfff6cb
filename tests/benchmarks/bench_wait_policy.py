"""The cost of waiting threads on a shared machine: a small network's step with spinning and with sleeping waits.

    python tests/benchmarks/bench_wait_policy.py [--busy N]

Runs the same training step in fresh processes under OMP_WAIT_POLICY=ACTIVE and PASSIVE (ccd's default), first on the
machine as it is, then with N processes (default: one for each core) computing beside it. Prints seconds per step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

STEP = """
import time, torch
from torch import nn
net = nn.Sequential(*(nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()) for _ in range(12)))
x = torch.rand(8, 32, 64, 64)
for _ in range(4):
    began = time.perf_counter()
    net(x).mean().backward()
    print(time.perf_counter() - began)
"""


def seconds(policy: str) -> float:
    """Return the median step of a fresh process, without its first step."""
    done = subprocess.run(
        [sys.executable, "-c", STEP],
        env={**os.environ, "OMP_WAIT_POLICY": policy},
        capture_output=True,
        text=True,
        check=True,
    )
    return statistics.median([float(line) for line in done.stdout.split()][1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    for busy in (0, args.busy):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            active, passive = seconds("ACTIVE"), seconds("PASSIVE")
        finally:
            for other in others:
                other.kill()
                other.wait()
        print(
            f"{busy} other busy processes: spinning {active:.3f} s, sleeping {passive:.3f} s, ratio {active / passive:.2f}"
        )


if __name__ == "__main__":
    main()
