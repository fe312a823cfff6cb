"""Everything that only a GPU can show, in ten minutes: the paper's training step, prediction, and all tests marked `gpu`.

    python tests/benchmarks/gpu_check.py --out gpu-check                 # one NVIDIA GPU
    python tests/benchmarks/gpu_check.py --device cpu --small            # the same on a CPU with tiny networks: does it work?

Every part is a process with a time limit of its own, and none goes beyond --seconds altogether; what a part has measured until
then is kept. Writes gpu_check.json and gpu_check.md after every part. Networks have random weights. Ends with 1 where a bar is
missed, a test fails or a part does not finish (with --small no bar is judged: they are for an H200).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
STEPS, BATCH = 20_000, 8  # the paper's run
BARS: dict[str, tuple[str, float]] = {
    "share of the largest bf16 matrix product": (">=", 0.40),
    "loss, share of the step": ("<=", 0.03),
    "20,000 steps, hours": ("<=", 3.0),
    "ccd predict over the naive loop": (">=", 5.0),
}
"""What is asked of an H200. The one place where it is written."""
SIZES = {"S": "depth-anything-v2-small", "B": "depth-anything-v2-base", "L": "depth-anything-v2-large"}


@dataclass
class Part:
    """A process, the seconds it may take, and the file it leaves its results in."""

    name: str
    command: list[str]
    limit: float
    result: Path
    environment: dict[str, str] = field(default_factory=dict)


def parts(args: argparse.Namespace) -> list[Part]:
    """Return what is to run, the most important part first."""
    small, python, out = args.small, sys.executable, args.out.resolve()
    teacher, size, batch, patches, steps = ("builtin:tiny", 64, 2, 1, 1) if small else (SIZES["L"], 560, BATCH, 4, 8)
    precision = "fp32" if args.device == "cpu" else "bf16"
    options = {"teacher": teacher, "student": teacher, "size": size, "batch": batch, "patches": patches, "steps": steps}
    options |= {"rounds": 1, "device": args.device, "precision": precision, "out": out / "step"}
    made = [
        Part(
            "step",
            [python, "-m", "ccd_cli", "bench", "distill", *(str(w) for k, v in options.items() for w in (f"--{k}", v))],
            150,
            out / "step" / "bench.json",
        )
    ]
    for letter in ("S",) if small else "LSB":
        result = out / f"predict-{letter}.json"
        command = [python, __file__, "--predict", letter, "--device", args.device, "--out", str(result)]
        made.append(Part(f"predict {letter}", command + ["--small"] * small, 60, result))
    marked = [] if small else [p for p in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in p.read_text()]
    tests = [str(ROOT / "tests/gpu"), *(str(p) for p in marked if p.parent.name != "gpu")]
    flags = ["-m", "gpu", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={out / 'tests.xml'}"]
    flags += ["-k", "(waits and hybrid and select) or the_loss or exchanged"] * small
    shown = {"CCD_GPU_CHECK_DEVICE": args.device}
    made.append(Part("tests", [python, "-m", "pytest", *flags, *tests], 240, out / "tests.xml", shown))
    return [replace(part, limit=args.seconds) for part in made] if small else made  # a busy CPU may take its time


def run(part: Part, seconds: float) -> dict[str, Any]:
    """Run a part for at most so many seconds: then Ctrl-C, at which it writes what there is, and soon the end."""
    part.result.unlink(missing_ok=True)
    began, state = time.monotonic(), "done"
    shown = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", **part.environment}
    log = part.result.parent / f"{part.name.replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = subprocess.Popen(part.command, cwd=ROOT, env=shown, stdout=said, stderr=subprocess.STDOUT)
        try:
            if process.wait(max(1.0, min(part.limit, seconds))):
                state = f"failed with {process.returncode}"
        except subprocess.TimeoutExpired:
            state = "out of time"
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    about: dict[str, Any] = {"part": part.name, "state": state, "seconds": round(time.monotonic() - began, 1)}
    if part.result.is_file():
        about["found"] = tests_in(part.result) if part.name == "tests" else json.loads(part.result.read_text())
    elif state == "done":
        about["state"] = "left no result"
    if about["state"] != "done":
        about["said"] = log.read_text(errors="replace")[-2000:]
    return about


def tests_in(path: Path) -> dict[str, Any]:
    """Return the numbers of passed, failed and skipped tests of a JUnit file, and the names of the failed ones."""
    cases = list(ElementTree.parse(path).iter("testcase"))
    failed = [f"{each.get('classname')}::{each.get('name')}" for each in cases if each.find("failure") is not None]
    failed += [f"{each.get('classname')}::{each.get('name')}" for each in cases if each.find("error") is not None]
    skipped = sum(each.find("skipped") is not None for each in cases)
    return {"passed": len(cases) - len(failed) - skipped, "failed": failed, "skipped": skipped}


def rows(done: list[dict[str, Any]], judged: bool) -> list[dict[str, Any]]:
    """Return the table: what, its value, and where bars are `judged` and there is one, the bar and whether it is met."""
    made: list[dict[str, Any]] = []

    def add(what: str, value: float, text: str, bar: str = "") -> None:
        row: dict[str, Any] = {"what": what, "value": value, "text": text, "of": bar, "bar": "", "met": None}
        if bar and judged:
            sign, limit = BARS[bar]
            row |= {"bar": f"{sign} {limit:g}", "met": value >= limit if sign == ">=" else value <= limit}
        made.append(row)

    for part in done:
        found = part.get("found")
        if found is None:
            continue
        if part["part"] == "tests":
            add("tests passed", found["passed"], f"{found['passed']} ({found['skipped']} skipped)")
            continue
        if part["part"].startswith("predict"):
            what = f"ccd predict, {found['arch']}"
            add(f"{what}, images/s", found["ours"], f"{found['ours']:.1f}")
            add(f"naive loop, {found['arch']}, images/s", found["naive"], f"{found['naive']:.1f}")
            add(
                f"{what} over the naive loop",
                found["ratio"],
                f"{found['ratio']:.2f}",
                "ccd predict over the naive loop",
            )
            continue
        ours = next((row for row in found["rows"] if row["name"] == "ccd"), None)
        if ours is None:
            continue
        speed, flops, peak = ours["images_per_second"], found["model_flops_per_image"], found["matmul_peak_flops"]
        add("training, images/s", speed, f"{speed:.2f}")
        add("networks' FLOPs an image", flops, f"{flops:.3g}")
        add("largest matrix product, FLOP/s", peak, f"{peak:.3g}")
        share, bar = ours["share_of_matmul_peak"] or 0.0, "share of the largest bf16 matrix product"
        add(bar, share, f"{share:.1%}", bar)
        add("loss, share of the step", loss := ours["shares"]["loss"], f"{loss:.1%}", "loss, share of the step")
        hours = STEPS * BATCH / speed / 3600
        add("20,000 steps, hours", hours, f"{hours:.2f}", "20,000 steps, hours")
        if ours["peak_bytes"]:
            add("peak memory, GB", ours["peak_bytes"] / 1e9, f"{ours['peak_bytes'] / 1e9:.1f}")
        if (over := ours["speed_over_plain"]) is not None:
            add("training over the plain loop", over["median"], f"{over['median']:.2f}")
    return made


def problems(done: list[dict[str, Any]], judged: bool) -> list[str]:
    """Return why this is no success, a line each: parts that did not finish, failed tests, and where they are `judged`, bars."""
    found = [f"{each['part']}: {each['state']}" for each in done if each["state"] != "done"]
    for each in done:
        tests = each.get("found", {}) if each["part"] == "tests" else {}
        found += [f"failed: {name}" for name in tests.get("failed", [])]
        if tests and not tests["passed"]:
            found.append("no test ran")
    measured = rows(done, judged)
    if judged:
        found += [f"{r['what']}: {r['text']}, asked for {r['bar']}" for r in measured if r["met"] is False]
        found += [f"{bar}: not measured" for bar in BARS if all(r["of"] != bar for r in measured)]
    return found


def markdown(done: list[dict[str, Any]], about: str, judged: bool) -> str:
    """Return the page."""
    lines = [about, "", "| | | bar | met |", "|---|---|---|---|"]
    met = {None: "", True: "yes", False: "**no**"}
    lines += [f"| {row['what']} | {row['text']} | {row['bar']} | {met[row['met']]} |" for row in rows(done, judged)]
    lines += ["", "| part | state | seconds |", "|---|---|---|"]
    lines += [f"| {each['part']} | {each['state']} | {each['seconds']:.0f} |" for each in done]
    return "\n".join([*lines, "", *(f"* {line}" for line in problems(done, judged) or ["Nothing is missing."])]) + "\n"


def measure_prediction(args: argparse.Namespace) -> None:
    """`ccd predict` and a naive loop (float32, one photo after another) on the same photos in turns, both into .npy files."""
    import numpy as np
    import torch
    from PIL import Image
    from torch.nn import functional as F

    from ccd_cli.bench.photos import photos
    from ccd_cli.bench.results import ratios
    from ccd_cli.bench.subjects import native
    from ccd_cli.core.compute import choose_compute
    from ccd_cli.core.files import write_json
    from ccd_cli.core.report import Silent
    from ccd_cli.models.arch import get_arch
    from ccd_cli.models.depth_net import DepthNet
    from ccd_cli.predict.run import run as predict
    from ccd_cli.predict.settings import Settings
    from ccd_cli.teachers.adapters.native import NativeTeacher
    from ccd_cli.teachers.adapters.preprocess import resize_for
    from ccd_cli.teachers.model import Model

    name, count, rounds, side = (
        SIZES[args.predict],
        2 if args.small else 64,
        1 if args.small else 3,
        56 if args.small else 518,
    )
    compute = choose_compute(args.device, "fp32" if args.device == "cpu" else "bf16")
    with torch.device(compute.device):
        network = (native("builtin:tiny", None, "fp32").model if args.small else DepthNet(get_arch(name))).eval()
    network.reset_statistics(compute.device)
    bare = copy.deepcopy(network)
    teacher = NativeTeacher(network, name, precision=compute.precision).to(compute.device)
    folder = args.out.parent / f"{args.out.stem}.files"
    folder.mkdir(parents=True, exist_ok=True)
    paths = photos(None, count, folder)

    def ours() -> None:
        settings = Settings(out=folder / "out", save=("npy",), overwrite=True)
        assert not predict([str(path) for path in paths], Model(teacher, side), settings, compute, Silent()).failed

    @torch.no_grad()
    def naive() -> None:
        for path in paths:
            rgb = np.asarray(Image.open(path).convert("RGB"))
            seen = torch.from_numpy(resize_for(bare.arch, rgb, side)).permute(2, 0, 1)[None].to(compute.device)
            made = bare(bare.normalize(seen))
            whole = F.interpolate(made[:, None], size=rgb.shape[:2], mode="bilinear", align_corners=True)
            np.save(folder / f"{path.stem}.npy", whole[0, 0].cpu().numpy())

    def timed(work: Any) -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) / count

    taken: dict[str, list[float]] = {"ours": [], "naive": []}
    for each in (ours, naive):
        each()
    for _ in range(rounds):
        for each in (ours, naive):
            taken[each.__name__].append(timed(each))
        found = {key: 1 / median(values) for key, values in taken.items()}
        ratio = ratios(taken["naive"], taken["ours"])
        assert ratio is not None
        write_json(args.out, {"arch": network.arch.name, **found, "ratio": ratio["median"], "seconds": taken})


def main() -> int:
    """Run all parts; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny networks: does this script work?")
    parser.add_argument("--seconds", type=float, default=560.0, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of the results")
    parser.add_argument("--predict", choices=SIZES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.predict:
        measure_prediction(args)
        return 0
    from ccd_cli.core.files import write_json, write_text

    end, done = time.monotonic() + args.seconds, list[dict[str, Any]]()
    about, judged = f"`{' '.join(['python', 'tests/benchmarks/gpu_check.py', *sys.argv[1:]])}`", not args.small
    for part in parts(args):
        left = end - time.monotonic()
        done.append(run(part, left) if left > 5 else {"part": part.name, "state": "no time left", "seconds": 0.0})
        if part.name == "step" and "found" in done[-1]:
            about = f"{about}: {done[-1]['found']['device']}, torch {done[-1]['found']['machine']['versions']['torch']}"
        write_json(
            args.out / "gpu_check.json",
            {"about": about, "parts": done, "rows": rows(done, judged), "wrong": problems(done, judged)},
        )
        write_text(args.out / "gpu_check.md", markdown(done, about, judged))
    print((args.out / "gpu_check.md").read_text())
    for each in done:
        if "said" in each:
            print(f"--- {each['part']}\n{each['said']}", file=sys.stderr)
    return int(bool(problems(done, judged)))


if __name__ == "__main__":
    sys.exit(main())
