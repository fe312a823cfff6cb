from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.standin import state_dict


@pytest.fixture
def reference(tmp_path, golden):
    """Return name -> (path of a stand-in checkpoint, the inputs, what the authors' code gives at every second pixel)."""
    inputs = {letter: torch.from_numpy(values) for letter, values in np.load(golden / "networks/inputs.npz").items()}
    outputs = np.load(golden / "networks/outputs.npz")

    def make(name: str) -> tuple[Path, dict, dict]:
        path = tmp_path / ("stand-in.safetensors" if name.endswith("vitl") else "stand-in.pth")
        save = save_file if path.suffix == ".safetensors" else torch.save
        save(state_dict(name), path)
        expected = {key.removeprefix(f"{name}/"): outputs[key] for key in outputs.files if key.startswith(f"{name}/")}
        assert expected
        return path, inputs, expected

    yield make
    for path in tmp_path.iterdir():  # over a gigabyte for the large networks
        path.unlink()
