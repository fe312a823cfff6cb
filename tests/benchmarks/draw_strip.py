"""Draw the pictures of the README from the shipped photos: `python tests/benchmarks/draw_strip.py docs/images`.

`strip.jpg`: photos, depth and point clouds as `ccd predict --pointcloud` writes them. `steady.gif`: a clip (a camera
that moves over a photo) beside its depth video.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image

ASSETS = Path(__file__).parents[2] / "assets/photos"
PHOTOS = ("cat", "coffee", "astronaut", "palace")
MODEL = ("--model", "builtin:sharp", "--resolution", "256")
CELL = (240, 180)  # width, height


def ccd(*words: object) -> None:
    """Run a command of ccd."""
    subprocess.run([sys.executable, "-m", "ccd_cli", *map(str, words)], check=True)


def cell(path: Path) -> np.ndarray:
    """Return the middle of a picture, uint8 [180, 240, 3]."""
    image = Image.open(path).convert("RGB")
    width = min(image.width, round(image.height * CELL[0] / CELL[1]))
    height = min(image.height, round(image.width * CELL[1] / CELL[0]))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)).resize(CELL, Image.Resampling.LANCZOS))


def strip(folder: Path, out: Path) -> None:
    """Write `strip.jpg`."""
    ccd("predict", *(ASSETS / f"{name}.jpg" for name in PHOTOS), *MODEL, "--pointcloud", "--out", folder)
    rows = [
        np.concatenate([cell(place(name)) for name in PHOTOS], axis=1)
        for place in (
            lambda name: ASSETS / f"{name}.jpg",
            lambda name: folder / f"{name}.color.png",
            lambda name: folder / f"{name}.cloud.png",
        )
    ]
    Image.fromarray(np.concatenate(rows)).save(out / "strip.jpg", quality=88)


def steady(folder: Path, out: Path) -> None:
    """Write `steady.gif`: 40 frames."""
    photo = np.asarray(Image.open(ASSETS / "palace.jpg").convert("RGB").resize((640, 480)))
    starts = [(round(60 + 60 * np.sin(t)), round(160 + 160 * np.cos(t))) for t in np.linspace(0, 2 * np.pi, 40, False)]
    frames = np.stack([photo[top : top + 240, left : left + 320] for top, left in starts])
    iio.imwrite(folder / "clip.mp4", frames, fps=20, codec="libx264", plugin="pyav")
    ccd("predict", folder / "clip.mp4", *MODEL, "--save", "side", "--out", folder)
    made = [Image.fromarray(frame).resize((480, 180)) for frame in iio.imiter(folder / "clip.side.mp4", plugin="pyav")]
    shown = [frame.quantize(96, dither=Image.Dither.NONE) for frame in made[::2]]
    shown[0].save(out / "steady.gif", save_all=True, append_images=shown[1:], duration=100, loop=0, optimize=True)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        strip(Path(temporary), target)
        steady(Path(temporary), target)
