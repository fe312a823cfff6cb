"""Two processes, as copies and as shards: gradients, a step, the EMA and the saved state are those of one process."""

from __future__ import annotations

import copy
import os
import socket
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.compute import Compute
from ccd_cli.data.batch import StudentViews
from ccd_cli.distill.optimizer import finish_gradients, optimizer_step, update_ema
from ccd_cli.distill.setup import begin
from ccd_cli.distill.state import whole_student
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.parallel import is_shard

MICRO_STEPS, IMAGES = 2, 2
FIRST = {"copies": 1e-5, "shards": 1e-5, "shards of stages": 5e-5}
"""How near the first gradient norms are: shards are contiguous, and convolutions of another memory format round differently."""
STUDENTS = {
    "copies": ("mobilenetv4_conv_small", {}),
    "shards": ("test_vit", {"sharded": True, "checkpointing": True}),
    "shards of stages": ("mobilenetv4_conv_small", {"sharded": True, "freeze_encoder": True}),
}


def training(encoder, options, rank, world):
    """What a run begins with, and the whole untrained student."""
    student = {"arch": "timm", "encoder": encoder, "batch_norm": "frozen", **options}
    values = {"name": "x", "teachers": ["a"], "student": student, "crops": {"size": 64}, "optim": {"ema": 0.9}}
    torch.manual_seed(0)
    network = DepthNet(timm_arch(encoder, features=16))
    network.encoder.unused = nn.Linear(3, 3)  # as encoders have that give feature maps alone
    teacher = SimpleNamespace(feature_width=network.feature_width + 3)  # so that there is a projection
    run = SimpleNamespace(
        recipe=DistillRecipe.model_validate(values),
        folder=SimpleNamespace(dry=False),
        compute=Compute("cpu", "fp32", rank, world),
        ensemble=SimpleNamespace(members=[SimpleNamespace(teacher=teacher)]),
        features=True,
        untrained=network,
    )
    return run, begin(run, copy.deepcopy(network))


def step(run, state, seed):
    """One step on noise; returns the norm of the gradient."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (MICRO_STEPS, IMAGES, 3, 64, 64), dtype=torch.uint8, generator=generator)
    for number, each in enumerate(pixels):
        views = StudentViews(each[run.compute.rank :: run.compute.world])
        with state.exchanging(number == MICRO_STEPS - 1):
            made = state.predict(views)
        loss = (made.shared - 3).square().mean() + (made.tokens - 1).square().mean()
        (loss / MICRO_STEPS).backward()
    norm = float(finish_gradients(state, 0.5))
    optimizer_step(state, 1.0, norm)
    update_ema(state.ema, state.student, 0.9, seed)
    return norm


def tensors(values, name=""):
    """Yield every tensor of nested dicts and lists with its place."""
    if isinstance(values, dict | list):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from tensors(value, f"{name}.{key}")
    elif torch.is_tensor(values):
        yield name, values


def work(rank, port, results):
    """One of two processes; the first one compares with what a single process makes."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    for name, (encoder, options) in STUDENTS.items():
        run, state = training(encoder, options, rank, 2)
        alone = training(encoder, options, 0, 1)
        found = {"norms": [], "sharded": sum(p.numel() for p in local(state)) / sum(p.numel() for p in local(alone[1]))}
        for seed in (1, 2, 3, 4):
            found["norms"].append((step(run, state, seed), step(*alone, seed)))
        made, want = dict(tensors(state.state_dict())), dict(tensors(alone[1].state_dict()))
        with whole_student(run, state):
            if rank == 0:
                assert list(made) == list(want), name
                shown, evaluated = state.evaluated.state_dict(), state.ema.state_dict()
                if options.get("sharded"):
                    evaluated = {key: made[f".ema.{key}"] for key in evaluated}
                found["evaluated"] = all(torch.equal(shown[key], evaluated[key]) for key in evaluated)
                found["unused"] = state.student.encoder.unused.weight.grad is None
                found["worst"] = max(float((made[k].double() - want[k].double()).abs().max()) for k in want)
        _, again = training(encoder, options, rank, 2)
        again.load_state_dict(alone[1].state_dict())  # a run of one process continues in two
        back = dict(tensors(again.state_dict()))
        if rank == 0:
            found["same"] = list(back) == list(want) and all(torch.equal(back[key], want[key]) for key in want)
        alone[1].load_state_dict(alone[1].state_dict())
        found["next"] = (step(run, again, 5), step(*alone, 5))
        results[f"{name} {rank}"] = found
    torch.distributed.destroy_process_group()


def local(state):
    """What this process holds of every parameter, the EMA's too."""
    every = [*state.network.parameters(), *state.ema.parameters()]
    return [p.to_local() if is_shard(p) else p for p in every]


@pytest.fixture(scope="module")
def results():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    with torch.multiprocessing.Manager() as manager:
        found = manager.dict()
        torch.multiprocessing.spawn(work, (port, found), nprocs=2)
        yield dict(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_two_processes_step_as_one(results, name):
    for rank in (0, 1):
        norms = results[f"{name} {rank}"]["norms"]
        assert norms[0][0] == pytest.approx(norms[0][1], rel=FIRST[name])
        assert all(a == pytest.approx(b, rel=1e-3) for a, b in norms)
    first = results[f"{name} 0"]
    assert first["worst"] < 1e-4, "the saved state, moments and EMA included"
    assert first["evaluated"] and first["unused"]


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_a_state_of_one_process_continues_in_two(results, name):
    assert results[f"{name} 0"]["same"], "bit for bit"
    for rank in (0, 1):
        two, one = results[f"{name} {rank}"]["next"]
        assert two == pytest.approx(one, rel=FIRST[name])


@pytest.mark.slow
def test_shards_are_half_of_everything_and_copies_are_all_of_it(results):
    for rank in (0, 1):
        assert results[f"copies {rank}"]["sharded"] == 1
        assert results[f"shards {rank}"]["sharded"] == pytest.approx(0.5, abs=0.05)
