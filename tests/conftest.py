"""Small real inputs that many tests use: photos, tiny teachers, a recipe around them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `ccd` sets it, before torch loads
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers; the commands that tests start have it, too

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.tiny import tiny_values

torch.set_num_threads(1)  # tiny networks: a second thread waits more than it works

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("CCD_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Whatever a test did to the number of threads ends with it."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of reference numbers that ship with the tests; its README says where each is from."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside a checkout; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference material at {SHARED} (set CCD_SHARED to its folder)")
    return SHARED


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the source distribution, the wheel that is built from it, and in `site` what that wheel holds."""
    for needed in ("build", "hatchling", "hatch_fancy_pypi_readme"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = folder.glob("ccd_depth-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small photos of different sizes: a ramp with discs on it."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(8):
        height, width = 90 + 10 * i, 150 - 6 * i
        y, x = np.mgrid[:height, :width]
        image = np.stack([y / height * 255, x / width * 255, 120 + 60 * np.sin(x / 7 + i)], -1)
        for _ in range(5):
            cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(5, 25)
            image[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = rng.uniform(0, 255, 3)
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{i}.{'png' if i % 2 else 'jpg'}")
    return folder


@pytest.fixture(scope="session")
def make_teacher(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a tiny network as a checkpoint and returns its path."""
    from ccd_cli.models.arch import timm_arch
    from ccd_cli.models.checkpoint import save_model
    from ccd_cli.models.depth_net import DepthNet

    folder = tmp_path_factory.mktemp("teachers")

    def make(
        name: str, seed: int = 0, kind: str = "disparity", encoder: str = "mobilenetv4_conv_small", license: str = "MIT"
    ) -> Path:
        path = folder / f"{seed}-{kind}-{encoder}-{license}" / f"{name}.safetensors"
        if not path.exists():
            torch.manual_seed(seed)
            arch = timm_arch(encoder, features=16, kind=kind)
            save_model(path, DepthNet(arch), arch, {"kind": kind, "license": license})
        return path

    return make


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, make_teacher: Callable[..., Path]) -> tuple[Path, Path]:
    """Return a checkpoint, and a folder for $CCD_HOME in which its network is prepared for other runtimes (once: seconds)."""
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from ccd_cli.core.compute import Compute
    from ccd_cli.core.report import Silent
    from ccd_cli.teachers.load import resolve_model
    from ccd_cli.teachers.runtime import load_in

    home, path = tmp_path_factory.mktemp("home"), make_teacher("portable", 3, encoder="test_vit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCD_HOME", str(home))
        load_in(resolve_model(str(path)), "openvino", Compute("cpu", "fp32", threads=1), Silent())
    return path, home


@pytest.fixture
def tiny_recipe(photos: Path, make_teacher: Callable[..., Path]) -> dict[str, Any]:
    """A recipe as plain values that the test may change."""
    return tiny_values(photos, make_teacher)


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Return a function that writes a recipe into the test's folder."""

    def write(values: dict[str, Any], name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.write_text("# A test recipe.\n# ccd distill recipe.yaml\n" + yaml.safe_dump(values), encoding="utf-8")
        return path

    return write


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the test's own for temporary files, short enough for Ray's sockets; by it `on_ray` knows the processes."""
    with tempfile.TemporaryDirectory(prefix="ccd-test-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("RAY_ADDRESS", "local")
        yield Path(folder)


@pytest.fixture
def ccd(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the real command in a process of its own, in the test's folder."""

    def run(*args: str, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            "CCD_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            "COLUMNS": "120",
            **environment,
        }
        command = [sys.executable, "-m", "ccd_cli", *args]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=timeout)

    return run


@pytest.fixture
def ccd_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that runs the command inside this process (faster), in the test's folder."""
    from click.testing import CliRunner

    from ccd_cli.cli.main import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return lambda *args, **options: CliRunner().invoke(cli, [str(a) for a in args], **options)
