"""What labeling costs: seconds per image, teacher and crop by stage, and bytes per map.

    python tests/benchmarks/bench_label.py [--size 560] [--patches 4] [--photos 6] [--device cpu] [--threads 1]

Labels enlarged example photos with the built-in teachers and with the architecture of Depth Anything V2 small and random weights
(time does not depend on them; the bytes of its maps mean nothing). Seconds are processor time of one thread, but for a GPU and the
disk, which are timed by the clock. `--device cuda` measures a GPU; `--arch depth-anything-v1-large` another network.
`scale_table.py` calculates many images from what this measured.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ccd_cli.config.load import check_label_recipe
from ccd_cli.core.compute import choose_compute
from ccd_cli.data.source import Source
from ccd_cli.label.parts import crop_facts
from ccd_cli.label.plan import Plan
from ccd_cli.labels.agreement import disagreement
from ccd_cli.labels.format import encode_label
from ccd_cli.labels.shards import write_tar
from ccd_cli.media.find import list_photos
from ccd_cli.models.arch import get_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.teachers.adapters.native import NativeTeacher
from ccd_cli.teachers.load import load_teacher


def enlarged(folder: Path, count: int, side: int) -> list[Path]:
    """Write the example photos, one after another, as JPEGs whose short side is at least `side`."""
    paths = []
    examples = list_photos(["builtin:photos"])
    for i in range(count):
        with Image.open(examples[i % len(examples)]) as image:
            scale = max(1.0, side / min(image.size))
            size = (round(image.width * scale), round(image.height * scale))
            paths.append(folder / f"{i:03d}.jpg")
            image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(paths[-1], quality=92)
    return paths


def timed(call: Callable[[], Any], waits: bool = False) -> tuple[float, Any]:
    """Return (seconds, result): of processor time, which a busy machine does not stretch; by the clock where it `waits`."""
    clock = time.perf_counter if waits else time.process_time
    start = clock()
    result = call()
    return clock() - start, result


def measure(args: argparse.Namespace) -> None:
    """Label, stage by stage, and print a table."""
    compute = choose_compute(args.device, args.precision, args.threads)
    torch.manual_seed(0)
    stand_in = NativeTeacher(DepthNet(get_arch(args.arch)), "random", precision=compute.precision).to(compute.device)
    teachers = {name: load_teacher(name, device=compute.device) for name in ("builtin:global", "builtin:sharp")}
    teachers = {**teachers, f"{args.arch} (random)": stand_in}
    crops = 1 + args.patches
    rows: dict[str, dict[str, float]] = {name: dict.fromkeys(("teacher", "encode", "bytes"), 0.0) for name in teachers}
    once = dict.fromkeys(("decode", "compare", "write"), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        paths = enlarged(Path(folder), args.photos, round(args.size * 1.15))
        values = {"task": "label", "name": "bench", "images": "x", "teachers": "x"}
        side = {"size": args.size, "min_side": round(args.size * 1.15), "patches": args.patches}
        plan = Plan(check_label_recipe({**values, "crops": side}, "bench"), Source(paths))
        for teacher in teachers.values():  # the first pass sets up more than it computes
            teacher.predict(torch.rand(crops, 3, args.size, args.size, device=compute.device))
        for position in range(plan.count):
            seconds, (_, views) = timed(lambda position=position: plan.read(position))
            once["decode"] += seconds
            pixels = torch.from_numpy(views).permute(0, 3, 1, 2).to(compute.device).float() / 255
            made, members = [], []
            for name, teacher in teachers.items():
                seconds, maps = timed(
                    lambda teacher=teacher, pixels=pixels: teacher.predict(pixels).float().cpu().numpy(),
                    waits=compute.device.type != "cpu",
                )
                rows[name]["teacher"] += seconds

                def encode(maps: Any = maps, kind: Any = teacher.kind) -> list[bytes]:
                    return [(encode_label(one, kind)[0], crop_facts(one, kind))[0] for one in maps]

                seconds, pngs = timed(encode)
                rows[name]["encode"] += seconds
                rows[name]["bytes"] += sum(map(len, pngs))
                made.append(maps)
                members += [(f"{name}.{i}", png) for i, png in enumerate(pngs)]
            members.append(("photo", plan.image(position).read_bytes()))
            kinds = [teacher.kind for teacher in teachers.values()][:2]
            once["compare"] += timed(lambda made=made, kinds=kinds: disagreement(made[:2], kinds))[0]
            tar = Path(folder) / "shard.tar"
            seconds = timed(lambda tar=tar, members=members: write_tar(tar, members), waits=True)[0]
            once["write"] += 2 * seconds * 1e6 / tar.stat().st_size  # part and shard, a megabyte
        photo_bytes = sum(path.stat().st_size for path in paths) / len(paths)
    shots, photos = crops * args.photos, args.photos
    print(
        f"{photos} photos of {photo_bytes / 1e3:.0f} kB, {crops} crops of {args.size} px, {compute.describe()}, "
        f"torch {torch.__version__}"
    )
    print(f"{'teacher':<34}{'teacher s/crop':>15}{'encode s/crop':>15}{'kB per map':>12}")
    for name, row in rows.items():
        print(
            f"{name:<34}{row['teacher'] / shots:>15.4f}{row['encode'] / shots:>15.4f}{row['bytes'] / shots / 1e3:>12.0f}"
        )
    print(f"decode and crop {once['decode'] / photos:.4f} s per image, once for each teacher")
    print(f"compare        {once['compare'] / shots:.4f} s per crop and pair of teachers")
    print(f"write          {once['write'] / photos:.4f} s per megabyte, part and shard together, flushed to disk")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=560)
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--arch", default="depth-anything-v2-small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
