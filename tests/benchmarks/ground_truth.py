"""What learning from ground truth is worth: a metric student, holes that a network fills, sky, a model fine-tuned on a few frames.

    python tests/benchmarks/ground_truth.py metric sparse sky finetune [--out DIR] [--seeds 3] [--steps N] [--shared DIR]
    python tests/benchmarks/ground_truth.py metric --steps 1600 --out runs/ground-truth-long    # four times the steps and scenes

Every run is one of `ccd distill` with its last weights, and lies in --out: a run that is there is not trained again, and one that
was stopped is resumed. Scores are those of 200 generated scenes that no run sees, nor the recipe's own validation; for `finetune`
those of real frames.

* metric: the recipe metric-scenes (meters, nothing fitted) against the same budget for a student of disparity, whose 1 / disparity
  gets the median of the true depth of every image, or the median of training scenes (no truth needed), or whose disparity gets the
  best scale and shift of every image.
* sparse: the recipe metric-scenes where 1 % of the pixels of every label are known: alone, with the rest filled by builtin:global
  (`fill`), and where all pixels are known. Then the same of 64 images in files, with a student of disparity.
* sky: the recipe metric-scenes with a second output that marks sky, against the recipe as it is.
* finetune: builtin:tiny, trained further on 28 frames of a hand-held RGB-D clip (--shared: reference material beside a checkout),
  scored on the clip's last ten frames and on indoor images of other cameras.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from paper_runs import remember_scenes

from ccd_cli.benchmarks import Benchmark, Prediction, Sample, Spec
from ccd_cli.benchmarks.generated import HeldOutScenes
from ccd_cli.benchmarks.predictors import from_map
from ccd_cli.benchmarks.suites import open_pairs
from ccd_cli.config.common import HELD_OUT
from ccd_cli.config.load import load_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.paths import shipped_folder
from ccd_cli.core.report import Silent
from ccd_cli.distill import train as distill
from ccd_cli.geometry.kinds import Kind
from ccd_cli.scenes.source import SceneSource
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.image import ScoringOptions, score
from ccd_cli.teachers.load import load_teacher, resolve_model

Predict = Callable[[Any, Sample], Prediction]
Samples = tuple[Spec, list[Sample]]
TRAINED, SELECTED, TESTED = slice(0, 28), slice(30, 36), slice(38, 48)
"""Frames of the clip; two are left out between each part and the next."""
SCENES = SceneSource(200, 240, 320, "mixed", HELD_OUT + 1000)
"""Scenes for reporting; a recipe's own validation, by which metric-scenes was chosen, takes those from HELD_OUT on."""


