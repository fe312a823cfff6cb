"""The depth pipeline of transformers with the same network, for comparison."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ccd_cli.core.errors import CcdError
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.runtimes.facts import ExportFacts


def transformers_pipeline(
    network: DepthNet, name: str, resolution: int | None, folder: Path
) -> Callable[[list[Path], Path], None] | None:
    """Return what predicts photos into a folder of .npy files with transformers; None where it has no such network.

    It is written to `folder` as `ccd export --format transformers` writes it, so that its inputs have the same size as here.
    """
    if importlib.util.find_spec("transformers") is None:
        return None
    from transformers import pipeline

    from ccd_cli.export.transformers_folder import write

    own = network.arch
    try:
        network.arch = replace(own, resolution=resolution or own.resolution)
        folder.mkdir()
        write(network, ExportFacts(network.arch, name, "unknown", ""), folder)
    except CcdError:  # no counterpart there
        return None
    finally:
        network.arch = own
    pipe: Any = pipeline("depth-estimation", model=str(folder), device="cpu")

    def predict(paths: list[Path], out: Path) -> None:
        out.mkdir(exist_ok=True)
        for path in paths:
            np.save(out / f"{path.stem}.npy", pipe(str(path))["predicted_depth"].numpy())

    return predict
