"""Score models on photos with sensor depth that an index file lists, beside maps that know nothing.

    python tests/benchmarks/score_index.py INDEX.json --model builtin:tiny [--model ...] [--resolution 128] [--sheet worst.png]

INDEX.json holds {"pairs": [{"rgb", "gt", "gt_kind": "depth" or "disparity", "gt_scale"}, ...]}, paths relative to it; the
ground truth is value / gt_scale, 0 is invalid. A photo is predicted with its short side at --resolution and fitted in
disparity by least squares, floor 1 / largest true depth (disparity pairs as 1 / d); the mean over images is printed. --sheet
draws every photo with its truth and the fitted maps, in the truth's colors, the worst for the last model first.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ccd_cli.distill.score import score_disparity

from ccd_cli.distill.validation import baselines, score_network
from ccd_cli.media.colorize import color_range, colorize
from ccd_cli.media.photos import read_photo
from ccd_cli.reports.contact_sheet import sheet, write_sheet
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.load import load_teacher


@dataclass(frozen=True)
class Index:
    """The pairs of an index file."""

    root: Path
    rows: list[dict[str, Any]]
    name: str = "index"

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (photo, depth, valid)."""
        row = self.rows[index]
        values = cv2.imread(str(self.root / row["gt"]), cv2.IMREAD_UNCHANGED).astype(np.float32) / row["gt_scale"]
        valid = values > 0
        ground_truth = np.where(valid, values, 1.0)
        return (
            read_photo(self.root / row["rgb"]),
            1.0 / ground_truth if row["gt_kind"] == "disparity" else ground_truth,
            valid,
        )


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    images = Index(args.index.parent, json.loads(args.index.read_text())["pairs"])
    print(f"{len(images)} pairs, short side {args.resolution}")
    teachers = {model: load_teacher(model) for model in args.model}
    for model, teacher in teachers.items():
        _show(model, score_network(teacher, images, args.resolution))
    for row in baselines(images):
        _show(row["model"], row)
    if args.sheet:
        draw(images, teachers, args.resolution, args.sheet)


def draw(images: Index, teachers: dict[str, Teacher], resolution: int, target: Path) -> None:
    """Write a contact sheet of all pairs."""
    rows = []
    for number in range(len(images)):
        photo, depth, valid = images.read(number)
        near = np.where(valid, 1 / depth, np.nan).astype(np.float32)
        shown = color_range(near)
        pictures, errors = [photo, colorize(near, valid, "disparity", *shown)], []
        for teacher in teachers.values():
            made = teacher.predict_photos([photo], resolution)[0].values
            errors.append(score_disparity(made, depth, valid)["abs_rel"])
            fitted = np.polynomial.Polynomial.fit(made[valid], near[valid], 1)(made).astype(np.float32)
            pictures.append(colorize(fitted, None, "disparity", *shown))
        rows.append(
            (errors[-1], pictures, f"{images.rows[number]['rgb']}  AbsRel " + "  ".join(f"{e:.3f}" for e in errors))
        )
    rows.sort(key=lambda row: -row[0])
    write_sheet(target, sheet([row[1] for row in rows], ["photo", "truth", *teachers], [row[2] for row in rows]))
    print(f"wrote {target}")


def _show(name: str, scores: dict[str, Any]) -> None:
    print(f"{name:<24} AbsRel {scores['abs_rel']:.4f}  delta1 {scores['delta1']:.4f}")


if __name__ == "__main__":
    main()
