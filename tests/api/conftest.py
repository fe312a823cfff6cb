"""Photos, a clip and the built-in model, for the Python API."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import ccd_cli as ccd


def scene(height: int = 60, width: int = 80, shift: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 3 % 256, (x + shift) * 2 % 256, 120 + 80 * np.sin((x + shift) / 9)], -1).astype(np.uint8)


def write_clip(path: Path, frames: int = 5) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 80, 60, "yuv420p"
        for i in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(scene(shift=3 * i), format="rgb24")))
        out.mux(stream.encode())
    return path


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The test's folder, with room.jpg and room.png in it; nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Image.fromarray(scene()).save("room.png")
    Image.fromarray(scene()).save("room.jpg", quality=95)
    return tmp_path


@pytest.fixture(scope="session")
def model() -> ccd.Model:
    return ccd.load("builtin:tiny", device="cpu")
