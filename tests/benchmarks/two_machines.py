"""Clusters tried on one: two network namespaces of Linux with a cable between them, and what they make against one process.

    sudo python tests/benchmarks/two_machines.py
    python tests/benchmarks/two_machines.py --loopback --only torchrun    # without root: 127.0.0.1 and 127.0.0.2

torchrun: `ccd distill quickstart` by two nodes of one process each; losses and student are those of one process, to rounding.
shards:   `--shard 1/2` and `2/2` of label, predict and eval at the same time; the files of one process, byte for byte.
ray:      a cluster of two nodes; `--engine ray` of label, and of predict while the second node is killed; the same files.

Disk and processor are shared, as a network disk is; the network is not: each side sees its own address and loopback only. Prints
what was compared and exits with 1 where something differs. Takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = ("torchrun", "shards", "ray")
CHANGED = {"report.html"}  # has the date and the command
AUTH = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
JOINED = 5.0
"""Seconds from the processes of a Ray node to the node in its cluster, amply."""
STEPS, RATE = 4, 1e-5
LOSSES, STUDENT = 1e-3, 0.1
"""What passes as rounding: relative differences of a step's loss, and the student's weights apart, as a part of STEPS x RATE,
which is about how far Adam moves each. (At the recipe's own rate of 2e-3 rounding reaches 2e-3 of the loss at the fourth step.)"""


@dataclass(frozen=True)
class Machine:
    """One side: its address, its network interface, and what a command is started by there."""

    address: str
    interface: str
    prefix: tuple[str, ...] = ()

    def start(self, command: list[str], place: Path, **variables: str) -> subprocess.Popen[str]:
        """Start a command there, in a session of its own."""
        return subprocess.Popen(
            [*self.prefix, *command],
            cwd=place,
            env={**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@contextmanager
def machines(loopback: bool) -> Iterator[tuple[Machine, Machine]]:
    """Make two machines for a block."""
    if loopback:
        yield Machine("127.0.0.1", "lo"), Machine("127.0.0.2", "lo")
        return
    names = f"ccd-a-{os.getpid()}", f"ccd-b-{os.getpid()}"
    made = [Machine(f"10.77.0.{i + 1}", f"cable{i}", ("ip", "netns", "exec", name)) for i, name in enumerate(names)]
    with ExitStack() as stack:
        for name in names:
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
        ip("link", "add", "cable0", "netns", names[0], "type", "veth", "peer", "cable1", "netns", names[1])
        for name, machine in zip(names, made, strict=True):
            ip("-n", name, "addr", "add", f"{machine.address}/24", "dev", machine.interface)
            for interface in ("lo", machine.interface):
                ip("-n", name, "link", "set", interface, "up")
            ip("-n", name, "route", "add", "default", "dev", machine.interface)
        yield made[0], made[1]


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True)


def ccd(*words: str) -> list[str]:
    """Return the command line of a ccd command."""
    return [sys.executable, "-m", "ccd_cli", *words]


def ends(*processes: subprocess.Popen[str]) -> list[str]:
    """Wait for processes, all of which must succeed, and return what they said."""
    said = [process.communicate(timeout=1200)[0] for process in processes]
    for process, text in zip(processes, said, strict=True):
        if process.returncode:
            sys.exit(f"{process.args}: exit code {process.returncode}\n{text}")
    return said


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that must be alike."""
    paths = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".lock") and p.name not in CHANGED)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def check(what: str, good: bool, figures: str) -> None:
    """Print a comparison; end where it failed."""
    print(f"{'same' if good else 'DIFFERENT'}  {what}: {figures}", flush=True)
    if not good:
        sys.exit(1)


def check_same(what: str, one: Path, two: Path) -> None:
    """Compare two folders byte for byte."""
    first, second = tree(one), tree(two)
    different = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    check(what, bool(first) and not different, ", ".join(different[:5]) or f"{len(first)} files")


def try_torchrun(place: Path, pair: tuple[Machine, Machine]) -> None:
    """One training of a few steps by two nodes, and by one process."""
    from safetensors.torch import load_file

    sets = (f"optim.steps={STEPS}", "optim.batch=4", "optim.warmup=0", f"optim.lr={RATE}", f"optim.encoder_lr={RATE}")
    sets += ("optim.ema=0", "student.batch_norm=frozen", "images.scenes.count=8")
    sets += ("eval.scenes=2", "eval.every=4", "log.samples_every=4", "log.tensorboard=false")
    command = ("distill", "quickstart", *(word for text in sets for word in ("--set", text)), "--threads", "1")
    if not (place / "one").exists():
        ends(pair[0].start(ccd(*command, "--out", "one"), place))
    nodes = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    nodes += ["--rdzv-endpoint", f"{pair[0].address}:29511", "--rdzv-id", "ccd"]
    started = []
    for machine in pair:  # a namespace has the host's name, which is no address there: who is the host is said
        own = ["--local-addr", machine.address, "--rdzv-conf", f"is_host={machine is pair[0]}"]
        words = [sys.executable, "-m", "torch.distributed.run", *nodes, *own, "-m", "ccd_cli", *command, "--out", "two"]
        started.append(machine.start(words, place, GLOO_SOCKET_IFNAME=machine.interface))
    said = ends(*started)
    check("one of two nodes speaks", sum(f"Done: {STEPS} steps" in text for text in said) == 1, "torchrun, c10d")
    books = [[json.loads(line) for line in (place / run / "metrics.jsonl").open()] for run in ("one", "two")]
    worst = max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(*books, strict=True))
    check(f"losses of {STEPS} steps", len(books[0]) == STEPS and worst < LOSSES, f"to {worst:.1e}")
    one, two = (load_file(place / run / "student.safetensors") for run in ("one", "two"))
    weights = [name for name in one if one[name].is_floating_point() and "running_" not in name]
    squares = sum(float(((one[name].double() - two[name].double()) ** 2).sum()) for name in weights)
    apart = (squares / sum(one[name].numel() for name in weights)) ** 0.5 / (STEPS * RATE)
    check("student", one.keys() == two.keys() and apart < STUDENT, f"weights to {apart:.1e} of the way they went")


COMMANDS = {
    "label": ("label", "label/quickstart", "--device", "cpu", "--set", "shard=2", "--set", "threads=1"),
    "predict": ("predict", "builtin:photos", "--model", "builtin:tiny", "--device", "cpu", "--threads", "1"),
    "eval": (
        "eval",
        "--suite",
        "builtin",
        "--model",
        "builtin:tiny",
        "--limit",
        "6",
        "--device",
        "cpu",
        "--threads",
        "1",
    ),
}


def make_whole(place: Path, machine: Machine, name: str) -> Path:
    """Return the folder that one process makes of a command, once."""
    folder = place / f"{name}-whole"
    if not folder.exists():
        ends(machine.start(ccd(*COMMANDS[name], "--out", folder.name), place))
    return folder


def try_shards(place: Path, pair: tuple[Machine, Machine]) -> None:
    """Two parts of each command at the same time into one folder, and the command that finishes."""
    for name, words in COMMANDS.items():
        whole, command = make_whole(place, pair[0], name), ccd(*words, "--out", f"{name}-parts")
        parts = [machine.start([*command, "--shard", f"{i}/2"], place) for i, machine in enumerate(pair, 1)]
        said = ends(*parts)
        check(f"{name}: two parts", all("is done" in text for text in said), "both have done something")
        ends(pair[1].start(command, place))
        check_same(f"{name} --shard", whole, place / f"{name}-parts")


@contextmanager
def ray_nodes(pair: tuple[Machine, Machine]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A Ray cluster of two nodes of one core each, for a block: its address, and the second node's process."""
    address = f"{pair[0].address}:26379"
    started: list[subprocess.Popen[str]] = []
    words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats", "--block"]
    words += ["--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", "100000000"]
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder, ExitStack() as stack:
        for i, machine in enumerate(pair):
            role = ["--address", address] if i else ["--head", "--port", "26379", "--temp-dir", folder]
            role += ["--node-ip-address", machine.address, *(() if i else ("--include-dashboard", "false"))]
            node = machine.start([*words, *role], Path(folder), RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="1", **AUTH)
            started.append(node)
            stack.callback(kill, node)
            wait_for(f"node {i + 1}", lambda node=node: "RuntimeEnvAgent" in words_of(node), node)
            time.sleep(JOINED)
        yield address, started[1]


def processes_of(node: subprocess.Popen[str]) -> list[Any]:
    """All processes that a node has started, and itself, as of psutil."""
    import psutil
    import ray  # noqa: F401, which brings psutil

    with suppress(psutil.Error):
        return [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]
    return []


def words_of(node: subprocess.Popen[str]) -> str:
    """The command lines of all processes that a node has started."""
    found = []
    for each in processes_of(node):
        with suppress(Exception):  # it has just ended
            found.append(" ".join(each.cmdline()))
    return "\n".join(found)


def wait_for(what: str, there, process: subprocess.Popen[str]) -> None:
    """Wait until something is there, while a process runs."""
    deadline = time.monotonic() + 600
    while not there():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{what} did not come: {process.communicate(timeout=30)[0] if process.poll() is not None else ''}")
        time.sleep(0.02)


def kill(node: subprocess.Popen[str]) -> None:
    """Kill a node with all its processes, as a machine fails."""
    for each in processes_of(node):
        with suppress(Exception):
            each.send_signal(signal.SIGKILL)
    if node.stdout is not None and not node.stdout.closed:  # once
        node.communicate()


def try_ray(place: Path, pair: tuple[Machine, Machine]) -> None:
    """Label by two nodes; predict by two, of which one is killed in the middle."""
    wholes = {name: make_whole(place, pair[0], name) for name in ("label", "predict")}
    with ray_nodes(pair) as (address, second):
        for name, whole in wholes.items():
            command = ccd(*COMMANDS[name], "--engine", "ray", "--out", f"{name}-ray")
            process = pair[0].start(command, place, RAY_ADDRESS=address, **AUTH)
            title = {"label": "ray::shard-", "predict": "ray::predict-"}[name]
            wait_for(f"a worker of the second node ({name})", lambda title=title: title in words_of(second), process)
            if name == "predict":
                kill(second)
            (said,) = ends(process)
            again = said.count("is computed again")
            check(f"{name}: both nodes have worked", again == (name == "predict"), f"{again} item done again")
            check_same(f"{name} --engine ray", whole, place / f"{name}-ray")


def main() -> None:
    """Try what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--loopback", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder of the results; by default a temporary one")
    args = parser.parse_args()
    parts = {"torchrun": try_torchrun, "shards": try_shards, "ray": try_ray}
    with ExitStack() as stack:
        place = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        pair = stack.enter_context(machines(args.loopback))
        print(f"machines: {pair[0].address} and {pair[1].address}", flush=True)
        for name in args.only or PARTS:
            began = time.monotonic()
            parts[name](place, pair)
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
