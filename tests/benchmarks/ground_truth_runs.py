"""Runs of ground_truth.py: a recipe with changes through `ccd distill`, and the scores of its student."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import yaml

from ccd_cli.benchmarks import Benchmark, Prediction, Sample, Spec
from ccd_cli.benchmarks.predictors import from_map
from ccd_cli.config.load import load_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.paths import shipped_folder
from ccd_cli.core.report import Silent
from ccd_cli.distill import train as distill
from ccd_cli.geometry.kinds import Kind
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.image import ScoringOptions, score
from ccd_cli.teachers.load import load_teacher, resolve_model

Predict = Callable[[Any, Sample], Prediction]
Samples = tuple[Spec, list[Sample]]
DISPARITY = {"kind": "disparity", "canonical_focal": None}
DISPARITY_LOSS = {
    "shared": {"weight": 1.0},
    "local_global": {"weight": 0.5},
    "gradient": {"weight": 2.0, "form": "mean"},
    "anchor": {"weight": 0.01},
    "depth": {"weight": 0.0},
}


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
