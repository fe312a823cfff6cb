"""ccd: distil, evaluate and use monocular depth models from the command line."""

import os

# Threads that wait spin by default, and spinning threads starve the photo threads and every other program: on two busy
# cores a training step took 8 s instead of 0.4 s (tests/benchmarks/bench_wait_policy.py). Must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
