"""Scenes rendered per second.

python tests/benchmarks/bench_scenes.py [--size 160x128 --device cpu --family mixed --scenes 48 --threads 1 --repeats 3]
"""

from __future__ import annotations

import argparse
import time

import torch

from ccd_cli.scenes import render
from ccd_cli.scenes.world.compose import compose


def seconds(scenes: int, height: int, width: int, family: str, device: str, start: int) -> float:
    begin = time.perf_counter()
    made = render(range(start, start + scenes), height, width, family=family, device=device)  # type: ignore[arg-type]
    made.rgb[-1].sum().item()  # waits for a GPU
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="160x128", help="width x height")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--family", default="mixed")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    width, height = map(int, args.size.split("x"))
    seconds(2, height, width, args.family, args.device, 10**6)  # noise tables, kernels
    runs = [seconds(args.scenes, height, width, args.family, args.device, n * args.scenes) for n in range(args.repeats)]
    begin = time.perf_counter()
    for seed in range(args.scenes):
        compose(seed, args.family)
    described = (time.perf_counter() - begin) / args.scenes
    rate = args.scenes / min(runs)
    where = f"{args.device}, {args.threads} threads" if args.device == "cpu" else args.device
    print(
        f"{rate:.1f} scenes/s at {width}x{height}, {args.family}, {where}; describing takes {described * 1e3:.2f} ms each"
    )


if __name__ == "__main__":
    main()
