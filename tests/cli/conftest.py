"""A tiny set of photos with depth and `ccd eval` on it; a tiny random network and `ccd predict` with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ccd_cli.models.arch import timm_arch
from ccd_cli.models.checkpoint import save_model
from ccd_cli.models.depth_net import DepthNet
from tests.tiny_eval import make_nyu


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_nyu(tmp_path_factory.mktemp("data"))


@pytest.fixture
def evaluate(ccd_here, data):
    return lambda *args: ccd_here("eval", "--data-root", data, *args)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    path, arch = (
        tmp_path_factory.mktemp("model") / "small.safetensors",
        timm_arch("test_convnext", features=16, resolution=64),
    )
    return str(save_model(path, DepthNet(arch), arch, {"license": "MIT"}))


@pytest.fixture
def predict(ccd_here, model):
    return lambda *args, **kw: ccd_here("predict", *map(str, args), "--model", model, "--threads", "1", **kw)


@pytest.fixture
def begin(tmp_path):
    """Return a function that starts the real command in the test's folder, both outputs in one; no process is left."""
    started = []

    def start(*args, **options):
        process = subprocess.Popen(
            [sys.executable, "-m", "ccd_cli", *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, "CCD_HOME": str(tmp_path / "home"), "NO_COLOR": "1", "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
