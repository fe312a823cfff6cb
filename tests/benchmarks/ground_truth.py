"""What learning from ground truth is worth: a metric student, holes that a network fills, sky, a model fine-tuned on a few frames.

    python tests/benchmarks/ground_truth.py metric sparse light few sky finetune [--out DIR] [--seeds 3] [--steps N] [--shared DIR]
    python tests/benchmarks/ground_truth.py metric --steps 1600 --out runs/ground-truth-long    # four times the steps and scenes

Every run is one of `ccd distill` with its last weights, and lies in --out: a run that is there is not trained again, and one that
was stopped is resumed. Scores are those of 200 generated scenes that no run sees, nor the recipe's own validation; for `finetune`
those of real frames.

* metric: the recipe metric-scenes (meters, nothing fitted) against the same budget for a student of disparity, whose 1 / disparity
  gets the median of the true depth of every image, or the median of training scenes (no truth needed), or whose disparity gets the
  best scale and shift of every image.
* sparse: the recipe metric-scenes where 1 % of the pixels of every label are known: alone, with the rest filled by builtin:global
  (`fill`), and where all pixels are known.
* light: the same, filled at a weight of 0.03, with the gradient of the logarithms in the loss and without.
* few: the same of 64 images in files, with a student of disparity.
* sky: the recipe metric-scenes with a second output that marks sky, against the recipe as it is.
* finetune: builtin:tiny, trained further on 28 frames of a hand-held RGB-D clip (--shared: reference material beside a checkout),
  scored on the clip's last ten frames and on indoor images of other cameras.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from ground_truth_clip import finetune
from ground_truth_runs import (
    DISPARITY,
    DISPARITY_LOSS,
    as_depth,
    as_is,
    collect,
    samples_of,
    scores,
    side,
    table,
    trained,
)
from paper_runs import remember_scenes

from ccd_cli.benchmarks.generated import HeldOutScenes
from ccd_cli.config.common import HELD_OUT
from ccd_cli.config.load import load_recipe
from ccd_cli.scenes.source import SceneSource

SCENES = SceneSource(200, 240, 320, "mixed", HELD_OUT + 1000)
"""Scenes for reporting; a recipe's own validation, by which metric-scenes was chosen, takes those from HELD_OUT on."""


