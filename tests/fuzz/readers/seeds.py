"""Values from which several readers start, and what turns them into bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SHA = "0" * 64


def as_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, sort_keys=False).encode()


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


DISTILL = {
    "name": "tiny",
    "seed": 3,
    "images": {
        "paths": ["photos"],
        "scenes": {"count": 10, "height": 64, "width": 64, "family": "room"},
        "max_skipped": 0.1,
    },
    "student": {"arch": "timm", "encoder": "test_vit", "features": 16, "init": "scratch"},
    "teachers": [
        {"model": "a.safetensors", "weight": 0.7, "noise": {"outliers": 0.1}},
        {"model": "b.safetensors", "fit_to": None},
    ],
    "crops": {"size": 64, "min_side": 70, "patches": 2, "patch_min": 0.5},
    "loss": {"shared": {"levels": [1, 2, 4], "normalization": "hybrid"}, "gradient": {"weight": 2.0}},
    "optim": {"steps": 12, "batch": 2, "lr": 1e-3, "ema": 0.9},
    "eval": {"every": 5, "scenes": 2},
}
LABEL = {
    "task": "label",
    "name": "tiny",
    "images": "photos",
    "teachers": [{"model": "a.safetensors", "batch": 4}, "b.safetensors"],
    "crops": {"size": 64, "patches": 2},
    "drop": {"worst": 0.1},
    "shard": 2,
}


def values_seed() -> np.ndarray:
    return np.linspace(1, 5, 24 * 32, dtype=np.float32).reshape(24, 32)


def saved(save: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def sealed_file(path: Path) -> None:
    """Give a JSON document the checksum of what is in it, where it is a JSON object at all."""
    from ccd_cli.core.checksums import seal
    from ccd_cli.core.parse import parse_json

    try:
        found = parse_json(path.read_bytes())
        if isinstance(found, dict):
            path.write_text(json.dumps(seal(found)), encoding="utf-8", errors="surrogatepass")
    except (ValueError, TypeError):
        return


def refusals(path: Path, *readers: Callable[[Path], object]) -> list[Exception]:
    """Give a file to several readers and return what they refuse it with; another exception than ccd's own is raised."""
    found: list[Exception] = []
    for read in readers:
        try:
            read(path)
        except Exception as error:
            found.append(error)
    for problem in found:
        if type(problem).__module__ != "ccd_cli.core.errors":
            raise problem
    return found
