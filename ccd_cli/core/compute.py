"""Device, precision and threads. Torch loads where it computes, or where only it can tell what devices there are."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.nearest import did_you_mean
from ccd_cli.core.report import Report
from ccd_cli.core.settings import DEVICES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

EXACT = "fp32"
"""The precision at which torch, OpenVINO and onnxruntime give one map, to 1e-5 of its range."""
WAIT = timedelta(hours=12)
"""How long a process waits for the others: the first one scores and saves while they wait. Who ended is noticed at once."""
_NO_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "less than INT_MAX elements",  # older versions of torch: tensors of 2^31 elements and more
    "CUDA error: invalid configuration argument",  # the same in others
)
"""What libraries say where a pass is too large, other than by torch's own class."""
_NVIDIA_FILES = ("/dev/nvidiactl", "/dev/nvidia0")
_GPU_FILES = (*_NVIDIA_FILES, "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu", "/dev/nvmap")


@dataclass(frozen=True)
class Compute:
    """Where (`place`: cpu, cuda, cuda:N, mps) and how tensors are computed, and as which of how many processes.

    `threads` None: as many as the runtime chooses. `auto`: what of device and precision nobody asked for.
    """

    place: str
    precision: str
    rank: int = 0
    world: int = 1
    threads: int | None = None
    auto: tuple[str, ...] = ()

    @cached_property
    def device(self) -> torch.device:
        """The device as torch's own value: loads torch and sets its threads."""
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return torch.device(self.place)

    @property
    def type(self) -> str:
        """The kind of device: cpu, cuda or mps; without torch."""
        return self.place.partition(":")[0]

    @property
    def takes_all_cores(self) -> bool:
        """Whether the network leaves no core free: what runs beside a pass then holds up all of its threads."""
        return self.type == "cpu" and (self.threads is None or self.threads >= (os.cpu_count() or 1))

    @property
    def main(self) -> bool:
        """True in the one process that writes files and reports."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which a network computes; see the function of that name."""
        return autocast(self.type, self.precision)

    def describe(self) -> str:
        """Return device, precision and threads in words."""
        import torch

        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        many = f", process {self.rank + 1} of {self.world}" if self.world > 1 else ""
        return f"{name}, {self.precision}, {torch.get_num_threads()} threads{many}"


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which autocast, if it is on, does not apply; devices without autocast need nothing."""
    import torch

    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def autocast(kind: str, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a network computes in a precision on a kind of device: mixed, or at fp32 exact."""
    if precision == EXACT:
        return exact_convolutions(kind, precision)
    import torch

    return torch.autocast(kind, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


@dataclass
class _Tf32:
    """How many blocks keep TF32 out of convolutions, and what the setting was before the first of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    blocks: int = 0
    before: bool = True


_tf32 = _Tf32()


@contextmanager
def exact_convolutions(kind: str, precision: str) -> Iterator[None]:
    """Within the block fp32 on CUDA is fp32 in convolutions, too, where cuDNN rounds to TF32 unless told otherwise.

    The setting is torch's, for all threads: it comes back when the last block that asks for it has ended.
    """
    if kind != "cuda" or precision != EXACT:
        yield
        return
    import torch

    cudnn = torch.backends.cudnn
    with _tf32.lock:
        if not _tf32.blocks:
            _tf32.before, cudnn.allow_tf32 = cudnn.allow_tf32, False
        _tf32.blocks += 1
    try:
        yield
    finally:
        with _tf32.lock:
            _tf32.blocks -= 1
            if not _tf32.blocks:
                cudnn.allow_tf32 = _tf32.before


def moved(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor on `device`: without waiting where that is a GPU, whole where it is the CPU, whose readers do not wait."""
    return tensor.to(device, dtype or tensor.dtype, non_blocking=device.type != "cpu")


def computed_by(precision: str, runtime: str) -> str:
    """Return the word that tells maps of different values apart: the precision, and the runtime where it matters.

    At fp32 all runtimes give the same map to 1e-5 of its range, and count as one; at other precisions they round differently.
    """
    return precision if precision == EXACT or runtime == "torch" else f"{precision} ({runtime})"


def check_device(device: str) -> str:
    """Return `--device` as it is; raises UsageProblem, with the nearest word, for what is no device. Torch is not loaded."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", device):
        raise UsageProblem(
            f"--device {device}: not a device.",
            did_you_mean(device, DEVICES, "Use auto, cpu, cuda, cuda:N or mps."),
        )
    return device


def choose_compute(
    device: str = "auto", precision: str = "auto", threads: int | None = None, report: Report | None = None
) -> Compute:
    """Turn `--device`, `--precision` and `--threads` into a Compute; joins the process group under `torchrun`.

    `auto` takes CUDA, then MPS, then CPU; bf16 on GPUs that have it, else fp16 on CUDA, and fp32 elsewhere. Torch is not loaded
    where the device can only be the CPU. Tells `report` where that leaves an NVIDIA GPU idle.

    Raises UsageProblem for a device that is not there, and on CPUs for a precision that they do not compute in: emulated, it
    is a hundred times slower.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    plain = check_device(device) == "cpu" or (device == "auto" and not may_have_gpu())
    place = "cpu" if plain else _torch_place(device, world)
    kind = place.partition(":")[0]
    if rank == 0 and report is not None:
        warn_of_idle_gpu(device, kind, report)
    auto = tuple(name for name, value in (("device", device), ("precision", precision)) if value == "auto")
    if precision == "auto":
        precision = EXACT if kind != "cuda" else "bf16" if has_bf16() else "fp16"
    if precision == "fp16" and not computes(kind, precision):
        raise UsageProblem(f"--precision fp16 needs CUDA, not {kind}.", "Use fp32 or bf16.")
    if precision == "bf16" and not computes(kind, precision):
        raise UsageProblem(
            "--precision bf16: this processor has neither AVX512-BF16 nor AMX, without which it is a hundred times slower.",
            "Use --precision fp32.",
        )
    made = Compute(place, precision, rank, world, threads, auto)
    if world > 1:
        import torch

        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=WAIT)
    if "torch" in sys.modules:
        _ = made.device  # sets the threads of this one, which computes
    return made


