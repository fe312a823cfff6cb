import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

SHARED = Path(os.environ.get("CCD_SHARED") or Path(__file__).resolve().parents[3].parent / "shared")


@pytest.fixture
def reference(tmp_path):
    """Return name -> (path of a stand-in checkpoint, the authors' expected arrays)."""
    folder = SHARED / "parity"
    if not (folder / "weights.py").is_file():
        pytest.skip(f"no reference material at {folder} (set CCD_SHARED)")
    spec = importlib.util.spec_from_file_location("parity_weights", folder / "weights.py")
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)

    def make(name):
        expected = dict(np.load(folder / "expected" / f"{name}.npz"))
        keys = json.loads((folder / "keys" / f"{name}.json").read_text())
        state = {k: torch.from_numpy(v) for k, v in weights.state_dict(keys, int(expected["seed"])).items()}
        path = tmp_path / ("stand-in.safetensors" if name.endswith("vitl") else "stand-in.pth")
        save = save_file if path.suffix == ".safetensors" else torch.save
        save(state, path)
        return path, expected

    make.folder = folder
    yield make
    for path in tmp_path.iterdir():  # over a gigabyte for the large networks
        path.unlink()