def main() -> None:
    """Train what is missing, score it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=[*EXPERIMENTS])
    parser.add_argument("--out", type=Path, default=Path("runs/ground-truth"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shared", type=Path, default=None)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    remember_scenes()
    for name in args.what:
        EXPERIMENTS[name](args)


def metric(args: argparse.Namespace) -> None:
    """A student of meters beside one of disparity."""
    rows: dict[str, list[dict[str, float]]] = {}
    scenes, usual = samples_of(HeldOutScenes(SCENES)), median_depth()
    for seed in range(args.seeds):
        meters = trained(args, f"meters-{seed}", {"seed": seed})
        relative = trained(args, f"disparity-{seed}", {"seed": seed, "student": DISPARITY, "loss": DISPARITY_LOSS})
        for name, predict, alignment in (
            ("metric student, meters as predicted", as_is(meters), "none"),
            ("disparity student, true median depth of each image", as_depth(relative), "median"),
            ("disparity student, median depth of training scenes", as_depth(relative, usual), "none"),
            ("disparity student, best scale and shift of each image", as_is(relative), "least-squares-disparity"),
        ):
            collect(rows, name, scores(scenes, predict, alignment))
    table(rows)


def median_depth() -> float:
    """The median over training scenes of their median depth."""
    shape = load_recipe("metric-scenes").images.scenes
    assert shape is not None
    scenes = HeldOutScenes(SceneSource(100, shape.height, shape.width, shape.family, shape.first))
    return statistics.median(float(np.median(each.depth[each.mask])) for each in map(scenes.read, range(len(scenes))))


def sky(args: argparse.Namespace) -> None:
    """A second output for sky: how well it marks, and what it costs the depth."""
    rows: dict[str, list[dict[str, float]]] = {}
    scenes = samples_of(HeldOutScenes(SCENES))
    for seed in range(args.seeds):
        plain = trained(args, f"meters-{seed}", {"seed": seed})
        second = {"student": {"sky": True}, "loss": {"sky": {"weight": 1.0}}}
        marks = trained(args, f"sky-{seed}", {"seed": seed, **second})
        collect(rows, "without", scores(scenes, as_is(plain), "none"))
        found = scores(scenes, as_is(marks), "none")
        collect(rows, "with a second output for sky", {**found, **sky_overlap(marks)})
    table(rows)
    marked = rows["with a second output for sky"]
    for key in ("images", "iou"):
        values = [each[key] for each in marked]
        print(f"{key}: {statistics.fmean(values):.4f} ({min(values):.4f} to {max(values):.4f})")


def sky_overlap(model: Any) -> dict[str, float]:
    """Intersection over union of marked and true sky: over all pixels, and as the mean over images that have or get sky."""
    both = either = 0
    images = []
    for index in range(SCENES.count):
        rgb, disparity, focal = SCENES.read(index)
        made = model.predict_photos([rgb], side(model), [focal])[0].sky
        true = disparity == 0
        assert made is not None and made.shape == true.shape
        inside, union = int((made & true).sum()), int((made | true).sum())
        both, either = both + inside, either + union
        if union:
            images.append(inside / union)
    return {"iou": both / either, "images": statistics.fmean(images)}


def sparse(args: argparse.Namespace) -> None:
    """One pixel of a hundred of many images, with the rest filled and without, by students of meters."""
    scenes = samples_of(HeldOutScenes(SCENES), edges=True)
    known = {"model": "ground-truth"}
    sparse = {**known, "noise": {"missing": 0.99}}
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        for name, run, teacher in (
            ("1 % of the pixels", "sparse", sparse),
            ("1 %, the rest filled by builtin:global", "filled", {**sparse, "fill": "builtin:global"}),
            ("all pixels", "meters", known),
        ):
            made = trained(args, f"{run}-{seed}", {"seed": seed, "teachers": [teacher]})
            collect(rows, f"{name}: meters as predicted", scores(scenes, as_is(made), "none"))
            collect(rows, f"{name}: scale and shift fitted", scores(scenes, as_is(made), "least-squares-disparity"))
    table(rows)


def light(args: argparse.Namespace) -> None:
    """One pixel of a hundred, with the rest filled at a small weight, by students of meters."""
    scenes = samples_of(HeldOutScenes(SCENES), edges=True)
    teacher = {"model": "ground-truth", "noise": {"missing": 0.99}, "fill": {**FILL, "weight": 0.03}}
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        for name, run, gradient in (("with the gradient", "light", 0.5), ("without the gradient", "light-plain", 0.0)):
            depth = {"weight": 1.0, "focus": 0.5, "l1": 0.5, "gradient": gradient}
            made = trained(args, f"{run}-{seed}", {"seed": seed, "teachers": [teacher], "loss": {"depth": depth}})
            collect(rows, f"{name}: meters as predicted", scores(scenes, as_is(made), "none"))
            collect(rows, f"{name}: scale and shift fitted", scores(scenes, as_is(made), "least-squares-disparity"))
    table(rows)


FEW = 64
FILL = {"model": "builtin:global", "weight": 0.33}


def few(args: argparse.Namespace) -> None:
    """One pixel of a hundred of few images in files, with the rest filled and without, by students of disparity."""
    scenes = samples_of(HeldOutScenes(SCENES), edges=True)
    known = {"model": "ground-truth"}
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        for name, run, share, teacher in (
            ("1 % of the pixels", "few-sparse", 0.01, known),
            ("1 %, the rest filled by builtin:global", "few-filled", 0.01, {**known, "fill": FILL}),
            ("all pixels", "few-all", 1.0, known),
        ):
            values = {
                "seed": seed,
                "student": DISPARITY,
                "loss": DISPARITY_LOSS,
                "teachers": [teacher],
                "images": {
                    "scenes": None,
                    "pairs": {"files": scene_files(args.out, share), "validation": {"fraction": 0}},
                },
                "optim": {"steps": args.steps or 300},
            }
            made = trained(args, f"{run}-{seed}", values)
            collect(rows, f"{FEW} images, {name}", scores(scenes, as_is(made), "least-squares-disparity"))
    table(rows)


def scene_files(out: Path, share: float) -> list[str]:
    """Write scenes as images with depth in millimeters, known for a share of the pixels, and the file of the pairs."""
    folder = out / f"scenes-{share:g}"
    if not (folder / "pairs.yaml").exists():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        scenes, rng = SceneSource(FEW, 144, 176, "mixed", 9_000_000), np.random.default_rng(0)
        for index in range(FEW):
            rgb, disparity, _ = scenes.read(index)
            depth = np.divide(1000.0, disparity, where=disparity > 1 / 65, out=np.zeros_like(disparity))
            depth[rng.random(depth.shape) >= share] = 0
            cv2.imwrite(str(folder / f"images/{index:04d}.rgb.png"), rgb[..., ::-1])
            cv2.imwrite(str(folder / f"images/{index:04d}.depth.png"), np.round(depth).astype(np.uint16))
        rule = {"name": "scenes", "image": "images/*.rgb.png", "depth": "images/*.depth.png", "divisor": 1000}
        (folder / "pairs.yaml").write_text(yaml.safe_dump({**rule, "min": 0.1, "max": 65.0}))
    return [str((folder / "pairs.yaml").resolve())]


EXPERIMENTS = {"metric": metric, "sparse": sparse, "light": light, "few": few, "sky": sky, "finetune": finetune}

if __name__ == "__main__":
    main()
