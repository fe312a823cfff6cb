"""Labeling that was stopped before its end: what it left is changed, and the command goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import as_yaml, saved
from tests.fuzz.readers.teachers import weight_seeds

OUT = "labels"


def label_run_readers(folder: Path) -> list[Reader]:
    """Return the reader of a stopped run's parts, scores, written shards, state and recipe."""
    files = _stopped(folder / "stopped")
    styles = {
        name: {".json": "json", ".jsonl": "text", ".yaml": "yaml"}.get(Path(name).suffix, "bytes")
        for name in files
        if name.startswith(OUT) and Path(name).suffix != ".lock"
    }

    def resume(place: Path, _: str) -> None:
        try:
            _label()
        finally:
            for path in place.rglob("*"):
                if path.is_file() and path.relative_to(place).as_posix() not in files:
                    path.unlink()

    return [Reader("label --resume", resume, files, styles, weight=4)]


def _label() -> None:
    from tests.fuzz.readers.predictions import command

    command("label", "recipe.yaml", "--out", OUT, "--device", "cpu")


def _stopped(place: Path) -> dict[str, bytes]:
    """Label two photos with two teachers in the folder `place`, and stop before the index is written."""
    import contextlib

    import pytest

    from ccd_cli.core.errors import CcdError
    from ccd_cli.label import run

    place.mkdir(parents=True)
    weights = weight_seeds(place / "weights")["net.safetensors"]
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        photo = Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8))
        (place / f"{name}.png").write_bytes(saved(lambda b, photo=photo: photo.save(b, "PNG")))
        (place / f"{name}.safetensors").write_bytes(weights)
    recipe = {
        "task": "label",
        "name": "tiny",
        "images": ["a.png", "b.png"],
        "teachers": [{"model": "a.safetensors", "batch": 4}, "b.safetensors"],
        "crops": {"size": 56, "min_side": 40, "patches": 1},
        "shard": 1,
    }
    (place / "recipe.yaml").write_bytes(as_yaml(recipe))

    def stop(*_: object) -> None:
        raise CcdError("stopped")

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(CcdError):
        patch.chdir(place)
        patch.setattr(run, "write_index", stop)
        _label()
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.parent.name != "weights"
    }
