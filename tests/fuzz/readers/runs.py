"""Folders of runs, and the scores of `ccd eval`, as they are and with checksums that fit what was changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ccd_cli.core.errors import CcdError
from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import DISTILL, SHA, as_json, as_yaml, sealed_file

CARD = "# card\n"


def run_readers(folder: Path) -> list[Reader]:
    """Return the readers of runs; the sealed ones get files that fit their checksums, and lie."""
    from ccd_cli.config.distill import DistillRecipe
    from ccd_cli.distill import checkpoint
    from ccd_cli.distill.results import finished_result
    from ccd_cli.distill.run_folder import RunFolder
    from ccd_cli.evaluate.store import ScoreBook
    from ccd_cli.inspection import training_run

    recipe = DistillRecipe.model_validate(DISTILL).model_dump(mode="json")
    files = _run(folder / "run", recipe)
    score = {"image": "a.png", "pixels": 9, "alignment": "lsq", "scores": {"abs_rel": 0.1, "rmse": None}}
    store = b"".join(json.dumps({**score, "index": i, "mark": f"m{i}"}).encode() + b"\n" for i in range(3))

    def run_folder(place: Path, _: str) -> None:
        run = RunFolder(place)
        training_run.statistics(training_run.read_run(run))
        finished_result(run)
        checkpoint.read_whole(run.state)
        checkpoint.check_same_recipe(run, recipe)

    def sealed(place: Path, name: str) -> None:
        if name == "run.json":
            sealed_file(place / name)
        else:
            RunFolder(place).finish(CARD)
        run_folder(place, name)

    def scores(place: Path, name: str) -> None:
        ScoreBook(place / name, ["m0", "m1", "m2"], False).of([0, 1, 2])

    styles = {
        "recipe.yaml": "yaml",
        "metrics.jsonl": "text",
        "eval.json": "json",
        "skipped.jsonl": "text",
        "checkpoints/last.pt": "bytes",
    }
    running = {name: data for name, data in files.items() if name not in ("card.md", "run.json")}
    written = {name: style for name, style in styles.items() if name != "checkpoints/last.pt"}
    return [
        Reader("run folders", run_folder, running, styles, weight=5),
        Reader("run folders, sealed", sealed, files, {**written, "run.json": "json"}, weight=5),
        Reader("states, sealed", _state_reader(), {"state.json": _state_seed()}, {"state.json": "json"}, weight=4),
        Reader("eval store", scores, {"scores.jsonl": store}, {"scores.jsonl": "text"}, weight=3),
    ]


def _run(place: Path, recipe: dict[str, Any]) -> dict[str, bytes]:
    """Write a finished run; return its files."""
    from ccd_cli.distill import checkpoint
    from ccd_cli.distill.run_folder import RunFolder

    line = {"loss": 0.5, "drift": 0.1, "lr": 1e-3, "teacher": "a", "images_per_second": 3.0}
    lines = [json.dumps({"step": i, **line}).encode() + b"\n" for i in range(1, 4)]
    best = {"step": 5, "abs_rel": 0.1, "images": 3}
    run = RunFolder(place)
    run.state.parent.mkdir(parents=True)
    run.recipe.write_bytes(as_yaml(recipe))
    run.metrics.write_bytes(b"".join(lines))
    run.eval.write_bytes(as_json({"best": best, "history": [], "comparison": [{"model": "a"}]}))
    run.skipped.write_bytes(b'{"photo": "a", "reason": "b"}\n')
    run.student.write_bytes(b"weights")
    checkpoint.write(run.state, json.loads(_state_seed()) | {"bad": []})
    run.finish(CARD)
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def _state_seed() -> bytes:
    """What a saved state holds beside tensors, as JSON, and some numbers that become tensors."""
    guard = {"recent": [0.1], "start": None, "nonfinite_row": 0, "nonfinite_total": 0}
    state = {
        "step": 3,
        "student": {"w": [1.0, 2.0]},
        "ema": None,
        "projection": None,
        "optimizer": {"state": {}, "param_groups": []},
        "scaler": {},
        "guard": {**guard, "warned_flat": False, "stopped": False},
        "history": [{"step": 1.0, "abs_rel": 0.5, "images": 3.0}],
        "best": {"step": 1.0, "abs_rel": 0.5},
        "best_weights": None,
        "lines": [120, 156],
        "first_samples": None,
        "bad": [["a.jpg", "empty"]],
        "threads": 1,
        "device": "cpu",
        "precision": "fp32",
        "world": 1,
        "photos": 5,
        "source_hash": SHA,
        "hashes": {"a": SHA},
    }
    return as_json(state)


def _state_reader() -> Any:
    """Return a reader of a state of a tiny student, into which the values of a JSON document are put and then sealed."""
    from types import SimpleNamespace

    from ccd_cli.core.report import Silent
    from ccd_cli.distill import checkpoint
    from ccd_cli.distill.guards import Guard
    from ccd_cli.distill.state import TrainState

    def fresh() -> TrainState:
        student = torch.nn.Linear(2, 1, bias=False)
        optimizer = torch.optim.AdamW(student.parameters(), 1e-3)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        return TrainState(student, None, None, optimizer, scaler, Guard(4.0, 50, 20))  # type: ignore[arg-type]

    state = fresh()
    state.lines.add('{"step": 3}\n')
    whole = state.state_dict()
    seed = json.loads(_state_seed())
    tensors = {key: whole[key] for key in ("student", "optimizer", "scaler", "lines")}

    def read(place: Path, name: str) -> None:
        try:
            found = json.loads((place / name).read_bytes())
        except (ValueError, RecursionError) as error:
            raise CcdError("no state to seal") from error
        if not isinstance(found, dict):
            raise CcdError("no state to seal")
        kept = {key: value for key, value in tensors.items() if found.get(key) == seed[key]}
        bad = found.get("bad")
        found["bad"] = (
            [tuple(each) if isinstance(each, list) else each for each in bad] if isinstance(bad, list) else bad
        )
        checkpoint.write(place / "last.pt", found | kept)
        saved = checkpoint.read_whole(place / "last.pt")
        assert saved is not None
        runtime = SimpleNamespace(device=torch.device("cpu"), precision="fp32", world=1, describe=lambda: "a CPU")
        images = SimpleNamespace(digest=SHA, __len__=lambda: 5)
        if saved["source_hash"] == SHA:
            checkpoint.check_same_images(saved, images)  # type: ignore[arg-type]
        checkpoint.match_machine(saved, runtime, 1, Silent())  # type: ignore[arg-type]
        checkpoint.check_same_weights(saved, seed["hashes"])
        other = fresh()
        checkpoint.restore(other, SimpleNamespace(mark_bad=lambda *_: None), saved)  # type: ignore[arg-type]
        other.lines.restore(place / "metrics.jsonl")
        json.dumps([other.step, other.history, other.best])

    return read
