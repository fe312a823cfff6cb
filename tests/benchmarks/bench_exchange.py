"""Seconds of a training step of two gloo processes: gradients exchanged after the backward pass, or by DDP within it, in turns.

python tests/benchmarks/bench_exchange.py --student quickstart      # or: vits
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time

import torch
from torch import distributed, nn

from ccd_cli.core.compute import Compute
from ccd_cli.core.processes import average
from ccd_cli.distill.optimizer import make_optimizer
from ccd_cli.distill.state import Trained
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.parallel import replicate

STUDENTS = {
    "quickstart": (timm_arch("tf_efficientnet_lite0", features=32), 128, 4),
    "vits": (get_arch("depth-anything-v2-small"), 126, 2),
}
"""Architecture, side in pixels and images of each process."""
WARM_UP = 2


def work(rank: int, name: str, rounds: int, port: str) -> None:
    """Time both ways in one of the two processes; the first one prints."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    arch, side, images = STUDENTS[name]
    compute = Compute("cpu", "fp32", rank, 2)
    pixels = torch.rand(images, 3, side, side)
    ways: dict[str, tuple[DepthNet, nn.Module, torch.optim.Optimizer]] = {}
    for way in ("after", "within"):
        torch.manual_seed(0)
        student = DepthNet(arch).train()
        network: nn.Module = Trained(student, None)
        if way == "within":
            network = replicate(network, pixels[:1])
        optimizer = make_optimizer([(student.head_parameters(), 1e-5), (student.encoder_parameters(), 1e-5)], 0.01)
        ways[way] = (student, network, optimizer)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    processor: dict[str, list[float]] = {
        way: [] for way in ways
    }  # seconds of this process, which others do not lengthen
    for number in range(rounds + WARM_UP):
        for way in sorted(ways, reverse=number % 2 == 1):
            student, network, optimizer = ways[way]
            distributed.barrier()
            began, spent = time.perf_counter(), time.process_time()
            maps, tokens = network(pixels)
            (maps.square().mean() + tokens.square().mean()).backward()
            if way == "after":
                average([p.grad for p in student.parameters() if p.grad is not None], compute)
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            processor[way].append(time.process_time() - spent)
            distributed.barrier()
            seconds[way].append(time.perf_counter() - began)
    if rank == 0:
        after, within = (seconds[way][WARM_UP:] for way in ("after", "within"))
        ratio = statistics.median(b / a for a, b in zip(after, within, strict=True))
        print(
            f"{name}: {statistics.median(after):.3f} s after the backward pass, {statistics.median(within):.3f} s within it"
        )
        print(f"median ratio {ratio:.2f}, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
        cpu = [statistics.median(processor[way][WARM_UP:]) for way in ("after", "within")]
        print(f"processor seconds of one process {cpu[0]:.3f} and {cpu[1]:.3f}, ratio {cpu[1] / cpu[0]:.2f}")
    distributed.destroy_process_group()


def main() -> None:
    """Start the two processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", choices=STUDENTS, default="quickstart")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    torch.multiprocessing.spawn(work, (asked.student, asked.rounds, port), nprocs=2)


if __name__ == "__main__":
    main()
