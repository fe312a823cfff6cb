"""Exported networks (ONNX, OpenVINO IR) as teachers. Torch loads only where tensors come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.compute import EXACT, Compute, computes
from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.geometry.kinds import Kind
from ccd_cli.runtimes.facts import RUNTIME_OF, ExportFacts
from ccd_cli.runtimes.sessions import Adaptable, Session, check_installed, check_precision, is_installed, open_session
from ccd_cli.teachers.adapters.photos import depth_maps, predict_maps
from ccd_cli.teachers.adapters.sizes import nearest_size, network_size

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OWN_CODE_FROM = 64
"""Frames of one size from which OpenVINO compiles for that size alone: of Depth Anything V2 Small that takes 1.1 to 1.5 seconds,
and saves 5 % of a pass in fp32 and 13 % in bf16 (two threads of a Xeon with AMX, 518 pixels)."""


class ExportedTeacher:
    """A network that another runtime runs, as a `Teacher`: on the CPU, without patch features.

    `resolution` makes it see every image at that side (None: its own rule); a network of one size gets every image resized to
    exactly that size, whatever its aspect. `runtime` and `precision` say how `session` computes. Raises `UsageProblem` for a
    `resolution` that a network of one size does not have.
    """

    def __init__(
        self,
        session: Session,
        facts: ExportFacts,
        checkpoint_sha256: str,
        resolution: int | None = None,
        runtime: str = "onnxruntime",
        precision: str | None = None,
    ) -> None:
        self.session = session
        self.facts = facts
        self.arch = facts.arch
        self.name = facts.name
        self.kind: Kind = facts.arch.kind
        self.license = facts.license
        self.checkpoint_sha256 = checkpoint_sha256
        self.feature_width: int | None = None
        self.runtime = runtime
        self.precision = precision or facts.precision
        check_resolution(facts, resolution)
        self.resolution = resolution

    def predict_photos(
        self,
        photos: Sequence[NDArray[np.uint8]],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """RGB photos uint8 [H, W, 3] -> maps at the photos' sizes; see `Teacher`."""
        check_resolution(self.facts, resolution)
        side, fixed = self.resolution if resolution is None else resolution, self.facts.size
        maps = predict_maps(self.arch, self.session, photos, side, fixed)
        return depth_maps(self.arch, maps, side, focals, fixed)

    def for_clip(self, frames: int, height: int, width: int, resolution: int | None = None) -> ExportedTeacher:
        """Return the network for `frames` photos of one size: compiled for that size where it pays, else itself.

        Raises CheckpointError where it cannot be compiled.
        """
        if frames < OWN_CODE_FROM or self.facts.size is not None or not isinstance(self.session, Adaptable):
            return self
        side = self.resolution if resolution is None else resolution
        session = self.session.for_size(*network_size(self.arch, height, width, side))
        return ExportedTeacher(
            session, self.facts, self.checkpoint_sha256, self.resolution, self.runtime, self.precision
        )

    def predict(self, rgb: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..1 -> map [B, H, W] float32 at the same size."""
        import torch
        from torch.nn import functional as F

        height, width = rgb.shape[-2:]
        size = self.facts.size or nearest_size(height, width, self.arch.multiple)
        if self.resolution is not None and self.facts.size is None:
            size = network_size(self.arch, height, width, self.resolution)
        images = rgb.to("cpu", torch.float32)
        if size != (height, width):
            images = F.interpolate(images, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
        batches = images.split(1) if self.facts.size else [images]
        made = torch.cat([torch.from_numpy(self.session(batch.contiguous().numpy())) for batch in batches])
        if size != (height, width):
            made = F.interpolate(made[:, None], size=(height, width), mode="bilinear", align_corners=True)[:, 0]
        return made

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `predict`, with None for the patch features."""
        return self.predict(rgb), None

    def features(self, rgb: Tensor) -> Tensor | None:
        """None: an exported network gives its map alone."""
        return None

    def to(self, device: torch.device | str) -> Self:
        """Return itself; raises `UsageProblem` for a device that is not the CPU."""
        if str(device).split(":")[0] != "cpu":
            raise UsageProblem(f"{self.name} is an exported network, which runs on the CPU here.", "Use --device cpu.")
        return self


def check_resolution(facts: ExportFacts, resolution: int | None) -> None:
    """Raise `UsageProblem` for a resolution that a network of one size does not have."""
    if resolution is not None and (size := facts.size) is not None and resolution not in size:
        raise UsageProblem(
            f"{facts.name} sees every image at exactly {size[1]}x{size[0]} pixels, not at a resolution of {resolution}.",
            "Export the model without a fixed size for other resolutions.",
        )


def open_file(
    path: Path,
    facts: ExportFacts,
    sha256: str,
    compute: Compute,
    wanted: str = "auto",
    resolution: int | None = None,
) -> ExportedTeacher:
    """Return the network of an exported file whose hash is `sha256`, in the runtime that `wanted` stands for.

    Raises what `runtime_of_file`, `open_session` and `ExportedTeacher` raise.
    """
    runtime, compute = runtime_of_file(path, wanted, compute), on_cpu(path, compute)
    session = open_session(runtime, path, compute.precision, compute.threads)
    return ExportedTeacher(session, facts, sha256, resolution, runtime, precision_of(facts, compute.precision))


def precision_of(facts: ExportFacts, computed_in: str) -> str:
    """Return what an exported network is stored and computed in, as one word: fp32, bf16, int8, int8+bf16, ..."""
    both = [each for each in (facts.precision, computed_in) if each != EXACT]
    return "+".join(both) or EXACT


def on_cpu(path: Path, compute: Compute) -> Compute:
    """Return how an exported network is computed: on the CPU where nobody asked for another device.

    Raises UsageProblem where somebody did, and for a precision that was asked for and that the CPU does not compute in.
    """
    if compute.type == "cpu":
        return compute
    if "device" not in compute.auto:
        raise UsageProblem(f"{path} is an exported network, which runs on the CPU here.", "Use --device cpu.")
    precision = EXACT if "precision" in compute.auto else compute.precision
    if not computes("cpu", precision):
        raise UsageProblem(
            f"--precision {precision}: {path} is an exported network, which runs on the CPU here.",
            "Use --precision fp32.",
        )
    return replace(compute, place="cpu", precision=precision)


def runtime_of_file(path: Path, wanted: str, compute: Compute) -> str:
    """Return what runs an exported file: what `--runtime wanted` names, for auto OpenVINO (which reads ONNX, too) if it is there.

    Raises UsageProblem where that runtime cannot read it or compute so, CcdError where it is not installed.
    """
    own = RUNTIME_OF[path.suffix.lower()]
    if wanted == "torch" or (own == "openvino" and wanted == "onnxruntime"):
        raise UsageProblem(f"--runtime {wanted}: {path} is a file of {own}.", f"Use --runtime {own} or auto.")
    compute = on_cpu(path, compute)
    if wanted == "auto":
        wanted = "openvino" if is_installed("openvino") else own
    check_installed(wanted)
    check_precision(wanted, compute.precision)
    return wanted
