"""The fraction of a distillation step that is spent outside the two networks.

    python tests/benchmarks/bench_step.py [--size 518] [--arch depth-anything-v2-small] [--teacher ARCH] [--batch 1]
                                          [--patches 4] [--steps 3] [--device cpu] [--precision fp32]

Runs whole steps of `ccd distill`'s own loop (random weights: time does not depend on them) and, between them in the same
process, the bare networks on inputs of the same shapes: the teacher forward, the student forward and backward. Prints
the median of each and the fraction outside: loss, labels, crops, augmentation, optimizer, metrics, waiting for images.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ccd_cli.config.load import check_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.compute import Compute
from ccd_cli.core.report import Silent
from ccd_cli.distill import train as distill
from ccd_cli.models.arch import get_arch
from ccd_cli.models.checkpoint import save_model
from ccd_cli.models.depth_net import DepthNet


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--arch", default="depth-anything-v2-small", help="student")
    parser.add_argument("--teacher", default="depth-anything-v2-small")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        recipe = check_recipe(_recipe(folder, args), "benchmark")
        whole: list[float] = []
        bare: list[float] = []
        jobs: list[tuple[distill.Run, distill.TrainState]] = []

        class Watch(Silent):
            """Times the loop from one report to the next, and the bare networks between them."""

            began = 0.0

            def advance(self, done: int, **figures: float | str) -> None:
                _wait(jobs[0][0].compute)
                whole.append(time.perf_counter() - self.began)
                bare.append(_bare(*jobs[0], args))
                self.began = time.perf_counter()

            def begin(self, what: str, total: int, done: int = 0) -> None:
                self.began = time.perf_counter()

        prepared = distill.prepare

        def keep(*arguments: object) -> tuple[distill.Run, distill.TrainState]:
            jobs.append(prepared(*arguments))  # type: ignore[arg-type]
            return jobs[0]

        distill.prepare = keep
        watch = Watch()
        distill.run(
            recipe, DistillSettings(out=str(folder / "run"), device=args.device, precision=args.precision), watch
        )
    a, b = statistics.median(whole[1:]), statistics.median(bare[1:])
    views = f"{args.batch} x (1 + {args.patches}) teacher views"
    print(f"{args.size} px, {views}, {jobs[0][0].compute.describe()}, {len(whole) - 1} steps")
    print(f"whole step    {a:8.3f} s")
    print(f"bare networks {b:8.3f} s")
    print(f"outside       {(1 - b / a) * 100:8.1f} %")


def _recipe(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Write photos and a teacher with random weights; return the recipe as plain values."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for i in range(4):
        low = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(low).resize((1500, 1000), Image.Resampling.BICUBIC).save(folder / "photos" / f"{i}.jpg")
    arch = get_arch(args.teacher)
    save_model(folder / "teacher.safetensors", DepthNet(arch), arch)
    return {
        "name": "benchmark",
        "images": str(folder / "photos"),
        "student": {"arch": args.arch, "init": "scratch"},
        "teachers": [str(folder / "teacher.safetensors")],
        "crops": {"size": args.size, "patches": args.patches},
        "optim": {"steps": args.steps + 1, "batch": args.batch, "checkpoint_every": 10_000},
        "log": {"samples": 0, "tensorboard": False},
        "masks": {"flat": False},
    }


def _bare(run: distill.Run, state: distill.TrainState, args: argparse.Namespace) -> float:
    """Return the seconds of the teacher's forward and the student's forward and backward on the step's shapes."""
    device = run.compute.device
    seen = torch.rand(args.batch * (1 + args.patches), 3, args.size, args.size, device=device)
    own = torch.rand(args.batch, 3, args.size, args.size, device=device)

    def networks() -> None:
        run.ensemble.members[0].teacher.predict_with_features(seen)
        with run.compute.autocast():
            maps, tokens = state.student.forward_with_features(state.student.normalize(own))
        (maps.float().mean() + tokens.float().mean()).backward()
        state.optimizer.zero_grad(set_to_none=True)

    return _timed(networks, run.compute)


def _timed(function: Callable[[], None], compute: Compute) -> float:
    _wait(compute)
    began = time.perf_counter()
    function()
    _wait(compute)
    return time.perf_counter() - began


def _wait(compute: Compute) -> None:
    if compute.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
