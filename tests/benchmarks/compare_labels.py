"""Precomputed labels against online teachers: several seeds of both, scored on the same scenes.

    python tests/benchmarks/compare_labels.py PHOTOS [--seeds 3] [--steps 200] [--epochs 8] [--out runs/compare-labels]

Labels PHOTOS once with both built-in teachers (`epochs` passes of crops), then trains the quick start's student from each
seed twice: with the live teachers and from the labels. Prints AbsRel and delta1 on held-out scenes, mean and spread.
Existing results are skipped.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from ccd_cli.config.load import check_label_recipe, check_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.report import Silent
from ccd_cli.distill import train as distill
from ccd_cli.label import run as label

CROPS = {"size": 96, "min_side": 112, "patches": 2}
TEACHERS = ["builtin:global", "builtin:sharp"]


def main() -> None:
    """Train what is missing and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/compare-labels"))
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    teachers = [{"model": name, "batch": 8} for name in TEACHERS]
    asked = {"task": "label", "name": "compare", "images": args.photos, "crops": CROPS, "threads": 1}
    recipe = check_label_recipe({**asked, "teachers": teachers, "epochs": args.epochs}, "comparison")
    label.run(recipe, out=str(args.out / "labels"), device=args.device, report=Silent())
    live = {"images": args.photos, "teachers": TEACHERS, "crops": CROPS}
    ways = {"live teachers": live, "labels made earlier": {"labels": str(args.out / "labels")}}
    for name, values in ways.items():
        scores = [_run(args, name, seed, values) for seed in range(args.seeds)]
        means = [f"{metric} {_spread([score[metric] for score in scores])}" for metric in ("abs_rel", "delta1")]
        print(f"{name:20} {', '.join(means)}   ({args.seeds} seeds)")


def _run(args: argparse.Namespace, name: str, seed: int, values: dict[str, Any]) -> dict[str, float]:
    out = args.out / name.replace(" ", "-") / f"seed{seed}"
    if not (out / "card.md").exists():
        raw = {
            "name": "compare",
            "seed": seed,
            "student": {
                "arch": "timm",
                "encoder": "tf_efficientnet_lite0",
                "features": 32,
                "init": "encoder",
                "weights": "builtin:global",
            },
            "loss": {"feature": {"weight": 0.0}, "anchor": {"weight": 0.01}},
            "optim": {"steps": args.steps, "batch": 8, "lr": 2e-3, "encoder_lr": 3e-4, "warmup": 20, "ema": 0.95},
            "eval": {"scenes": 60, "every": args.steps, "compare": False},
            "log": {"samples": 0, "tensorboard": False},
            **values,
        }
        recipe = check_recipe(raw, "comparison")
        resume = (out / "recipe.yaml").exists()
        distill.run(recipe, DistillSettings(out=str(out), resume=resume, device=args.device, threads=1), Silent())
    scores: dict[str, float] = json.loads((out / "eval.json").read_text())["best"]
    return scores


def _spread(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} +- {spread:.4f}"


if __name__ == "__main__":
    main()
