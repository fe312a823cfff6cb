"""One run of paper_tables.py: a row and a seed through the pipeline of `ccd distill`, then its scores on held-out scenes."""

from __future__ import annotations

import functools
import json
import shutil
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from score_edges import predictor, score
from score_index import open_index

from ccd_cli.benchmarks import Sample, Spec
from ccd_cli.benchmarks.generated import HeldOutScenes
from ccd_cli.config.common import GROUND_TRUTH, HELD_OUT, Scenes
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.load import load_recipe, recipe_hash
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.errors import ImageError, TrainingStopped
from ccd_cli.core.files import read_json_lines, write_json
from ccd_cli.core.paths import builtin_path
from ccd_cli.core.report import Silent
from ccd_cli.distill import train as distill
from ccd_cli.distill.validation import Validation
from ccd_cli.models.files import sha256_file
from ccd_cli.scenes import source
from ccd_cli.scenes.source import SceneSource
from ccd_cli.teachers.load import load_teacher

SCORED_SHARE = 0.3
"""Scenes of which less is valid (sky, far away) are not scored, as in score_edges.py."""

SCORED_WIDTH = 320
"""Held-out scenes are rendered at most this wide."""


@dataclass(frozen=True)
class Machine:
    """Where and how runs are computed."""

    device: str = "cpu"
    precision: str = "auto"
    threads: int | None = 1