def _torch_place(device: str, world: int) -> str:
    """The device that torch takes for `--device`, a CUDA device with its number; raises UsageProblem where it is not there."""
    import torch

    if device == "auto":
        mps = world == 1 and torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    chosen = torch.device(device)
    if chosen.type == "cuda":
        return str(_cuda_device(chosen, world))
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise UsageProblem("--device mps: not available here.", "Use --device cpu.")
    if chosen.type == "mps" and world > 1:
        raise UsageProblem(
            "--device mps: several processes cannot share it.", "Leave --processes out, or use --device cpu."
        )
    return str(chosen)


def _cuda_device(chosen: torch.device, world: int) -> torch.device:
    """Make the CUDA device of this process the current one and return it: without a number, each process of a machine its own."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if chosen.index is None:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) if world > 1 else 0)
    elif int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        raise UsageProblem(
            f"--device {chosen}: all processes of this machine would share one GPU.",
            "Use --device cuda, which gives each its own; CUDA_VISIBLE_DEVICES chooses among them.",
        )
    if chosen.index >= count:
        raise UsageProblem(
            f"--device {chosen}: this machine shows {count} CUDA devices.", "Use --device cpu, or check the driver."
        )
    torch.cuda.set_device(chosen)
    return chosen


def may_have_gpu() -> bool:
    """Return False where torch cannot find a GPU: it was built without, or Linux shows none. Torch is not loaded."""
    if not _torch_knows_gpus():
        return False
    return sys.platform != "linux" or any(Path(path).exists() for path in _GPU_FILES)


def warn_of_idle_gpu(asked: str, taken: str, report: Report) -> None:
    """Warn where the CPU was `taken` for `asked` and an NVIDIA GPU is idle."""
    if (asked, taken) == ("auto", "cpu") and (why := idle_gpu()):
        report.warn(f"The CPU computes although an NVIDIA GPU is there: {why} --device cpu makes this quiet.")


def idle_gpu() -> str:
    """Return why torch cannot use the NVIDIA GPU that Linux shows; empty where it shows none, or none is wanted."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    if hidden or not any(Path(path).exists() for path in _NVIDIA_FILES):
        return ""
    if not _torch_knows_gpus():
        return "torch was installed without CUDA (https://pytorch.org/get-started installs it with)."
    return "torch cannot use it; `nvidia-smi` shows whether the driver works, and the newest CUDA that it knows."


def _torch_knows_gpus() -> bool:
    try:
        return not metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False


def computes(kind: str, precision: str) -> bool:
    """Return whether devices of a kind (cpu, cuda, mps) compute in a precision themselves, at its own speed."""
    if precision == "fp16":
        return kind == "cuda"
    return precision != "bf16" or kind != "cpu" or cpu_has_bf16()


def cpu_has_bf16() -> bool:
    """Return whether the processor itself computes bfloat16: AVX512-BF16, AMX, or ARM's bf16."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:  # not Linux: torch knows
        import torch

        known = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
        return any(ask is not None and ask() for ask in known)
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def has_bf16() -> bool:
    """Return whether the CUDA device computes bfloat16 itself; torch would also emulate it, slowly."""
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def empty_cache() -> None:
    """Give back the GPU memory that torch keeps for itself once what was in it is gone; does nothing where no GPU is in use."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


SMALLER_STEP = "Lower optim.batch (raise optim.accumulate to keep the step), crops.size or crops.patches."
"""What helps a training run whose memory is short."""


@contextmanager
def plain_memory_errors(hint: str = SMALLER_STEP) -> Iterator[None]:
    """Turn an exhausted memory inside the block into the plain error that `memory_error` makes."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        plain = memory_error(error, hint)
        if plain is None:
            raise
        raise plain from error


def memory_error(error: BaseException, hint: str = SMALLER_STEP) -> CcdError | None:
    """Return a plain error when `error` is an exhausted GPU or CPU memory, else None."""
    text = str(error)
    torch = sys.modules.get("torch")
    of_torch = torch is not None and isinstance(error, torch.OutOfMemoryError)
    if of_torch or isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return CcdError("Out of memory.", hint)
    return None
