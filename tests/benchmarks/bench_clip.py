"""A clip from end to end in every runtime: decoding, network, stabilizing, both videos.

    python tests/benchmarks/bench_clip.py --model depth-anything-v2-small --frames 200
    python tests/benchmarks/bench_clip.py --model builtin:tiny --frames 50 --rounds 3

A generated clip, or with --clip one's own, through `ccd predict` with its default outputs, in turns: float32 torch, OpenVINO in
float32 and, where the processor has it, bf16. Every run is a process of its own that loads what it needs; networks are prepared
before (`$CCD_HOME`). Prints seconds and the ratio to torch of the same round.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ccd_cli.core.compute import cpu_has_bf16

WAYS = [("torch", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]


def write_clip(path: Path, frames: int, width: int, height: int) -> None:
    """Write a smooth picture that moves, with the grain of a camera."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            waves = [np.sin(x / (40 + 9 * c) + i / 15) + np.cos(y / (31 + 7 * c) - i / 25) for c in range(3)]
            picture = 127 + 50 * np.stack(waves, -1) + rng.normal(0, 2, (height, width, 3))
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="depth-anything-v2-small")
    parser.add_argument("--arch")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    ways = [way for way in WAYS if way[1] == "fp32" or cpu_has_bf16()]
    seconds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as place:
        clip, short = args.clip or Path(place, "clip.mp4"), Path(place, "short.mp4")
        write_clip(short, 2, 64, 48)
        if args.clip is None:
            write_clip(clip, args.frames, *args.size)

        def predict(film: Path, runtime: str, precision: str) -> None:
            command = [sys.executable, "-m", "ccd_cli", "predict", str(film), "--model", args.model, "--overwrite"]
            command += ["--runtime", runtime, "--precision", precision, "--threads", str(args.threads)]
            command += ["--arch", args.arch] if args.arch else []
            subprocess.run([*command, "--out", str(Path(place, "out"))], check=True, stderr=subprocess.DEVNULL)

        for way in ways:
            predict(short, *way)
        for _ in range(args.rounds):
            for way in ways:
                start = time.perf_counter()
                predict(clip, *way)
                seconds[way].append(time.perf_counter() - start)
    first = seconds[ways[0]]
    for way in ways:
        ratios = [a / b for a, b in zip(first, seconds[way], strict=True)]
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if args.rounds > 1 else ""
        print(
            f"{' '.join(way)}: {statistics.median(seconds[way]):.1f} s, {statistics.median(ratios):.2f} times as fast{spread}"
        )


if __name__ == "__main__":
    main()