def main() -> None:
    """Train what is missing, score it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["metric", "sparse", "sky", "finetune"])
    parser.add_argument("--out", type=Path, default=Path("runs/ground-truth"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shared", type=Path, default=None)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    remember_scenes()
    for name in args.what:
        {"metric": metric, "sparse": sparse, "sky": sky, "finetune": finetune}[name](args)


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


DISPARITY = {"kind": "disparity", "canonical_focal": None}
DISPARITY_LOSS = {
    "shared": {"weight": 1.0},
    "local_global": {"weight": 0.5},
    "gradient": {"weight": 2.0, "form": "mean"},
    "anchor": {"weight": 0.01},
    "depth": {"weight": 0.0},
}


def sparse(args: argparse.Namespace) -> None:
    """One pixel of a hundred, with the rest filled and without: of many images, in meters, and of few, in disparity."""
    scenes = samples_of(HeldOutScenes(SCENES), edges=True)
    known = {"model": "ground-truth"}
    few = {**known, "noise": {"missing": 0.99}}
    many: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        for name, run, teacher in (
            ("1 % of the pixels", "sparse", few),
            ("1 %, the rest filled by builtin:global", "filled", {**few, "fill": "builtin:global"}),
            ("all pixels", "meters", known),
        ):
            made = trained(args, f"{run}-{seed}", {"seed": seed, "teachers": [teacher]})
            collect(many, f"{name}: meters as predicted", scores(scenes, as_is(made), "none"))
            collect(many, f"{name}: scale and shift fitted", scores(scenes, as_is(made), "least-squares-disparity"))
    table(many)
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


FEW = 64
FILL = {"model": "builtin:global", "weight": 0.33}


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


def finetune(args: argparse.Namespace) -> None:
    """A few frames of one's own camera."""
    assert args.shared is not None, "--shared DIR holds the clip"
    real = args.shared / "data/real"
    frames = sorted((real / "E_videos/sevenscenes_rgbd_clip").glob("*.color.jpg"))
    files = {name: clip_file(args.out, name, frames[part]) for name, part in PARTS.items()}
    before = load("builtin:tiny")
    tested = {"same clip": one_set(files["tested"]), "other cameras": indoor(real, args.out)}
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        values = {
            "seed": seed,
            "images": {"scenes": None, "pairs": str(files["trained"])},
            "eval": {"pairs": str(files["selected"]), "scenes": 0, "every": 20},
            "crops": {"size": 160, "min_side": 320, "patches": 2},
            "optim": {"steps": args.steps or 100, "lr": 1e-4, "encoder_lr": 2e-5, "warmup": 10, "checkpoint_every": 50},
            "student": {**DISPARITY, "init": "pretrained", "weights": "builtin:tiny"},
            "loss": DISPARITY_LOSS,
        }
        after = trained(args, f"finetuned-{seed}", values, last=False)
        for name, samples in tested.items():
            if seed == 0:
                collect(rows, f"{name}: builtin:tiny", scores(samples, as_is(before), "least-squares-disparity"))
            collect(rows, f"{name}: fine-tuned", scores(samples, as_is(after), "least-squares-disparity"))
    table(rows)


PARTS = {"trained": TRAINED, "selected": SELECTED, "tested": TESTED}


def clip_file(out: Path, name: str, frames: list[Path]) -> Path:
    """Write a file of pairs for some frames, which are linked into a folder of their own."""
    folder = out / "frames" / name
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        for path in (frame, frame.with_name(frame.name.replace("color.jpg", "depth_registered.png"))):
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path.resolve())
    return suite(folder, name, "*.color.jpg", "*.depth_registered.png")


def suite(folder: Path, name: str, image: str, depth: str) -> Path:
    """Write a file of pairs in millimeters."""
    path = folder / "pairs.yaml"
    rule = {"name": name, "image": image, "depth": depth, "divisor": 1000, "min": 0.3, "max": 10.0}
    path.write_text(yaml.safe_dump(rule))
    return path.resolve()


def indoor(real: Path, out: Path) -> Samples:
    """The indoor images of the reference material that are not of this clip's data set."""
    listed = json.loads((real / "index.json").read_text())["pairs"]
    made = []
    for pair in listed:
        if pair["category"] == "A" and not pair["id"].startswith("7scenes"):
            folder = out / "frames" / pair["id"]
            folder.mkdir(parents=True, exist_ok=True)
            for key in ("rgb", "gt"):
                link = folder / f"{key}{Path(pair[key]).suffix}"
                if not link.exists():
                    link.symlink_to((real / pair[key]).resolve())
            made.append(one_set(suite(folder, pair["id"], "rgb.*", "gt.*")))
    return made[0][0], [sample for _, samples in made for sample in samples]


def one_set(path: Path) -> Samples:
    """The samples of the only set that a file describes."""
    (found,) = open_pairs(path)
    return samples_of(found)


def samples_of(benchmark: Benchmark, edges: bool = False) -> Samples:
    """A set's samples, read once; `edges`: boundary F1 is scored too."""
    spec = replace(benchmark.spec, boundary=edges)
    return spec, [benchmark.read(index) for index in range(len(benchmark))]


