"""What writing the two PNGs of a photo costs, three ways, in turns: `python tests/benchmarks/bench_png.py [--rounds 9]`.

The shipped photos at 1200 x 800 with maps of `builtin:tiny`: the colored map and the 16-bit codes, encoded as `ccd predict` does
it (one filter, zlib-ng), by OpenCV at level 1 and by Pillow at level 3. Processor milliseconds of one thread and kilobytes, mean of
the photos, median of the rounds.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from PIL import Image

from ccd_cli.media.colorize import colorize
from ccd_cli.media.map_write import encode16
from ccd_cli.media.png import encode_png
from ccd_cli.teachers.load import load_teacher

PHOTOS = Path(__file__).parents[2] / "assets/photos"


def by_opencv(picture: np.ndarray) -> bytes:
    """Level 1, its own choice of filters."""
    bgr = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def by_pillow(picture: np.ndarray) -> bytes:
    """Level 3."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=3)
    return file.getvalue()


WAYS: dict[str, Callable[[np.ndarray], bytes]] = {
    "ccd": lambda picture: encode_png(picture, flat=picture.ndim == 3),
    "OpenCV, level 1": by_opencv,
    "Pillow, level 3": by_pillow,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    teacher = load_teacher("builtin:tiny")
    pictures: dict[str, list[np.ndarray]] = {"colors": [], "codes": []}
    for path in sorted(PHOTOS.glob("*.jpg")):
        rgb = np.asarray(Image.open(path).convert("RGB").resize((1200, 800)))
        values = teacher.predict_photos([rgb])[0].values
        pictures["colors"].append(colorize(values, None, "disparity"))
        pictures["codes"].append(encode16(values, None, "disparity")[0])
    spent: dict[tuple[str, str], list[float]] = {(way, what): [] for way in WAYS for what in pictures}
    size: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        for way, what in spent:
            start = time.process_time()
            made = [WAYS[way](picture) for picture in pictures[what]]
            spent[way, what].append((time.process_time() - start) / len(made) * 1e3)
            size[way, what] = sum(map(len, made)) / len(made) / 1e3
    for way in WAYS:
        cells = [f"{median(spent[way, what]):.0f} ms, {size[way, what]:.0f} kB" for what in pictures]
        print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
