"""Devices as torch names them, on a machine that has none: what stands in for CUDA is the driver alone."""

import pytest
import torch

from ccd_cli.cli import main
from ccd_cli.core import compute as computing
from ccd_cli.core.compute import Compute, autocast, choose_compute, memory_error
from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.report import Silent


@pytest.fixture
def two_gpus(monkeypatch):
    """A driver with two GPUs; returns the numbers of those that were made current."""
    current = []
    monkeypatch.setattr(computing, "may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", current.append, raising=False)
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return current


@pytest.mark.parametrize(("asked", "number"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_one_process_takes_the_first_gpu_or_the_one_asked_for(two_gpus, asked, number):
    made = choose_compute(asked)
    assert (made.place, made.precision, two_gpus) == (f"cuda:{number}", "bf16", [number])
    assert made.auto == (("device", "precision") if asked == "auto" else ("precision",))


def test_full_precision_is_full_in_convolutions_too_wherever_it_is_computed(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    exact, mixed = Compute("cuda:0", "fp32"), Compute("cuda:0", "bf16")
    outer = exact.autocast()
    with outer:
        assert not torch.backends.cudnn.allow_tf32
        with autocast("cuda", "fp32"), mixed.autocast():  # another teacher's, in another thread
            assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    with mixed.autocast(), Compute("cpu", "fp32").autocast():
        assert torch.backends.cudnn.allow_tf32


def test_a_gpu_that_is_not_there_is_named(two_gpus):
    with pytest.raises(UsageProblem, match="cuda:2: this machine shows 2 CUDA devices"):
        choose_compute("cuda:2")


@pytest.mark.parametrize(
    ("build", "visible", "asked", "said"),
    [
        ("2.9.0+cpu", None, "auto", "installed without CUDA"),
        ("2.9.0+cu130", None, "auto", "torch cannot use it"),
        ("2.9.0+cu130", "-1", "auto", None),
        ("2.9.0+cu130", None, "cpu", None),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_not_left_idle_in_silence(monkeypatch, tmp_path, build, visible, asked, said):
    there = tmp_path / "nvidia0"
    there.touch()
    for name in ("_NVIDIA_FILES", "_GPU_FILES"):
        monkeypatch.setattr(computing, name, (str(there),))
    monkeypatch.setattr(computing.metadata, "version", lambda name: build)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    report = Silent()
    assert choose_compute(asked, report=report).place == "cpu"
    assert len(report.warnings) == (said is not None) and all(said in text for text in report.warnings)
    there.unlink()
    assert choose_compute(asked, report=report).place == "cpu" and len(report.warnings) == (said is not None)


@pytest.fixture
def second_of_two(two_gpus, monkeypatch):
    """The second of two processes of a machine; returns what process groups were joined."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    joined = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda name, timeout: joined.append((name, timeout)))
    return joined


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_each_process_takes_the_gpu_of_its_number_and_waits_while_the_first_scores(two_gpus, second_of_two, asked):
    made = choose_compute(asked)
    assert (made.place, made.rank, made.world, two_gpus) == ("cuda:1", 1, 2, [1])
    ((name, timeout),) = second_of_two
    assert name == "nccl" and timeout.total_seconds() > 3600


def test_processes_do_not_share_a_gpu(second_of_two):
    with pytest.raises(UsageProblem, match="all processes of this machine would share one GPU"):
        choose_compute("cuda:0")
    assert not second_of_two


def test_processes_do_not_share_a_mac(second_of_two, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_compute("auto").place == "cpu"
    with pytest.raises(UsageProblem, match="several processes cannot share it"):
        choose_compute("mps")


def test_a_full_gpu_is_no_bug(monkeypatch, capsys):
    def full(**_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(main.cli, "main", full)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Out of memory." in said and "--device cpu" in said and "bug" not in said


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: out of memory",
        "upsample_bilinear2d_nhwc only supports output tensors with less than INT_MAX elements, but got [8, 128, 1260, 1680]",
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_libraries_without_memory_are_out_of_memory(text):
    assert memory_error(RuntimeError(text)).message == "Out of memory."
    assert memory_error(RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED")) is None