def trained(args: argparse.Namespace, name: str, changes: dict[str, Any], last: bool = True) -> Any:
    """Train the recipe metric-scenes with changes, unless that run is finished, and load it; `last`: without choosing weights."""
    folder = args.out / name
    if not (folder / "card.md").exists():
        values = yaml.safe_load((shipped_folder() / "metric-scenes.yaml").read_text())
        if last:
            values["eval"] = {"scenes": 0}
        values["log"] = {"samples": 2, "samples_every": 10_000, "tensorboard": False}
        for key, value in {**changes, "name": name}.items():
            kept = values[key] if isinstance(values.get(key), dict) and isinstance(value, dict) else {}
            values[key] = {**kept, **value} if isinstance(value, dict) else value
        if args.steps:
            values["optim"]["steps"] = args.steps
            if values["images"]["scenes"]:  # every scene once, as in the recipe
                values["images"]["scenes"]["count"] = args.steps * values["optim"]["batch"]
        recipe = args.out / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump(values))
        begun = (folder / "recipe.yaml").exists()
        settings = DistillSettings(out=str(folder), resume=begun, device="cpu", threads=args.threads)
        distill.run(load_recipe(str(recipe)), settings, Silent())
    return load(str(folder))


def load(name: str) -> Any:
    """A model, ready."""
    torch.set_num_threads(1)
    return load_teacher(resolve_model(name), None, torch.device("cpu"), "fp32", None)


def as_is(model: Any) -> Predict:
    """What the model says, of its own kind."""

    def predict(_: Spec, sample: Sample) -> Prediction:
        focal = sample.camera.fx if sample.camera else None
        return from_map(model.predict_photos([sample.rgb], side(model), [focal])[0])

    return predict


def as_depth(model: Any, median: float | None = None) -> Predict:
    """1 / disparity, at least a thousandth of its largest, as depth; with a `median`, as meters with that median."""

    def predict(_: Spec, sample: Sample) -> Prediction:
        disparity = model.predict_photos([sample.rgb], side(model), [None])[0].values
        depth = 1.0 / np.maximum(disparity, 1e-3 * disparity.max())
        if median is not None:
            depth *= median / np.median(depth)
        kind: Kind = "depth" if median is None else "metric"
        return Prediction(depth.astype(np.float32), kind, np.ones(depth.shape, bool))

    return predict


def side(model: Any) -> int:
    """At what side a photo is seen: that of training."""
    return 160 if model.name == "builtin:tiny" or "finetuned" in model.name else 128


def scores(samples: Samples, predict: Predict, alignment: str) -> dict[str, float]:
    """The mean scores over a set."""
    options = ScoringOptions(Alignment(alignment, "", None))
    spec, kept = samples
    found = [score(spec, sample, predict(spec, sample), options)[0]["scores"] for sample in kept]
    keys = ("abs_rel", "delta1", *(("boundary_f1",) if spec.boundary else ()))
    return {key: statistics.fmean(each[key] for each in found if key in each) for key in keys}


def collect(rows: dict[str, list[dict[str, float]]], name: str, found: dict[str, float]) -> None:
    """Keep a seed's scores, and print them."""
    rows.setdefault(name, []).append(found)
    print(json.dumps({"row": name, **found}), flush=True)


def table(rows: dict[str, list[dict[str, float]]]) -> None:
    """Print the mean over seeds and its range."""
    print("\n| labels, scoring | AbsRel | range | delta1 | boundary F1 |\n|---|---|---|---|---|")
    for name, found in rows.items():
        errors = [each["abs_rel"] for each in found]
        mean = {key: statistics.fmean(each[key] for each in found) for key in found[0]}
        edges = f"{mean['boundary_f1']:.3f}" if "boundary_f1" in mean else ""
        spread = f"{min(errors):.4f} to {max(errors):.4f}"
        print(f"| {name} | {mean['abs_rel']:.4f} | {spread} | {mean['delta1']:.3f} | {edges} |")


if __name__ == "__main__":
    main()
