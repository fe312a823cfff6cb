"""Stand-in weights for a published checkpoint: its names and shapes with reproducible noise in every tensor.

Each tensor depends on its name, its shape and a seed alone, so that the same weights can be made wherever a network is
compared with what the authors' code computes from them (`tests/golden/networks`).
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import torch

TABLES = Path(__file__).parent / "golden" / "networks" / "keys.json.gz"
GAINS = ("norm.weight", "norm1.weight", "norm2.weight", "gamma")


def key_table(name: str) -> dict[str, list[int]]:
    """Return the tensor names and shapes of one published checkpoint."""
    return json.loads(gzip.decompress(TABLES.read_bytes()))[name]


def tensor(name: str, shape: list[int], seed: int) -> torch.Tensor:
    """Return float32 noise that keeps activations in range: gains near 1, biases near 0, weights of variance 1 / fan-in."""
    generator = np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), seed]))
    noise = torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    if len(shape) == 1:
        return float(name.endswith(GAINS)) + 0.05 * noise
    if "token" in name or "pos_embed" in name:
        return 0.3 * noise
    return noise * float(np.float32(np.prod(shape[1:]) ** -0.5))


def state_dict(table: str, seed: int = 1) -> dict[str, torch.Tensor]:
    """Return a whole stand-in checkpoint."""
    return {name: tensor(name, shape, seed) for name, shape in key_table(table).items()}
