"""Pack the student of a run as a built-in model: weights in half precision, batch statistics in full.

python tests/benchmarks/pack_builtin.py runs/builtin-global assets/global.safetensors
python tests/benchmarks/pack_builtin.py runs/tiny-0 runs/tiny-1 runs/tiny-2 assets/tiny.safetensors

The weights of several runs, which must have begun from one network, are averaged ("model soups", arXiv 2203.05482).
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from ccd_cli.models.checkpoint import load_model, save_model
from ccd_cli.models.files import read_metadata


def main(runs: list[Path], target: Path) -> None:
    """Write `target`; the training resolution becomes the model's default."""
    files = [run / "student.safetensors" for run in runs]
    notes = {key: value for key, value in read_metadata(files[0]).items() if key != "ccd_arch"}
    models = [load_model(file) for file in files]
    states = [model.state_dict() for model in models]
    half = {}
    for name, first in states[0].items():
        mean = torch.stack([state[name].double() for state in states]).mean(0)
        half[name] = mean.float() if "running" in name else mean.half() if first.is_floating_point() else first
    save_model(target, half, replace(models[0].arch, resolution=int(notes["resolution"])), notes)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main([Path(text) for text in sys.argv[1:-1]], Path(sys.argv[-1]))
