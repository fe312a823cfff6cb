"""How far an exported network is from the one it was made from, on photos of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.paths import builtin_folder
from ccd_cli.core.report import Report
from ccd_cli.media.find import list_photos
from ccd_cli.media.photos import read_photo
from ccd_cli.models.arch import Arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.runtimes.facts import ExportFacts
from ccd_cli.teachers.adapters.preprocess import resize_for

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""RGB float32 [B, 3, h, w] in about 0..1 -> map float32 [B, h, w]."""
AT_LEAST, AT_MOST, COMPARED = 10, 60, 4
"""Photos that int8 needs, that it is calibrated on at most, and of them that are kept apart to compare on."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo to compare on: `rgb` uint8 [H, W, 3]. `judged`: the bar applies to it."""

    name: str
    rgb: NDArray[np.uint8]
    judged: bool = True


@dataclass(frozen=True)
class Difference:
    """One comparison of two maps: largest and mean |difference| as a fraction of the range (max - min) of ours.

    `name` says which photo and size; `exact` whether the bar applies (False: it is reported, not judged).
    """

    name: str
    largest: float
    mean: float
    exact: bool = True


def difference(name: str, made: NDArray[np.float32], original: NDArray[np.float32], exact: bool = True) -> Difference:
    """Compare two maps [h, w]; one that is not finite, of another shape, or differs from a map without a range is infinitely
    far.
    """
    if made.shape != original.shape or not np.isfinite(made).all():
        return Difference(name, float("inf"), float("inf"), exact)
    apart = np.abs(made.astype(np.float64) - original)
    span = float(original.max()) - float(original.min())
    if span <= 0:
        span = 0.0 if apart.any() else 1.0
    largest, mean = (float(each) / span if span else float("inf") for each in (apart.max(), apart.mean()))
    return Difference(name, largest, mean, exact)


def network_input(arch: Arch, rgb: NDArray[np.uint8], size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """RGB photo uint8 [H, W, 3] -> float32 [1, 3, h, w] in about 0..1: by the network's rule, or at `size` (height, width)."""
    return np.ascontiguousarray(resize_for(arch, rgb, fixed=size).transpose(2, 0, 1)[None])


def compare(made: Run, network: DepthNet, about: ExportFacts, photos: Sequence[Photo]) -> list[Difference]:
    """Compare what `made` and `network` say about each photo, at the size at which it is seen."""
    found = []
    for photo in photos:
        image = network_input(about.arch, photo.rgb, about.size)
        name = f"{photo.name} at {image.shape[2]}x{image.shape[3]}"
        found.append(difference(name, made(image)[0], original_map(network, image)[0], photo.judged))
    return found


def original_map(network: DepthNet, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """RGB float32 [B, 3, h, w] in about 0..1 -> map float32 [B, h, w] after the sky rule, by torch."""
    import torch

    from ccd_cli.teachers.adapters.native import infer

    network.eval()
    made: NDArray[np.float32] = infer(network, network.normalize(torch.from_numpy(images)))[0].cpu().numpy()
    return made


def shipped_photos(judged: bool = True) -> list[Photo]:
    """Return the photos that ship with ccd, and an upright and a wide part of one."""
    found = [Photo(path.name, read_photo(path), judged) for path in sorted((builtin_folder() / "photos").glob("*.jpg"))]
    if not found:
        raise CcdError(f"There are no photos in {builtin_folder() / 'photos'} to compare on.", "Install ccd again.")
    whole = found[-1].rgb
    height, width = whole.shape[:2]
    return [
        *found,
        Photo(f"{found[-1].name}, upright part", whole[:, : height // 2], judged),
        Photo(f"{found[-1].name}, wide part", whole[: width // 2], judged),
    ]


def own_photos(folder: Path, report: Report, least: int = AT_LEAST) -> tuple[list[Photo], list[Photo]]:
    """Return (photos to calibrate on, photos to compare on) of a folder of `least` or more photos.

    One photo of five, four at most, is kept apart for the comparison; at most `AT_MOST` are calibrated on, evenly spaced. Photos
    that cannot be read are warned of. Raises CcdError where too few are left.
    """
    try:
        paths = list_photos([str(folder)])
    except CcdError:  # speaks of a recipe's images
        paths = []
    step = max(1, -(-len(paths) // (AT_MOST + COMPARED)))
    found = []
    for path in paths[::step]:
        try:
            found.append(Photo(path.name, read_photo(path)))
        except ImageError as error:
            report.warn(str(error))
    if len(found) < least:
        raise CcdError(
            f"{folder} has {len(found)} photos, and "
            + (f"int8 is calibrated on {least} or more." if least > 1 else "there is nothing to compare on."),
            "Add photos like those that the network will see.",
        )
    apart = found[:: max(5, -(-len(found) // COMPARED))]
    return [each for each in found if each not in apart], apart
