"""The numbers of a benchmark, and its tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ccd_cli.bench.subjects import BASE

BARE, RAW, DEFAULT = "network", "npy", "default"
"""What is timed: the bare network on prepared inputs, and `ccd predict` with `--save npy` and with its default outputs."""
PIPELINE = "transformers pipeline"


@dataclass
class Row:
    """What was measured of one way to run the network.

    `seconds` and `cpu` hold, for each thing timed, wall-clock and processor seconds of a photo, one entry a round. Errors are
    shares of the range (maximum minus minimum) of float32 torch's map: the largest and the mean over the photos.
    """

    name: str
    runtime: str
    precision: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    load_s: float | None = None
    export_s: float | None = None
    start_s: float | None = None
    peak_bytes: int | None = None
    error_max: float | None = None
    error_mean: float | None = None

    def add(self, what: str, seconds: float, cpu: float) -> None:
        """Keep a round's seconds a photo."""
        self.seconds.setdefault(what, []).append(seconds)
        self.cpu.setdefault(what, []).append(cpu)


def ratios(above: list[float], below: list[float]) -> dict[str, float] | None:
    """Return median, least and largest of above / below, round by round; None without a common round."""
    found = [a / b for a, b in zip(above, below, strict=False) if b > 0]
    return {"median": median(found), "min": min(found), "max": max(found)} if found else None


def document(rows: list[Row], about: dict[str, Any]) -> dict[str, Any]:
    """Return all results as JSON values."""
    base = next((row for row in rows if row.name == BASE.name), None)
    return about | {"rows": [_as_json(row, base) for row in rows]}


def _as_json(row: Row, base: Row | None) -> dict[str, Any]:
    timed: dict[str, Any] = {}
    for what, seconds in row.seconds.items():
        own, first = row.seconds.get(BARE, []), base.seconds.get(BARE, []) if base else []
        timed[what] = {
            "images_per_second": 1 / median(seconds),
            "seconds": seconds,
            "cpu_seconds": row.cpu[what],
            "share_of_own_network": ratios(own, seconds),
            "share_of_own_network_cpu": ratios(row.cpu.get(BARE, []), row.cpu[what]),
            "speed_over_torch_fp32": ratios(first, seconds),
            "speed_over_torch_fp32_cpu": ratios(base.cpu.get(BARE, []) if base else [], row.cpu[what]),
        }
    return {
        "name": row.name,
        "runtime": row.runtime,
        "precision": row.precision,
        "timed": timed,
        "load_s": row.load_s,
        "export_s": row.export_s,
        "first_result_s": row.start_s,
        "peak_bytes": row.peak_bytes,
        "error_max": row.error_max,
        "error_mean": row.error_mean,
    }


def table(found: dict[str, Any], wide: bool = False) -> list[dict[str, str]]:
    """Return the rows of the table from `document`, as text; `wide`: with more columns, and the ranges of all ratios.

    "own" is the share of the bare network's images a second under the same runtime that is left of `ccd predict`.
    """
    lines = []
    for row in found["rows"]:
        timed, peak, error = row["timed"], row["peak_bytes"], row["error_max"]
        speed = timed.get(BARE) or timed.get(RAW) or {}
        cells = {"runtime": row["name"], "network/s": _rate(timed.get(BARE))}
        cells["vs torch"] = _ratio(speed.get("speed_over_torch_fp32"), wide)
        for what, name in ((RAW, "npy"), (DEFAULT, "default")):
            if wide:
                cells[f"{name}/s"] = _rate(timed.get(what))
            cells[f"{name} own"] = _ratio(timed.get(what, {}).get("share_of_own_network"), wide)
        cells["max error"] = "" if error is None else f"{error:.1e}"
        if wide:
            cells["mean error"] = "" if error is None else f"{row['error_mean']:.1e}"
        cells |= {"load s": _number(row["load_s"]), "first s": _number(row["first_result_s"])}
        lines.append(cells | {"MB": "" if peak is None else f"{peak / 1e6:.0f}"})
    return lines


def markdown(found: dict[str, Any]) -> str:
    """Return the table and what it was measured on, for a README."""
    lines, about = table(found, wide=True), found["machine"]
    head = list(lines[0]) if lines else []
    text = [" | ".join(head), " | ".join("---" for _ in head)] + [" | ".join(line.values()) for line in lines]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
    sizes = ", ".join(f"{w}x{h}" for h, w in found["network_sizes"])
    where = f"{found['model']}, network inputs of {sizes} pixels, {about['processor']}, {about['threads']} threads, {versions}"
    rounds = f"{found['rounds_done']} interleaved rounds of {found['photos']} photos"
    return "\n".join([f"{where}; {rounds}.", "", *(f"| {line} |" for line in text)]) + "\n"


def _rate(timed: dict[str, Any] | None) -> str:
    return f"{timed['images_per_second']:.2f}" if timed else ""


def _ratio(found: dict[str, float] | None, wide: bool) -> str:
    if found is None:
        return ""
    return f"{found['median']:.2f}" + (f" ({found['min']:.2f} to {found['max']:.2f})" if wide else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