class Clock(Silent):
    """A report that notes the time of every step: of the wall, and of this process's cores."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[tuple[float, float]] = []

    def advance(self, done: int, **figures: float | str) -> None:
        """Note the time."""
        self.times.append((time.perf_counter(), time.process_time()))

    def seconds(self, column: int) -> float | None:
        """Return the median seconds a step by the wall (0) or the cores (1), or None for fewer than two steps."""
        steps = np.diff([pair[column] for pair in self.times])
        return float(np.median(steps)) if len(steps) else None


@dataclass(frozen=True)
class HeldOut:
    """Held-out scenes in memory: those with enough valid pixels."""

    spec: Spec
    images: list[Sample]

    def __len__(self) -> int:
        return len(self.images)

    def names(self) -> list[str]:
        """Return the names of the scenes."""
        return [image.name for image in self.images]

    def read(self, index: int) -> Sample:
        """Return a scene."""
        return self.images[index]

    def fingerprint(self, index: int) -> str:
        """Nothing: the seed is in the name."""
        return ""

    def prediction_names(self, index: int) -> list[str]:
        """None: nothing is predicted elsewhere."""
        return []


def remember_scenes() -> None:
    """Keep every rendered scene for the next run of this process: rendering is a pure function of seed and size."""
    rendered = source.render

    @functools.cache
    def once(seed: int, height: int, width: int, family: Any) -> Any:
        return rendered([seed], height, width, family=family)

    source.render = lambda seeds, height, width, *, family: once(seeds[0], height, width, family)  # type: ignore


@functools.lru_cache(maxsize=1)
def held_out(shape: Scenes, count: int) -> HeldOut:
    """Return the scenes that no run trains on."""
    smaller = max(1, shape.width // SCORED_WIDTH)  # students see far smaller images than these
    scenes = HeldOutScenes(SceneSource(count, shape.height // smaller, shape.width // smaller, shape.family, HELD_OUT))
    images = []
    for index in range(count):
        with suppress(ImageError):
            images.append(scenes.read(index))
    return HeldOut(scenes.spec, [one for one in images if one.mask.mean() >= SCORED_SHARE])


def run_row(recipe: DistillRecipe, folder: Path, machine: Machine) -> dict[str, Any]:
    """Train (or resume), score, and write `folder`.json; a run stopped by a guard is a result too.

    Raises Interrupted after a signal, with the state saved.
    """
    clock = Clock()
    began = time.perf_counter()
    facts: dict[str, Any] = {"recipe": recipe_hash(recipe), "weights": weights(recipe), "steps": recipe.optim.steps}
    begun = (folder / "recipe.yaml").exists()
    trained = recipe.model_copy(update={"eval": recipe.eval.model_copy(update={"scenes": 0})})  # scored below, once
    try:
        distill.run(trained, DistillSettings(out=str(folder), resume=begun, **vars(machine)), clock)
    except TrainingStopped as error:
        facts |= {"stopped": error.message}
    else:
        teacher = load_teacher(str(folder), device=torch.device(machine.device))
        facts |= dict(
            zip(("abs_rel", "f1", "contrast", "delta1"), score(predictor(teacher), _scenes(recipe)), strict=True)
        )
    rows = read_json_lines(folder / "metrics.jsonl")
    wall = recipe.optim.batch / statistics.median(row["images_per_second"] for row in rows)
    facts |= {
        "wall_per_step": wall,
        "cpu_per_step": clock.seconds(1),
        "drift": float(np.mean([row["drift"] for row in rows[-50:]])),
        "seconds": time.perf_counter() - began,
        "resumed": begun,
    }
    write_json(folder.with_suffix(".json"), facts)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return facts


def result(recipe: DistillRecipe, folder: Path) -> dict[str, Any] | None:
    """Return what a finished run of this recipe left, or None.

    Raises SystemExit where the folder is another recipe's, or began from other weights of the same name.
    """
    file = folder.with_suffix(".json")
    if not file.exists():
        return None
    facts = json.loads(file.read_text(encoding="utf-8"))
    if facts["recipe"] != recipe_hash(recipe):
        raise SystemExit(f"{file} was made with another recipe: choose another --out.")
    if facts.get("weights") != weights(recipe):
        raise SystemExit(f"{file} was made with other built-in models than these: choose another --out.")
    return dict(facts)


def weights(recipe: DistillRecipe) -> dict[str, str]:
    """Return the built-in models that a recipe uses and the first 8 digits of their sha256: names outlive weights."""
    used = [(entry.model, entry.noise.errors_of or "") for entry in recipe.teachers]
    names = sorted({recipe.student.weights or "", *(name for pair in used for name in pair)})
    files = {name: f"{builtin_path(name)}.safetensors" for name in names if name.startswith("builtin:")}
    files |= {Path(name).name: name for name in names if name.endswith(".safetensors")}
    return {name: sha256_file(file)[:8] for name, file in files.items()}


def references(recipe: DistillRecipe, machine: Machine) -> list[dict[str, Any]]:
    """Return scores of the recipe's teachers at the student's resolution, and of the trivial baselines."""
    scenes = _scenes(recipe)
    rows: list[dict[str, Any]] = []
    for entry in recipe.teachers:
        if entry.model != GROUND_TRUTH:
            teacher = load_teacher(entry.model, resolution=recipe.crops.size, device=torch.device(machine.device))
            found = score(predictor(teacher), scenes)
            rows.append({"name": f"teacher {entry.model}", "abs_rel": found[0], "f1": found[1]})
    trivial = Validation("held-out scenes", [scenes]).baselines()
    return rows + [{"name": row["model"], "abs_rel": row["abs_rel"], "f1": None} for row in trivial]


def score_on_pairs(folder: Path, index: Path, side: int) -> None:
    """Score the student of a finished run on the real pairs of an index file into pairs-SEED.json, unless that is there."""
    file = folder.with_name(f"pairs-{folder.name}.json")
    if file.exists() or not (folder / "student.safetensors").exists():
        return
    found = _real_pairs(index, side).score(load_teacher(str(folder)), side)
    write_json(file, {"abs_rel": found["abs_rel"], "delta1": found["delta1"], "index": index.name})


@functools.cache
def _real_pairs(index: Path, side: int) -> Validation:
    return Validation(index.stem, open_index(index), resolution=side)


def _scenes(recipe: DistillRecipe) -> HeldOut:
    assert recipe.images.scenes is not None
    return held_out(recipe.images.scenes, recipe.eval.scenes)


def row_recipe(table: str, sets: list[str]) -> DistillRecipe:
    """Return the recipe of a row."""
    return load_recipe(f"paper/tiny-{table}", sets)
