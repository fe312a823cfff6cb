"""What distilling on many photos and labeling them costs on GPUs: the tables of docs/scale.md.

    python tests/benchmarks/scale_table.py                                # prints them
    python tests/benchmarks/scale_table.py --peak 312 --utilization 0.3   # another GPU
    python tests/benchmarks/scale_table.py --measure                      # processor seconds of this machine's core instead

FLOPs and operations are counted: one step of `ccd distill` runs on PyTorch's `meta` device, which has no values and no speed.
Processor seconds are measured. Peak and utilization of the GPU are assumed, and so is an image file of 500 kB.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ccd_cli.bench.photos import photos
from ccd_cli.config.distill import Augment, Loss
from ccd_cli.data.augment import Augmentation
from ccd_cli.data.batch import Batch, StudentViews, TeacherViews, network_input
from ccd_cli.data.source import Source
from ccd_cli.data.views import PhotoStream, ViewConfig
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.members import Member
from ccd_cli.losses.distillation import Prediction, distillation_loss
from ccd_cli.models.arch import get_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.rehearsal.counting import Count, counting
from ccd_cli.teachers.adapters.native import NativeTeacher

PEAK, UTILIZATION = 989.0, 0.40
"""Assumed: dense bfloat16 of an H100 or H200 (SXM) in TFLOP/s by NVIDIA's data sheet, and the fraction of it that is reached."""
MEASURED = {"read": 0.06, "decode": 0.012, "encode": 0.046, "compare": 0.019, "write": 0.010}
"""Processor seconds of one core: `read`, an image of a megapixel with its crops and augmentation for training (--measure); the
others for labels, by bench_label.py: decode an image, encode a map, compare a crop of two teachers, write a megabyte."""
MAP_BYTES, PHOTO_BYTES = 440e3, 500e3
"""A map in a shard (bench_label.py), and an assumed image file."""
SIZES = {"S": "small", "B": "base", "L": "large"}
COUNTS, GPUS = (1_000_000, 11_000_000), (1, 8, 64)
BATCH = 8


@dataclass(frozen=True)
class Work:
    """What one image costs: FLOPs on the GPU, processor seconds beside it, bytes left behind."""

    name: str
    flops: float
    cpu: float
    stored: float = 0.0


def _there(letter: str) -> DepthNet:
    with torch.device("meta"):
        return DepthNet(get_arch(f"depth-anything-v2-{SIZES[letter]}"))


def count_step(teacher: str, student: str, size: int, patches: int) -> dict[str, Count]:
    """Return what a step of BATCH images takes by part: a live teacher, the student, its loss, backward."""

    def pixels(*shape: int) -> torch.Tensor:
        return torch.zeros(*shape, 3, size, size, dtype=torch.uint8, device="meta")

    network, rule = _there(student).train(), Loss()
    wide = network.feature_width == _there(teacher).feature_width
    ensemble = TeacherEnsemble([Member(NativeTeacher(_there(teacher), "teacher"), 1.0)])
    views = StudentViews(pixels(BATCH))
    batch = Batch(
        TeacherViews(pixels(BATCH), pixels(BATCH, patches)),
        views,
        torch.zeros(BATCH, patches, 3, device="meta"),
        {},
        [],
    )
    found = {}
    with counting() as so_far:
        labels, found["teacher"] = ensemble.label(batch, 0, wide), so_far()
        maps, tokens = network.forward_with_features(network.normalize(network_input(views.stack())))
        before = so_far()
        prediction = Prediction(maps, maps, tokens if wide else None)
        losses, forward = distillation_loss(prediction, labels, batch.boxes, rule), so_far()
        found["student"], found["loss"] = before - found["teacher"], forward - before
        losses["loss"].backward()
        found["backward"] = so_far() - forward
    return found


