"""Pack the student of a run as a built-in model: weights in half precision, batch statistics in full.

python tests/benchmarks/pack_builtin.py runs/builtin-global assets/global.safetensors
"""

import sys
from dataclasses import replace
from pathlib import Path

from ccd_cli.models.checkpoint import load_model, save_model
from ccd_cli.models.files import read_metadata


def main(run: Path, target: Path) -> None:
    """Write `target`; the side that the student was trained at becomes its default resolution."""
    source = run / "student.safetensors"
    notes = {key: value for key, value in read_metadata(source).items() if key != "ccd_arch"}
    model = load_model(source)
    half = {
        name: tensor if "running" in name or not tensor.is_floating_point() else tensor.half()
        for name, tensor in model.state_dict().items()
    }
    save_model(target, half, replace(model.arch, resolution=int(notes["resolution"])), notes)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
