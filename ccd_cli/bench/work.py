"""What the benchmarks of work on many images share: how fast the device can be at most, the two ways, their tables."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ccd_cli.bench.fresh import peak_memory
from ccd_cli.bench.results import ratios
from ccd_cli.bench.subjects import machine
from ccd_cli.core.compute import Compute
from ccd_cli.core.files import write_json, write_text
from ccd_cli.rehearsal.steps import wait

OURS, PLAIN = "ccd", "plain"
SHOWN = 0.0005
"""Shares below it are not worth a column."""


@dataclass
class Way:
    """What was measured of one way to do the work: wall-clock and processor seconds an image, one entry a round, and seconds by
    part over all rounds.

    `peak_bytes`: of the device's memory on CUDA, else of the process; None where it is not known of this way alone.
    """

    name: str
    precision: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)
    peak_bytes: int | None = None

    def add(self, images: int, parts: dict[str, float], cpu: float) -> None:
        """Keep a round of so many images: seconds by part, and processor seconds, of the whole round."""
        self.seconds.append(sum(parts.values()) / images)
        self.cpu.append(cpu / images)
        for part, value in parts.items():
            self.parts[part] = self.parts.get(part, 0.0) + value


def matmul_peak(compute: Compute) -> float:
    """Return the floating-point operations a second of a large matrix product in the run's precision, the best of several."""
    side = 8192 if compute.type == "cuda" else 1024
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[compute.precision]
    a, b = (torch.randn(side, side, device=compute.device).to(dtype) for _ in range(2))
    best = float("inf")
    for number in range(12):
        wait(compute.device)
        began = time.perf_counter()
        torch.mm(a, b)
        wait(compute.device)
        if number >= 2:
            best = min(best, time.perf_counter() - began)
    return 2.0 * side**3 / best


def forget_peak(compute: Compute) -> None:
    """Begin to measure the device's memory anew; a process's own cannot be."""
    if compute.type == "cuda":
        torch.cuda.reset_peak_memory_stats(compute.device)


def note_peak(way: Way, compute: Compute) -> None:
    """Keep the peak of the memory. On a CPU it is the process's, and so of the way that comes first alone, in its first round."""
    if compute.type == "cuda":
        way.peak_bytes = max(way.peak_bytes or 0, torch.cuda.max_memory_allocated(compute.device))
    elif way.name == OURS and len(way.seconds) == 1:
        way.peak_bytes = peak_memory()


def document(
    ways: list[Way], about: dict[str, Any], compute: Compute, flops: float, peaks: list[float]
) -> dict[str, Any]:
    """Return all results as JSON values.

    `flops`: of the networks for an image; `peaks`: the device's, from `matmul_peak` in every round, of which the largest counts.
    """
    peak = max(peaks, default=0.0)
    rows = []
    plain = next(way for way in ways if way.name == PLAIN)
    for way in ways:
        if not way.seconds:
            continue
        speed, whole = 1 / median(way.seconds), sum(way.parts.values())
        rows.append(
            {
                "name": way.name,
                "precision": way.precision,
                "images_per_second": speed,
                "seconds": way.seconds,
                "cpu_seconds": way.cpu,
                "shares": {part: value / whole for part, value in way.parts.items()},
                "model_flops_per_second": flops * speed,
                "share_of_matmul_peak": flops * speed / peak if peak else None,
                "peak_bytes": way.peak_bytes,
                "speed_over_plain": ratios(plain.seconds, way.seconds),
                "speed_over_plain_cpu": ratios(plain.cpu, way.cpu),
            }
        )
    facts = {
        "device": compute.describe(),
        "machine": machine(),
        "model_flops_per_image": flops,
        "matmul_peak_flops": peak,
    }
    return about | facts | {"rows": rows}


def table(found: dict[str, Any], wide: bool = False) -> list[dict[str, str]]:
    """Return the rows of the table from `document`, as text; `wide`: with the range of the ratios."""
    parts = list(found["rows"][0]["shares"]) if found["rows"] else []
    shown = [part for part in parts if any(row["shares"].get(part, 0) >= SHOWN for row in found["rows"])]
    lines = []
    for row in found["rows"]:
        peak = row["peak_bytes"]
        cells = {"way": f"{row['name']} {row['precision']}", "images/s": f"{row['images_per_second']:.3g}"}
        for name, key in (("vs plain", "speed_over_plain"), ("cpu", "speed_over_plain_cpu")):
            ratio = row[key]
            cells[name] = "" if ratio is None else f"{ratio['median']:.2f}"
            if wide and ratio is not None:
                cells[name] += f" ({ratio['min']:.2f} to {ratio['max']:.2f})"
        cells |= {part: f"{row['shares'].get(part, 0.0):.1%}" for part in shown}
        cells["GFLOP/s"] = f"{row['model_flops_per_second'] / 1e9:.3g}"
        cells["of peak"] = "" if row["share_of_matmul_peak"] is None else f"{row['share_of_matmul_peak']:.1%}"
        lines.append(cells | {"MB": "" if peak is None else f"{peak / 1e6:.0f}"})
    return lines


def title(found: dict[str, Any]) -> str:
    """Return what was measured in a line."""
    models = " from ".join(found[key] for key in ("student", "teacher") if key in found)
    return (
        f"{models}, {found['size']} px, 1 + {found['patches']} views, {found['device']}: {found['rounds_done']} rounds"
    )


def markdown(found: dict[str, Any]) -> str:
    """Return the table and what it was measured on, for a README."""
    lines = table(found, wide=True)
    head = list(lines[0]) if lines else []
    text = [" | ".join(head), " | ".join("---" for _ in head)] + [" | ".join(line.values()) for line in lines]
    where = f"{title(found)}; {found['machine']['processor']}, torch {found['machine']['versions']['torch']}"
    top = f"largest matrix product {found['matmul_peak_flops'] / 1e9:.4g} GFLOP/s"
    return "\n".join([f"{where}; {top}.", "", *(f"| {line} |" for line in text)]) + "\n"


def write(found: dict[str, Any], folder: Path | None) -> None:
    """Write bench.json and bench.md where a folder was asked for."""
    if folder is not None:
        write_json(folder / "bench.json", found)
        write_text(folder / "bench.md", markdown(found))
