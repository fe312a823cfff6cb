"""Draw what the saturation mask takes out of a label, on the shipped photos: `python tests/benchmarks/draw_masks.py OUT.jpg`.

One row a photo: the photo, the disparity of `builtin:sharp`, the same clipped at its nearest 8 % and farthest 20 % of pixels (a
near limit, and a sky that a teacher sets to zero), and that label with the pixels that are masked in red.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ccd_cli.losses.masks import saturated_mask
from ccd_cli.media.colorize import colorize
from ccd_cli.teachers.load import load_teacher

NEAR, FAR = 0.92, 0.20  # quantiles of a map at which it is clipped
PHOTOS = Path(__file__).parents[2] / "assets/photos"


def row(path: Path) -> tuple[np.ndarray, str]:
    """Return one row of the picture, uint8 [240, 1280, 3], and its shares in words."""
    rgb = np.asarray(Image.open(path).convert("RGB").resize((320, 240)))
    disparity = load_teacher("builtin:sharp").predict_photos([rgb])[0].values
    low, high = np.quantile(disparity, [FAR, NEAR])
    label = np.clip(disparity, low, high) - low
    known = torch.ones(1, *label.shape, dtype=torch.bool)
    kept = saturated_mask(torch.from_numpy(label)[None], known)[0].numpy()
    drawn = colorize(label, None, "disparity")
    masked = np.where(kept[..., None], drawn, np.uint8([255, 0, 0]))
    top, bottom = label == label.max(), label == 0
    words = f"{path.name}: near plateau {top.mean():.1%}, masked {(top & ~kept).mean():.1%}; "
    words += f"far plateau {bottom.mean():.1%}, masked {(bottom & ~kept).mean():.1%}"
    return np.concatenate([rgb, colorize(disparity, None, "disparity"), drawn, masked], axis=1), words


def main() -> None:
    """Draw all photos below one another."""
    rows = [row(path) for path in sorted(PHOTOS.glob("*.jpg"))[:4]]
    for _, words in rows:
        print(words)
    Image.fromarray(np.concatenate([picture for picture, _ in rows])).save(sys.argv[1], quality=88)


if __name__ == "__main__":
    main()
