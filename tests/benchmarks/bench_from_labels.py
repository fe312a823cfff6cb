"""The cost of a distillation step with precomputed labels, relative to online teachers.

    python tests/benchmarks/bench_from_labels.py [--teacher depth-anything-v2-small] [--student tf_efficientnet_lite0]
        [--size 280] [--batch 2] [--patches 4] [--steps 6] [--photos 12] [--device cpu] [--threads 1]

Labels generated images with a teacher of random weights (time does not depend on them) by `ccd label`, then runs whole
steps of `ccd distill`'s own loop twice from the same seed: with the live teacher and from the labels. Prints the median
step of each, their ratio, what labeling cost, how many bytes the labels take, and how far the first losses are apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ccd_cli.config.load import check_label_recipe, check_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.report import Silent
from ccd_cli.distill import train as distill
from ccd_cli.label import run as label
from ccd_cli.models.arch import get_arch
from ccd_cli.models.checkpoint import save_model
from ccd_cli.models.depth_net import DepthNet


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="depth-anything-v2-small")
    parser.add_argument("--student", default="tf_efficientnet_lite0", help="a timm encoder")
    parser.add_argument("--size", type=int, default=280)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    student_resolution = -(-args.size // 32) * 32 if args.size % 32 else args.size
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        photos, teacher = _photos(folder, args.photos, 2 * args.size), _teacher(folder, args.teacher)
        crops = {"size": student_resolution, "min_side": student_resolution, "patches": args.patches}
        asked = {"model": str(teacher), "arch": args.teacher, "resolution": args.size}
        raw = {"task": "label", "name": "bench", "images": str(photos), "crops": crops, "threads": args.threads}
        began = time.perf_counter()
        recipe = check_label_recipe({**raw, "teachers": [{**asked, "batch": 1 + args.patches}]}, "benchmark")
        label.run(recipe, out=str(folder / "labels"), device=args.device, report=Silent())
        labeling = (time.perf_counter() - began) / args.photos
        size = sum(path.stat().st_size for path in (folder / "labels").glob("shard-*.tar"))
        size -= sum(path.stat().st_size for path in photos.iterdir())

        live = _run(folder / "live", {"images": str(photos), "teachers": [asked], "crops": crops}, args)
        late = _run(folder / "late", {"labels": str(folder / "labels")}, args)
    a, b = (statistics.median(row["seconds"] for row in rows[1:]) for rows in (live, late))
    print(
        f"teacher {args.teacher} at {args.size} px, student {args.student} at {student_resolution} px, batch {args.batch}, ",
        end="",
    )
    print(f"1 + {args.patches} crops, {args.device}, {args.threads} threads, torch {torch.__version__}")
    print(f"step, live teacher  {a:8.3f} s")
    print(f"step, from labels   {b:8.3f} s   {a / b:.2f} times as fast")
    print(
        f"labeling           {labeling:8.3f} s per image, once; {size / args.photos / 1e6:.2f} MB per image beside the image itself"
    )
    passes = labeling / ((a - b) / args.batch) if a > b else float("inf")
    print(f"break-even after    {passes:8.1f} epochs (each with the crops of the first)")
    print(f"loss of step 1      {live[0]['loss']:.6f} live, {late[0]['loss']:.6f} from labels")


def _photos(folder: Path, count: int, side: int) -> Path:
    made = folder / "photos"
    made.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, : side * 4 // 3].astype(np.float32) / side
    for i in range(count):
        wave = [np.sin(rng.uniform(3, 30) * x + rng.uniform(3, 30) * y + i) for _ in range(3)]
        image = 128 + 90 * np.stack(wave, -1) + rng.normal(0, 6, (*y.shape, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(made / f"{i:03d}.jpg", quality=92)
    return made


def _teacher(folder: Path, name: str) -> Path:
    torch.manual_seed(0)
    arch = get_arch(name)
    save_model(folder / "teacher.safetensors", DepthNet(arch), arch, {"kind": arch.kind, "license": "MIT"})
    return folder / "teacher.safetensors"


def _run(out: Path, values: dict[str, Any], args: argparse.Namespace) -> list[dict[str, float]]:
    """Return the lines of metrics of a run, with the seconds that each step took."""
    raw = {
        "name": "bench",
        "student": {"arch": "timm", "encoder": args.student, "features": 32, "init": "scratch"},
        "loss": {"feature": {"weight": 0.0}},
        "optim": {"steps": args.steps, "batch": args.batch, "checkpoint_every": 10_000},
        "log": {"samples": 0, "tensorboard": False},
        **values,
    }
    settings = DistillSettings(out=str(out), device=args.device, threads=args.threads)
    distill.run(check_recipe(raw, "benchmark"), settings, Silent())
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{**row, "seconds": args.batch / row["images_per_second"]} for row in rows]


if __name__ == "__main__":
    main()
