"""Tiny diffusion teachers, written once for the modules that need them."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def marigold(tmp_path_factory):
    """Return a function that writes a tiny Marigold once for each scheduler and prediction type."""
    from tests.unit.teachers.tiny_diffusion import parts, save_marigold  # needs diffusers, which may be absent

    base = tmp_path_factory.mktemp("marigold")
    modules = parts(base / "words", 8)

    def make(kind: str = "ddim", prediction: str = "depth") -> Path:
        folder = base / f"{kind}-{prediction}"
        if not folder.exists():
            save_marigold(folder, modules, base / "words", kind, prediction)
        return folder

    return make


@pytest.fixture
def copy(marigold, tmp_path) -> Path:
    """A tiny Marigold that a test may damage."""
    return Path(shutil.copytree(marigold(), tmp_path / "copy"))


@pytest.fixture(scope="session")
def genpercept(tmp_path_factory) -> Path:
    from tests.unit.teachers.tiny_diffusion import save_genpercept

    return save_genpercept(tmp_path_factory.mktemp("genpercept"))
