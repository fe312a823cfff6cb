"""The time to score an image relative to the time to predict it.

    python tests/benchmarks/bench_scoring.py [--height 480] [--width 640] [--arch depth-anything-v2-small] [--rounds 5]
                                             [--threads N]

Times, in turns in one process on the CPU, the forward pass of a network with random weights (time does not depend on them)
on an image of that size, as `ccd` would resize it, and the default protocol on its map: alignment of a disparity and all
metrics. Prints the smallest time of each and the ratio, then the other alignments and the boundary scores. The aim is a
tenth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from ccd_cli.metrics.alignment import METHODS, align
from ccd_cli.metrics.boundary import boundary_errors, depth_pro_f1, moge_f1
from ccd_cli.metrics.depth import image_metrics
from ccd_cli.models.arch import get_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.teachers.adapters.sizes import network_size

RANGE = (1e-3, 10.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--arch", default="depth-anything-v2-small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its default")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    arch = get_arch(args.arch)
    network = DepthNet(arch).eval()
    size = network_size(arch, args.height, args.width, None)
    image = torch.rand(1, 3, *size)
    gt, disparity, mask = _scene(args.height, args.width)

    def predict() -> None:
        with torch.inference_mode():
            network(image)

    def score() -> None:
        image_metrics(align("auto", disparity, gt, mask, "disparity", RANGE).depth, gt, mask)

    predict()
    predicting, scoring = [], []
    for _ in range(args.rounds):
        predicting.append(_seconds(predict))
        scoring.append(_seconds(score))
    a, b = min(predicting), min(scoring)
    print(f"{args.height}x{args.width}, {args.arch} at {size[0]}x{size[1]}, {torch.get_num_threads()} threads")
    print(f"forward pass     {a * 1e3:9.1f} ms")
    print(f"default protocol {b * 1e3:9.1f} ms")
    print(f"ratio            {b / a:9.4f}  (1/{a / b:.0f})")
    depth = 1 / disparity
    for method in METHODS:
        kind = "disparity" if method in ("least-squares-disparity", "midas", "moge-disparity") else "depth"
        pred = disparity if kind == "disparity" else depth
        took = min(
            _seconds(lambda m=method, p=pred, k=kind: align(m, p, gt, mask, k, RANGE)) for _ in range(args.rounds)
        )
        print(f"  align {method:24} {took * 1e3:9.1f} ms")
    others: dict[str, Callable[[], object]] = {
        "image_metrics": lambda: image_metrics(depth, gt, mask),
        "depth_pro_f1": lambda: depth_pro_f1(depth, gt, mask),
        "moge_f1, radius 1": lambda: moge_f1(depth, gt, mask),
        "boundary_errors": lambda: boundary_errors(depth, gt > 4),
    }
    for name, run in others.items():
        print(f"  {name:30} {min(_seconds(run) for _ in range(args.rounds)) * 1e3:9.1f} ms")


def _scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (true depth, predicted disparity, mask) with nine tenths of the pixels valid, as a sensor leaves them."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    gt = 3 + np.sin(x / 70) + y / height * 3 + rng.normal(0, 0.02, x.shape)
    disparity = 30 / gt + 4 + rng.normal(0, 0.2, x.shape)
    return gt.astype(np.float32), disparity.astype(np.float32), rng.random(x.shape) < 0.9


def _seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
