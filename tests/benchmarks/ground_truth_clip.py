"""A built-in model, fine-tuned on a few frames of one's own camera: what it is worth on that clip, and elsewhere."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml
from ground_truth_runs import (
    DISPARITY,
    DISPARITY_LOSS,
    Samples,
    as_is,
    collect,
    load,
    samples_of,
    scores,
    table,
    trained,
)

from ccd_cli.benchmarks.suites import open_pairs

TRAINED, SELECTED, TESTED = slice(0, 28), slice(30, 36), slice(38, 48)
"""Frames of the clip; two are left out between each part and the next."""
PARTS = {"trained": TRAINED, "selected": SELECTED, "tested": TESTED}


def finetune(args: argparse.Namespace) -> None:
    """A few frames of one's own camera."""
    assert args.shared is not None, "--shared DIR holds the clip"
    real = args.shared / "data/real"
    frames = sorted((real / "E_videos/sevenscenes_rgbd_clip").glob("*.color.jpg"))
    files = {name: clip_file(args.out, name, frames[part]) for name, part in PARTS.items()}
    before = load("builtin:tiny")
    tested = {"same clip": one_set(files["tested"]), "other cameras": indoor(real, args.out)}
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        values = {
            "seed": seed,
            "images": {"scenes": None, "pairs": str(files["trained"])},
            "eval": {"pairs": str(files["selected"]), "scenes": 0, "every": 20},
            "crops": {"size": 160, "min_side": 320, "patches": 2},
            "optim": {"steps": args.steps or 100, "lr": 1e-4, "encoder_lr": 2e-5, "warmup": 10, "checkpoint_every": 50},
            "student": {**DISPARITY, "init": "pretrained", "weights": "builtin:tiny"},
            "loss": DISPARITY_LOSS,
        }
        after = trained(args, f"finetuned-{seed}", values, last=False)
        for name, samples in tested.items():
            if seed == 0:
                collect(rows, f"{name}: builtin:tiny", scores(samples, as_is(before), "least-squares-disparity"))
            collect(rows, f"{name}: fine-tuned", scores(samples, as_is(after), "least-squares-disparity"))
    table(rows)


def clip_file(out: Path, name: str, frames: list[Path]) -> Path:
    """Write a file of pairs for some frames, which are linked into a folder of their own."""
    folder = out / "frames" / name
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        for path in (frame, frame.with_name(frame.name.replace("color.jpg", "depth_registered.png"))):
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path.resolve())
    return suite(folder, name, "*.color.jpg", "*.depth_registered.png")


def suite(folder: Path, name: str, image: str, depth: str) -> Path:
    """Write a file of pairs in millimeters."""
    path = folder / "pairs.yaml"
    rule = {"name": name, "image": image, "depth": depth, "divisor": 1000, "min": 0.3, "max": 10.0}
    path.write_text(yaml.safe_dump(rule))
    return path.resolve()


def indoor(real: Path, out: Path) -> Samples:
    """The indoor images of the reference material that are not of this clip's data set."""
    listed = json.loads((real / "index.json").read_text())["pairs"]
    made = []
    for pair in listed:
        if pair["category"] == "A" and not pair["id"].startswith("7scenes"):
            folder = out / "frames" / pair["id"]
            folder.mkdir(parents=True, exist_ok=True)
            for key in ("rgb", "gt"):
                link = folder / f"{key}{Path(pair[key]).suffix}"
                if not link.exists():
                    link.symlink_to((real / pair[key]).resolve())
            made.append(one_set(suite(folder, pair["id"], "rgb.*", "gt.*")))
    return made[0][0], [sample for _, samples in made for sample in samples]


def one_set(path: Path) -> Samples:
    """The samples of the only set that a file describes."""
    (found,) = open_pairs(path)
    return samples_of(found)
