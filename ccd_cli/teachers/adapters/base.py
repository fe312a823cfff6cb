"""What the adapters of one network share: facts, device, copies from it, and the answers of those without patch features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.kinds import Kind

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TeacherFacts:
    """What a `Teacher` says of itself."""

    name: str
    kind: Kind
    license: str = "unknown"
    checkpoint_sha256: str = ""


def to_host(tensors: Sequence[Tensor]) -> list[NDArray[np.float32]]:
    """Return tensors float32 of one device as arrays of their shapes, in one copy: the host waits for a GPU once."""
    if len(tensors) == 1 or tensors[0].device.type == "cpu":
        return [each.cpu().numpy() for each in tensors]
    whole = torch.cat([each.flatten() for each in tensors]).cpu().numpy()
    ends = np.cumsum([each.numel() for each in tensors])[:-1]
    return [part.reshape(each.shape) for part, each in zip(np.split(whole, ends), tensors, strict=True)]


class FrozenTeacher:
    """A network in evaluation mode without gradients, and what a `Teacher` says of itself.

    `precision` is the autocast type, `resolution` the side at which images are seen (None: the adapter's own rule). Raises
    `UsageProblem` for an unknown precision.
    """

    def __init__(
        self,
        model: Any,
        facts: TeacherFacts,
        precision: str = "fp32",
        resolution: int | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise UsageProblem(f"Unknown precision '{precision}': choose fp32, bf16 or fp16.")
        self.model = model.eval().requires_grad_(False)
        self.name = facts.name
        self.kind: Kind = facts.kind
        self.license = facts.license
        self.checkpoint_sha256 = facts.checkpoint_sha256
        self.feature_width: int | None = None
        self.precision = precision
        self.resolution = resolution

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    def to(self, device: torch.device | str) -> Self:
        """Move to `device` and return itself."""
        self.model.to(device)
        return self

    def predict(self, rgb: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..1 -> map [B, H, W] float32 at the same size; see `Teacher`."""
        raise NotImplementedError

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `predict`, with None for the patch features."""
        return self.predict(rgb), None

    def features(self, rgb: Tensor) -> Tensor | None:
        """None: this network gives no patch features here."""
        return None
