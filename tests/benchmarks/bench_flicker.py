"""How much does `--temporal` reduce flicker, and is the map's range preserved over a long clip?

    python tests/benchmarks/bench_flicker.py [--shared DIR] [--frames 1000] [--noise 0.05] [--jitter 0.2] [--model builtin:tiny]

Prints a table for each clip: a window moving over a generated room; with --shared (reference material beside a checkout) a
hand-held RGB-D clip played to and fro, and real videos with the model's own maps. The first two have a true disparity, which
gets noise (in parts of its standard deviation, new in every frame) and a random scale and shift for each frame.

* range: spread of the stabilized map over that of the ground truth, last 50 frames relative to the first (1: preserved). Without
  ground truth, the spread of the last frames over that of the network's own maps, against the first.
* gain: mean change from frame to frame of the stabilized map's scale relative to the ground truth, in per cent.
* jump: mean of |median(d_t - d_t-1)| over still pixels, in per cent of the range: flicker of the whole image.
* flicker: mean of |d_t - d_t-1| over still pixels, in per cent of the range (what noise causes stays in it).

Still pixels: ground-truth disparity changed by less than 1 % of its range, or, without it, the image by less than 3 gray
levels.
`chained` is what must not be done: a least-squares fit to the frame before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccd_cli.media.video.read import open_video
from ccd_cli.metrics.alignment import least_squares
from ccd_cli.predict.temporal import Stabilizer
from ccd_cli.scenes import render

Clip = list[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[Any] | None]]  # rgb, map, ground truth


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--jitter", type=float, default=0.2)
    parser.add_argument("--model", default="builtin:tiny")
    args = parser.parse_args()
    clips: dict[str, Clip] = {"moving window": window()}
    if args.shared:
        folder = args.shared / "data/real/E_videos"
        clips["RGB-D clip"] = rgbd(folder / "sevenscenes_rgbd_clip")
        for path in sorted(folder.glob("*.mp4")):
            clips[f"{path.stem}, {args.model}"] = predicted(path, args.model)
    print(
        "| clip | mode | frames | range | gain % | jump % | flicker % | cuts | ms a frame |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, clip in clips.items():
        for mode in ("none", "chained", "ema", "align"):
            if clip[0][2] is None:
                measured = measure(mode, iter(clip), len(clip))
            else:
                measured = measure(mode, shaken(clip, args.frames, args.noise, args.jitter), args.frames)
            print(f"| {name} | {mode} | {measured}")


def window() -> Clip:
    """Return 300 frames of a window of 320x240 that moves over a still room of 700x400."""
    room = render([3], 400, 700, family="room")
    rgb, disparity = room.rgb[0].permute(1, 2, 0).numpy(), 1 / room.depth[0].numpy()
    clip: Clip = []
    for t in range(300):
        x, y = round((np.sin(t / 60) + 1) / 2 * 380), round((np.cos(t / 43) + 1) / 2 * 160)
        part = (slice(y, y + 240), slice(x, x + 320))
        clip.append((rgb[part], disparity[part], disparity[part]))
    return clip


def rgbd(folder: Path) -> Clip:
    """Return the RGB-D clip at half size: image and disparity 1 / meters, NaN where the sensor has no value."""
    clip: Clip = []
    for path in sorted(folder.glob("*.color.jpg")):
        depth = np.asarray(Image.open(path.with_name(path.name.replace("color.jpg", "depth_registered.png")))) / 1000.0
        valid = (depth > 0.1) & (depth < 20)
        ground_truth = np.where(valid, 1 / np.where(valid, depth, 1), np.nan).astype(np.float32)[::2, ::2]
        clip.append((np.asarray(Image.open(path).convert("RGB"))[::2, ::2], ground_truth, ground_truth))
    return clip


def predicted(path: Path, model: str) -> Clip:
    """Return a video's frames with a model's maps."""
    from ccd_cli.teachers.load import load_teacher

    teacher = load_teacher(model)
    return [(frame.rgb, teacher.predict_photos([frame.rgb])[0].values, None) for frame in open_video(path).frames()]


def shaken(clip: Clip, frames: int, noise: float, jitter: float) -> Iterator[Any]:
    """Play a clip to and fro, with noise and a random scale and shift a frame."""
    rng = np.random.default_rng(0)
    there_and_back = [*range(len(clip)), *range(len(clip) - 2, 0, -1)]
    for t in range(frames):
        rgb, values, ground_truth = clip[there_and_back[t % len(there_and_back)]]
        spread = float(np.nanstd(values))
        noise_map = rng.normal(size=values.shape) * noise * spread
        scale, shift = np.exp(jitter * rng.normal()), jitter * spread * rng.normal()
        yield rgb, (scale * (values + noise_map) + shift).astype(np.float32), ground_truth


def measure(mode: str, clip: Iterator[Any], count: int) -> str:
    """Return a row of the table."""
    stabilizer = Stabilizer("none" if mode == "chained" else mode, "disparity")  # type: ignore[arg-type]
    ratios, gains, jumps, flickers, cuts, spent = [], [], [], [], 0, 0.0
    before: tuple[Any, ...] | None = None
    for rgb, values, ground_truth in clip:
        start = time.thread_time()
        scale, shift, cut = stabilizer.update(rgb, values, np.isfinite(values))
        spent += time.thread_time() - start
        if mode == "chained" and before is not None:
            both = np.isfinite(values) & np.isfinite(before[0])
            scale, shift = least_squares(values[both], before[0][both])
        aligned, cuts = scale * values.astype(np.float64) + shift, cuts + cut
        valid = np.isfinite(aligned)
        shown = values if ground_truth is None else ground_truth
        width = float(np.ptp(np.quantile(shown[valid], (0.02, 0.98))))
        ratios.append(float(np.ptp(np.quantile(aligned[valid], (0.02, 0.98)))) / width)
        if ground_truth is not None:
            gains.append(np.log(max(least_squares(ground_truth[valid], aligned[valid])[0], 1e-9)))
        if before is not None:
            if ground_truth is not None:
                still = np.abs(ground_truth - before[1]) < 0.01 * width
            else:
                still = np.abs(rgb.astype(int) - before[2]).max(-1) < 3
            still &= valid & np.isfinite(before[0])
            change = (aligned - before[0])[still] / (ratios[0] * width)
            jumps.append(abs(float(np.median(change))) if change.size else 0.0)
            flickers.append(float(np.abs(change).mean()) if change.size else 0.0)
        before = (aligned, ground_truth, rgb)
    preserved = np.mean(ratios[-min(50, count // 4) :]) / ratios[0]
    gain = f"{100 * np.abs(np.diff(gains)).mean():.2f}" if gains else "-"
    return (
        f"{count} | {preserved:.3f} | {gain} | {100 * np.mean(jumps):.2f} | {100 * np.mean(flickers):.2f} | {cuts} "
        f"| {1000 * spent / count:.1f} |"
    )


if __name__ == "__main__":
    main()
