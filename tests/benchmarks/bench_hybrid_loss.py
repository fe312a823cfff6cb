"""Hybrid loss, forward and backward: this project's against two plain implementations, in one interleaved run on a CPU.

python tests/benchmarks/bench_hybrid_loss.py [--size 560 --batch 8 --threads N --repeats 5 --contexts range]
Prints the median time of each, both ratios, and the largest differences of losses and gradients (sum-reduced gradients
are shown relative to the largest gradient). With the HDN authors' results beside the checkout (or in CCD_SHARED) it
also prints the differences from them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from plain_losses import indexed, whole_map
from torch import Tensor

from ccd_cli.losses.terms import normalized_l1, reduce_loss

LEVELS = (1, 2, 4)
FAMILIES = {"dr": "range", "dp": "quantile", "ds": "grid"}


def make_maps(batch: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A smooth, skewed label with steps, a noisy student of another scale, and a mask with 2 % holes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 1, 12, 12, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[:, 0]
    label = torch.exp(0.7 * smooth + 0.4 * (smooth > 0.3))
    pred = 20 * label**0.9 + 3 + torch.randn(label.shape, generator=generator)
    return pred, label, torch.rand(label.shape, generator=generator) > 0.02


def timed(loss: Callable[[Tensor], Tensor], pred: Tensor, mask: Tensor) -> tuple[float, Tensor, Tensor]:
    """Seconds of one forward and backward, the loss map, the gradient of the mean scaled by the number of pixels."""
    leaf = pred.clone().requires_grad_()
    start = time.perf_counter()
    loss_map = loss(leaf)
    reduce_loss(loss_map, mask).backward()
    seconds = time.perf_counter() - start
    assert leaf.grad is not None
    return seconds, loss_map.detach(), leaf.grad * mask.sum()


def compare(batch: int, size: int, repeats: int, contexts: str) -> None:
    pred, label, mask = make_maps(batch, size)
    rivals: dict[str, Callable[[Tensor], Tensor]] = {
        "ccd": lambda p: normalized_l1(p, label, mask, "hybrid", contexts, LEVELS),
        "(a) whole-map masks": lambda p: whole_map(p, label, mask, contexts, LEVELS, "ccd"),
        "(b) indexed loop": lambda p: indexed(p, label, mask, contexts, LEVELS, "ccd"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    results: dict[str, tuple[Tensor, Tensor]] = {}
    for repeat in range(repeats + 1):
        for name, loss in rivals.items():
            took, loss_map, gradient = timed(loss, pred, mask)
            if repeat:  # the first round warms up
                seconds[name].append(took)
            results[name] = loss_map, gradient
    ours = statistics.median(seconds["ccd"])
    print(f"hybrid, {contexts}, {batch} x {size} x {size}, {torch.get_num_threads()} threads, median of {repeats}")
    for name, times in seconds.items():
        middle = statistics.median(times)
        forward = (results[name][0] - results["ccd"][0]).abs().max().item()
        largest = results["ccd"][1].abs().max()
        backward = ((results[name][1] - results["ccd"][1]).abs().max() / largest).item()
        print(f"  {name:20} {1e3 * middle:8.1f} ms  x{middle / ours:5.2f}  loss {forward:.1e}  gradient {backward:.1e}")


def compare_reference(path: Path) -> None:
    arrays = np.load(path)
    for key in (k for k in arrays.files if "_hdn_" in k):
        case, family = key.split("_hdn_")
        pred, label, mask = (torch.from_numpy(arrays[f"{case}_{part}"])[:, 0] for part in ("pred", "gt", "mask"))
        loss_map = normalized_l1(pred, label, mask, "hybrid", FAMILIES[family[:2]], LEVELS, "hdn")
        ours, theirs = reduce_loss(loss_map, mask).item(), float(arrays[key])
        print(f"  {key:24} ours {ours:.7f}  HDN {theirs:.7f}  difference {abs(ours - theirs):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=560)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--contexts", choices=list(FAMILIES.values()), default="range")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    compare(options.batch, options.size, options.repeats, options.contexts)
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    reference = Path(os.environ.get("CCD_SHARED", beside)) / "parity" / "expected" / "hdn_losses.npz"
    if reference.is_file():
        compare_reference(reference)
    else:
        print(f"  no reference results at {reference}: comparison with the HDN authors' code skipped")


if __name__ == "__main__":
    main()
