"""Score models on photos with sensor depth that an index file lists, beside trivial baselines.

    python tests/benchmarks/score_index.py INDEX.json --model builtin:tiny [--model ...] [--resolution 128] [--sheet worst.png]

INDEX.json holds {"pairs": [{"id", "rgb", "gt", "gt_kind": "depth" or "disparity", "gt_scale"}, ...]}, paths relative to it;
the ground truth is value / gt_scale, 0 is invalid. Pairs are aligned and scored as a run scores them that has them for
`eval.pairs`, and as `ccd eval --suite FILE` does; --write-suite FILE writes them as such a file, one set a pair, so that both
can be compared with what is printed here: the mean over images. A photo is predicted with its short side at --resolution.
--sheet draws every photo with its ground truth and the fitted maps, in the colors of the ground truth, the worst for the last
model first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ccd_cli.benchmarks import Benchmark
from ccd_cli.benchmarks.own.schema import CustomSet
from ccd_cli.benchmarks.own.sets import CustomBenchmark, open_custom
from ccd_cli.benchmarks.predictors import from_map
from ccd_cli.distill.validation import Validation
from ccd_cli.media.colorize import color_range, colorize
from ccd_cli.metrics.alignment import AUTO
from ccd_cli.reports.contact_sheet import sheet, write_sheet
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.image import ScoringOptions, resized, score
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.load import load_teacher


def rules(index: Path) -> list[dict[str, Any]]:
    """Return the pairs of an index file as the sets of a suite file, one set a pair."""
    pairs = json.loads(index.read_text())["pairs"]
    return [
        {
            "name": pair.get("id", f"pair-{i}"),
            "root": str(index.parent.resolve()),
            "image": pair["rgb"],
            "depth": pair["gt"],
            "kind": pair["gt_kind"],
            "divisor": float(pair["gt_scale"]),
        }
        for i, pair in enumerate(pairs)
    ]


def open_index(index: Path) -> list[CustomBenchmark]:
    """Return the pairs of an index file, one set a pair."""
    return [open_custom(CustomSet.model_validate(rule), index.parent) for rule in rules(index)]


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--write-suite", type=Path)
    args = parser.parse_args()
    if args.write_suite:
        args.write_suite.write_text(yaml.safe_dump({"sets": rules(args.index)}, sort_keys=False))
    sets = open_index(args.index)
    validation = Validation(args.index.stem, sets, resolution=args.resolution)
    print(f"{len(validation)} pairs, short side {args.resolution}, {validation.protocol['in_words'][0]}")
    teachers = {model: load_teacher(model) for model in args.model}
    for model, teacher in teachers.items():
        _show(model, validation.score(teacher, args.resolution))
    for row in validation.baselines():
        _show(row["model"], row)
    if args.sheet:
        draw(sets, teachers, args.resolution, args.sheet)


def draw(sets: Sequence[Benchmark], teachers: dict[str, Teacher], resolution: int, target: Path) -> None:
    """Write a contact sheet of all pairs."""
    rows = []
    options = ScoringOptions(Alignment(AUTO["disparity"], "", None))
    for benchmark in sets:
        sample = benchmark.read(0)
        near = np.where(sample.mask, 1 / sample.depth, np.nan).astype(np.float32)
        shown = color_range(near)
        figures, errors = [sample.rgb, colorize(near, sample.mask, "disparity", *shown)], []
        for teacher in teachers.values():
            made = resized(from_map(teacher.predict_photos([sample.rgb], resolution)[0]), near.shape)
            record, _ = score(benchmark.spec, sample, made, options)
            errors.append(record["scores"]["abs_rel"])
            fitted = (record["scale"] * made.values + record["shift"]).astype(np.float32)
            figures.append(colorize(fitted, None, "disparity", *shown))
        rows.append((errors[-1], figures, f"{sample.name}  AbsRel " + "  ".join(f"{e:.3f}" for e in errors)))
    rows.sort(key=lambda row: -row[0])
    write_sheet(target, sheet([row[1] for row in rows], ["photo", "truth", *teachers], [row[2] for row in rows]))
    print(f"wrote {target}")


def _show(name: str, scores: dict[str, Any]) -> None:
    print(f"{name:<24} AbsRel {scores['abs_rel']:.6f}  RMSE {scores['rmse']:.6f}  delta1 {scores['delta1']:.6f}")


if __name__ == "__main__":
    main()
