"""What `ccd predict` adds to the bare network: images per second, as ratios measured in one run.

python tests/benchmarks/bench_predict.py [--photos 50] [--resolution 518] [--threads 2]

Depth Anything V2 small with random weights on generated images of up to one megapixel. In turns, so that a busy machine is
busy for all: the bare network on prepared inputs, `predict` with raw and with default outputs, and, where `transformers` is
installed, its depth pipeline with the same weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ccd_cli.core.compute import choose_compute
from ccd_cli.core.report import Silent
from ccd_cli.models.arch import get_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.predict.run import run
from ccd_cli.predict.settings import Settings
from ccd_cli.teachers.adapters.native import NativeTeacher, infer
from ccd_cli.teachers.adapters.preprocess import resize_for
from ccd_cli.teachers.model import Model

SIZES = [(800, 1200), (768, 1024), (960, 960), (1000, 640)]


def make_photos(folder: Path, count: int) -> list[Path]:
    """Write `count` smooth JPEGs of four sizes."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        height, width = SIZES[i % len(SIZES)]
        small = Image.fromarray(rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8))
        paths.append(folder / f"{i:03d}.jpg")
        small.resize((width, height), Image.Resampling.BICUBIC).save(paths[-1], quality=92)
    return paths


def bare(teacher: NativeTeacher, inputs: list[torch.Tensor]) -> float:
    """Seconds for the network alone on prepared inputs."""
    start = time.perf_counter()
    for images in inputs:
        infer(teacher.model, images)
    return time.perf_counter() - start


def predicted(paths: list[Path], model: Model, save: tuple[str, ...], folder: Path) -> float:
    """Seconds for `ccd predict` without its start."""
    settings = Settings(out=folder, save=save, overwrite=True)
    start = time.perf_counter()
    outcome = run([str(p) for p in paths], model, settings, choose_compute("cpu"), Silent())
    assert len(outcome.done) == len(paths) and not outcome.failed
    return time.perf_counter() - start


def piped(pipe: Any, paths: list[Path], folder: Path) -> float:
    """Seconds for the pipeline of transformers, raw maps written as .npy."""
    folder.mkdir(exist_ok=True)
    start = time.perf_counter()
    for path in paths:
        np.save(folder / f"{path.stem}.npy", pipe(str(path))["predicted_depth"].numpy())
    return time.perf_counter() - start


def hf_pipeline(resolution: int) -> Any:
    """The depth pipeline of transformers around its Depth Anything V2 small; None where it is not installed."""
    try:
        from transformers import (
            DepthAnythingConfig,
            DepthAnythingForDepthEstimation,
            Dinov2Config,
            DPTImageProcessor,
            pipeline,
        )
    except ImportError:
        return None
    backbone = Dinov2Config(
        hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14, out_indices=[3, 6, 9, 12],
        apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=384,
        neck_hidden_sizes=[48, 96, 192, 384],
        fusion_hidden_size=64,
    )

    processor = DPTImageProcessor(
        size={"height": resolution, "width": resolution}, keep_aspect_ratio=True, ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225], do_pad=False,
    )  # fmt: skip
    return pipeline("depth-estimation", model=DepthAnythingForDepthEstimation(config).eval(), image_processor=processor)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=50)
    parser.add_argument("--resolution", type=int, default=518)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    teacher = NativeTeacher(DepthNet(get_arch("depth-anything-v2-small")), "random").to("cpu")
    model = Model(teacher, args.resolution)
    pipe = hf_pipeline(args.resolution)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = make_photos(root, args.photos)
        prepared = [resize_for(teacher.model.arch, np.asarray(Image.open(p)), args.resolution) for p in paths]
        inputs = [teacher.model.normalize(torch.from_numpy(p).permute(2, 0, 1)[None]) for p in prepared]
        bare(teacher, inputs[:4])
        part = max(1, args.photos // args.rounds)
        times: dict[str, float] = {}
        for first in range(0, args.photos, part):
            some, ready = paths[first : first + part], inputs[first : first + part]
            variants = {
                "bare network": lambda ready=ready: bare(teacher, ready),
                "predict --save npy": lambda some=some: predicted(some, model, ("npy",), root / "npy"),
                "predict, default outputs": lambda some=some: predicted(
                    some, model, ("color", "png16"), root / "default"
                ),
            }
            if pipe is not None:
                variants["transformers pipeline, npy"] = lambda some=some: piped(pipe, some, root / "hf")
            for name, timed in variants.items():
                times[name] = times.get(name, 0.0) + timed()
    print(
        f"{args.photos} images of up to 1 megapixel, {args.resolution} px, {args.threads} threads, torch {torch.__version__}"
    )
    for name, seconds in times.items():
        print(
            f"{name:<28} {args.photos / seconds:6.2f} images/s   {times['bare network'] / seconds:5.2f} of the bare network"
        )
    if pipe is None:
        print("transformers is not installed: no comparison with its pipeline")


if __name__ == "__main__":
    main()
