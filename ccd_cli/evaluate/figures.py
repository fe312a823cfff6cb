"""Figures of the worst and best images of a dataset, retained while scores come in: image, prediction, ground truth, error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Sample
from ccd_cli.core.files import atomic_write
from ccd_cli.evaluate.store import Record
from ccd_cli.media.colorize import color_range, colorize, nearness

WORST, BEST = 3, 2
WIDTH = 480  # pixels of a panel, at most
ERROR_MAX = 0.5  # relative error at which the color map ends
ERROR_COLORS = "inferno"
PANELS = ("image", "prediction", "ground-truth", "error")
"""Parts of a figure, as in the names of their files."""
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 88, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
_FILE = re.compile(rf"(\d+)-(?:{'|'.join(PANELS)})\.jpg")

Panels = dict[str, bytes]


def extremes(records: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """Return the worst and the best records by `error_of`, the most extreme first; none is in both, NaN is worst.

    Of few records, half are the worst.
    """
    ordered = sorted(records, key=lambda record: (-error_of(record), record["index"]))
    middle = min(WORST, (len(ordered) + 1) // 2)
    return ordered[:middle], sorted(ordered[middle:], key=lambda record: (error_of(record), record["index"]))[:BEST]


class Gallery:
    """The panels of the images that are the worst and best of a dataset so far, as files in `folder`.

    An image that is an extreme of the whole dataset is one of any part of it, so each is drawn when it is scored and may be
    dropped later, and no map is needed twice. `records` are those that are scored already.
    """

    def __init__(self, folder: Path, records: Iterable[Record]) -> None:
        self.folder = folder
        self._retained = self._most(records)
        for path in folder.glob("*.jpg") if folder.is_dir() else ():
            if (found := _FILE.fullmatch(path.name)) and int(found.group(1)) not in self._retained:
                path.unlink()

    def wants(self, record: Record) -> bool:
        """Return whether the panels of this image are worth drawing; safe from any thread."""
        return record["index"] in self._most([*self._retained.copy().values(), record])

    def add(self, record: Record, panels: Panels | None) -> None:
        """Take a scored image; those that are no longer extremes are dropped."""
        now = self._most([*self._retained.values(), record])
        if record["index"] in now and panels is not None:
            for name, content in panels.items():
                with atomic_write(self.path(record["index"], name)) as temporary:
                    temporary.write_bytes(content)
        for index in self._retained.keys() - now.keys():
            for name in PANELS:
                self.path(index, name).unlink(missing_ok=True)
        self._retained = now

    def path(self, index: int, panel: str) -> Path:
        """Return where a panel of an image is, or would be."""
        return self.folder / f"{index:05d}-{panel}.jpg"

    @staticmethod
    def _most(records: Iterable[Record]) -> dict[int, Record]:
        worst, best = extremes(records)
        return {record["index"]: record for record in (*worst, *best)}


def draw(sample: Sample, aligned: NDArray[np.floating], mask: NDArray[np.bool_]) -> Panels:
    """Return JPEG panels of one image: prediction and ground truth share the latter's color range, error is |p - t| / t.

    `aligned` is the prediction [H, W] in the ground truth's unit and `mask` [H, W] the pixels that were scored. Sparse ground
    truth is averaged over the known pixels below each pixel of the panel.
    """
    size = panel_size(sample.depth.shape)
    ground_truth = _shrink(sample.depth, np.isfinite(sample.depth) & (sample.depth > 0), size)
    predicted = _shrink(aligned, np.isfinite(aligned) & (aligned > 0), size)
    error = np.full(sample.depth.shape, np.nan, np.float32)
    error[mask] = np.abs(aligned[mask] - sample.depth[mask]) / sample.depth[mask]
    low, high = color_range(nearness(_shrink(sample.depth, mask, size), None, "metric"))
    image = np.asarray(cv2.resize(sample.rgb, dsize=size, interpolation=cv2.INTER_AREA), np.uint8)
    return {
        "image": jpeg(image),
        "prediction": jpeg(colorize(predicted, None, "metric", low, high)),
        "ground-truth": jpeg(colorize(ground_truth, None, "metric", low, high)),
        "error": jpeg(colorize(_shrink(error, mask, size), None, "disparity", 0.0, ERROR_MAX, ERROR_COLORS)),
    }


def draw_untrue(sample: Sample, depth: NDArray[np.floating]) -> Panels:
    """Return JPEG panels of image and predicted depth, where there is no ground truth to share a color range with."""
    size = panel_size(sample.rgb.shape)
    image = np.asarray(cv2.resize(sample.rgb, dsize=size, interpolation=cv2.INTER_AREA), np.uint8)
    predicted = _shrink(depth, np.isfinite(depth) & (depth > 0), size)
    return {"image": jpeg(image), "prediction": jpeg(colorize(predicted, None, "metric"))}


def _shrink(values: NDArray[np.floating], known: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    """The mean of the known values below each pixel of `size` (width, height), NaN where there are none."""
    full = np.where(known, values, 0).astype(np.float32)
    total = np.asarray(cv2.resize(full, dsize=size, interpolation=cv2.INTER_AREA))
    weight = np.asarray(cv2.resize(known.astype(np.float32), dsize=size, interpolation=cv2.INTER_AREA))
    return np.divide(total, weight, out=np.full(total.shape, np.nan, np.float32), where=weight > 1e-6)


def panel_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the (width, height) of a panel of an image [height, width, ...]."""
    return min(WIDTH, shape[1]), max(1, round(shape[0] * min(1.0, WIDTH / shape[1])))


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return an RGB image uint8 [h, w, 3] as JPEG."""
    done, content = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), _JPEG)
    assert done
    return content.tobytes()


def error_of(record: Record) -> float:
    """Return what an image is judged by: AbsRel, else the fraction of pairs that are wrong, else the temporal error."""
    scores = record["scores"]
    if "pair_accuracy" in scores:
        return 1.0 - float(scores["pair_accuracy"])
    value = float(scores.get("abs_rel", scores.get("tae", float("nan"))))
    return value if value == value else float("inf")
