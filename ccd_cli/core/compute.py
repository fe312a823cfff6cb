"""Device, precision and threads."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ccd_cli.core.errors import CcdError, UsageProblem


@dataclass(frozen=True)
class Compute:
    """Where and how tensors are computed, and as which of how many processes."""

    device: torch.device
    precision: str
    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """True in the one process that writes files and reports."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the mixed-precision context; nothing at fp32."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def describe(self) -> str:
        """Return device, precision and threads in words."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        many = f", process {self.rank + 1} of {self.world}" if self.world > 1 else ""
        return f"{name}, {self.precision}, {torch.get_num_threads()} threads{many}"


def choose_compute(device: str = "auto", precision: str = "auto", threads: int | None = None) -> Compute:
    """Turn `--device`, `--precision` and `--threads` into a Compute; joins the process group under `torchrun`.

    `auto` takes CUDA, then MPS, then CPU; bf16 on GPUs that have it, else fp16 on CUDA, and fp32 elsewhere: on CPUs
    without native bfloat16 it is a hundred times slower. Raises UsageProblem for a device that is not there.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageProblem(f"--device {device}: not a device.", "Use auto, cpu, cuda, cuda:N or mps.") from error
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if world > 1 and chosen.index is None:
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if (chosen.index or 0) >= count:
            raise UsageProblem(
                f"--device {device}: this machine shows {count} CUDA devices.", "Use --device cpu, or check the driver."
            )
        torch.cuda.set_device(chosen)
    elif chosen.type == "mps" and not torch.backends.mps.is_available():
        raise UsageProblem("--device mps: not available here.", "Use --device cpu.")
    elif chosen.type not in ("cpu", "mps"):
        raise UsageProblem(f"--device {device}: not supported.", "Use auto, cpu, cuda, cuda:N or mps.")
    if precision == "auto":
        precision = "fp32" if chosen.type != "cuda" else "bf16" if has_bf16() else "fp16"
    if precision == "fp16" and chosen.type != "cuda":
        raise UsageProblem(f"--precision fp16 needs CUDA, not {chosen.type}.", "Use fp32 or bf16.")
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Compute(chosen, precision, rank, world)


def has_bf16() -> bool:
    """Return whether the CUDA device computes bfloat16 itself; torch would also emulate it, slowly."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def memory_error(error: BaseException) -> CcdError | None:
    """Return a plain error when `error` is an exhausted GPU or CPU memory, else None."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        return CcdError(
            "Out of memory.",
            "Lower optim.batch (raise optim.accumulate to keep the step), crops.size or crops.patches.",
        )
    return None