def measure_reading(size: int, patches: int, count: int = 8) -> float:
    """Return processor seconds for one image of a megapixel: decode, crops, augmentation."""
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    config = ViewConfig(size, size, patches, 0.5, 0.9, own_region=False, shared=True, local_global=True, features=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Source(photos(None, count, Path(folder)))
        stream = PhotoStream(source, 0, config, Augmentation(**Augment().model_dump()), lambda *_: None)
        for position in range(2 * count):  # the first jitter loads torchvision
            stream[position]
        began = time.process_time()
        for position in range(2 * count):
            stream[position]
        return (time.process_time() - began) / (2 * count)


def labeling(teachers: list[float], crops: int, cpu: dict[str, float], name: str) -> Work:
    """Return what `ccd label` costs for one image; `teachers`: FLOPs of each for its crops."""
    maps, pairs = crops * len(teachers), len(teachers) * (len(teachers) - 1) // 2
    stored = maps * MAP_BYTES + PHOTO_BYTES
    seconds = len(teachers) * cpu["decode"] + maps * cpu["encode"] + crops * pairs * cpu["compare"]
    return Work(name, sum(teachers), seconds + stored / 1e6 * cpu["write"], stored)


def in_words(hours: float) -> str:
    """Return hours, or from two days on, days."""
    return f"{hours / 24:,.1f} days" if hours >= 48 else f"{hours:,.1f} h"


def counted_table(steps: dict[str, dict[str, Count]]) -> list[str]:
    """Return the lines of what was counted."""
    lines = [
        "| teacher, student | teacher | student, forward | backward | together | operations a step, without the optimizer |",
        "|---|---|---|---|---|---|",
    ]
    for name, step in steps.items():
        parts = [step[part].flops / BATCH / 1e12 for part in ("teacher", "student", "backward")]
        operations = sum(count.operations for count in step.values())
        lines.append(f"| {name} | {' | '.join(f'{each:.2f}' for each in (*parts, sum(parts)))} | {operations:,.0f} |")
    return lines


def cost_table(works: list[Work], peak: float, utilization: float) -> list[str]:
    """Return the lines of hours and cores."""
    heads = [f"{count} GPU{'s' * (count > 1)}" for count in GPUS]
    lines = [
        f"| work | photos | {' | '.join(heads)} | cores a GPU | core hours | shards |",
        "|---" * (5 + len(GPUS)) + "|",
    ]
    for work in works:
        seconds = work.flops / (peak * 1e12 * utilization)
        for count in COUNTS:
            times = " | ".join(in_words(count * seconds / 3600 / gpus) for gpus in GPUS)
            stored = f"{count * work.stored / 1e12:,.1f} TB" if work.stored else ""
            cores = f"{work.cpu / seconds:.1f} | {count * work.cpu / 3600:,.0f}"
            lines.append(f"| {work.name} | {count / 1e6:g} M | {times} | {cores} | {stored} |")
    return lines


def tables(args: Any) -> str:
    """Return the text that docs/scale.md holds."""
    cpu = {**MEASURED, **({"read": measure_reading(args.size, args.patches)} if args.measure else {})}
    steps = {
        f"ViT-{teacher}, ViT-{student}": count_step(teacher, student, args.size, args.patches)
        for teacher, student in (("L", "L"), ("L", "B"), ("L", "S"), ("S", "S"))
    }
    crops = 1 + args.patches
    own = {name: {part: count.flops / BATCH for part, count in step.items()} for name, step in steps.items()}
    works = [Work(f"distill, {name}", sum(parts.values()), cpu["read"]) for name, parts in own.items()]
    large, small = own["ViT-L, ViT-L"]["teacher"], own["ViT-S, ViT-S"]["teacher"]
    works.append(labeling([large], crops, cpu, "label, ViT-L"))
    works.append(labeling([large, small], crops, cpu, "label, ViT-L and ViT-S"))
    return "\n".join(
        [
            f"**Counted**: {args.size} px, a region and {args.patches} patches an image, batch {BATCH}; TFLOPs an image (two a "
            "multiply-add).",
            "",
            *counted_table(steps),
            "",
            f"**Calculated** with {args.peak:g} TFLOP/s and {args.utilization:.0%} of them (assumed), {cpu['read']:.2f} core "
            "seconds to read an image for training (measured).",
            "",
            *cost_table(works, args.peak, args.utilization),
        ]
    )


def options() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=560)
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--peak", type=float, default=PEAK, help="assumed TFLOP/s of the GPU")
    parser.add_argument("--utilization", type=float, default=UTILIZATION, help="assumed fraction of it that is reached")
    parser.add_argument("--measure", action="store_true", help="measure how long reading an image takes here")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(tables(options().parse_args()))
