"""`ccd predict --compile`: the same maps, and a plain word where there is no compiler. Minutes long: pytest -m slow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture
def inputs(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a", (80, 64)), ("b", (80, 64)), ("c", (64, 96))):
        small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        small.resize(size, Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


def test_a_compiled_network_gives_the_same_maps(ccd, inputs, make_teacher, tmp_path):
    args = (
        "predict",
        str(inputs),
        "--model",
        str(make_teacher("tiny", 1)),
        "--save",
        "npy",
        "--device",
        "cpu",
        "--resolution",
        "64",
    )
    for more in (("--out", "plain"), ("--out", "fast", "--compile")):
        done = ccd(*args, *more, timeout=900)
        assert done.returncode == 0, done.stderr
    assert "Compiling" in done.stderr
    for name in "abc":
        one, other = (np.load(tmp_path / folder / f"{name}.npy", allow_pickle=False) for folder in ("plain", "fast"))
        assert np.abs(one - other).max() <= 1e-4 * np.ptp(one)


def test_without_a_compiler_it_says_so(ccd, inputs, make_teacher, tmp_path):
    model = str(make_teacher("tiny", 1))
    args = ("predict", str(inputs), "--model", model, "--save", "npy", "--device", "cpu", "--out", "fast", "--compile")
    done = ccd(*args, timeout=900, PATH="/nonexistent", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 1, done.stderr
    assert "cannot be compiled here" in done.stderr and "Leave --compile out" in done.stderr
    assert "Traceback" not in done.stderr
