"""Folders of runs, and the scores of `ccd eval`."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ccd_cli.core.files import write_json
from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import DISTILL, as_yaml


def run_readers(folder: Path) -> list[Reader]:
    from ccd_cli.config.distill import DistillRecipe
    from ccd_cli.distill import checkpoint
    from ccd_cli.distill.results import finished_result
    from ccd_cli.distill.run_folder import RunFolder
    from ccd_cli.evaluate.store import ScoreBook
    from ccd_cli.inspection import training_run

    recipe = DistillRecipe.model_validate(DISTILL).model_dump(mode="json")
    line = {"step": 1, "loss": 0.5, "drift": 0.1, "lr": 1e-3, "teacher": "a", "images_per_second": 3.0}
    write_json(
        folder / "scores.json",
        {"best": {"step": 5, "abs_rel": 0.1, "images": 3}, "history": [], "comparison": [{"model": "a"}]},
    )
    torch.save({"format": checkpoint.FORMAT, "step": 3, "x": torch.zeros(3)}, folder / "last.pt")
    files = {
        "recipe.yaml": as_yaml(recipe),
        "metrics.jsonl": b"".join(json.dumps({**line, "step": i}).encode() + b"\n" for i in range(1, 4)),
        "eval.json": (folder / "scores.json").read_bytes(),
        "README.md": b"# card\n",
        "model_card.md": b"# card\n",
        "skipped.jsonl": b'{"photo": "a", "reason": "b"}\n',
        "checkpoints/last.pt": (folder / "last.pt").read_bytes(),
    }
    score = {
        "index": 0,
        "image": "a.png",
        "mark": "m",
        "pixels": 9,
        "alignment": "lsq",
        "scores": {"abs_rel": 0.1, "rmse": None},
    }
    store = b"".join(json.dumps({**score, "index": i, "mark": f"m{i}"}).encode() + b"\n" for i in range(3))

    def run_folder(place: Path, _: str) -> None:
        run = RunFolder(place)
        training_run.statistics(run)
        finished_result(run)
        checkpoint.read(run.state)
        checkpoint.check_same_recipe(run, recipe)

    def scores(place: Path, name: str) -> None:
        book = ScoreBook(place / name, ["m0", "m1", "m2"], False)
        book.of([0, 1, 2])

    styles = {
        "recipe.yaml": "yaml",
        "metrics.jsonl": "text",
        "eval.json": "json",
        "skipped.jsonl": "text",
        "checkpoints/last.pt": "bytes",
    }
    return [
        Reader("run folders", run_folder, files, styles, weight=5),
        Reader("eval store", scores, {"scores.jsonl": store}, {"scores.jsonl": "text"}, weight=3),
    ]
