"""Draw the pictures of the guides, by the commands and functions that they explain: `python tests/benchmarks/draw_guides.py`.

Writes `docs/images/NAME.jpg` (or .svg); names as arguments draw only these. Everything is from the shipped photos, generated
scenes and built-in models; `distill` trains the quick start (minutes).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import ccd_cli
from ccd_cli.labels.shards import ShardReader
from ccd_cli.losses.contexts import nested_ids
from ccd_cli.media.colorize import colorize
from ccd_cli.metrics.alignment import align
from ccd_cli.metrics.depth import image_metrics
from ccd_cli.pointcloud.preview import preview
from ccd_cli.scenes.renderer import render

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
PHOTOS, OUT = ROOT / "assets/photos", ROOT / "docs/images"
TINY = ("--model", "builtin:tiny")
RGB = NDArray[np.uint8]
CELL = (300, 200)  # width, height


def ccd(*words: object, at: Path | None = None) -> None:
    """Run a command of ccd, in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ccd_cli", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=at, env=environment)


def sheet(name: str, cells: Sequence[tuple[str, Image.Image]], columns: int, size: tuple[int, int] = CELL) -> None:
    """Write a picture of cells with captions."""
    width, height, line = *size, 20
    rows = -(-len(cells) // columns)
    whole = Image.new("RGB", (columns * (width + 6) - 6, rows * (height + line + 4)), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(13)
    for i, (caption, image) in enumerate(cells):
        left, top = i % columns * (width + 6), i // columns * (height + line + 4)
        shown = image.convert("RGB")
        shown.thumbnail(size, Image.Resampling.LANCZOS)
        whole.paste(shown, (left + (width - shown.width) // 2, top + (height - shown.height) // 2))
        draw.text((left + width // 2, top + height + line // 2 + 1), caption, "black", font, anchor="mm")
    whole.save(OUT / f"{name}.jpg", quality=86, optimize=True)


def jpeg(name: str, source: Path, width: int) -> None:
    """Write a PNG that a command made as a JPEG of this width."""
    image = Image.open(source).convert("RGB")
    image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS).save(
        OUT / f"{name}.jpg", quality=84, optimize=True
    )


def shown(figure: Figure, name: str) -> None:
    """Write a figure."""
    figure.savefig(OUT / f"{name}.jpg", dpi=100, facecolor="white", pil_kwargs={"quality": 86, "optimize": True})


def picture(values: NDArray, kind: str = "disparity", cmap: str = "inferno") -> Image.Image:
    """Return a map as `ccd predict` colors it."""
    return Image.fromarray(colorize(np.ascontiguousarray(values, np.float32), None, kind, cmap=cmap))


def predict(folder: Path) -> None:
    photo = PHOTOS / "coffee.jpg"
    ccd("predict", photo, *TINY, "--pointcloud", "--out", folder)
    ccd("predict", photo, *TINY, "--save", "color", "--cmap", "Spectral", "--out", folder / "spectral")
    depth = np.asarray(Image.open(folder / "coffee.depth.png")).astype(np.float32)
    cells = [
        ("photo.jpg", Image.open(photo)),
        ("photo.color.png", Image.open(folder / "coffee.color.png")),
        ("the same with --cmap Spectral", Image.open(folder / "spectral/coffee.color.png")),
        ("photo.depth.png: 16 bit", Image.fromarray((depth / 257).astype(np.uint8))),
        ("photo.cloud.png: preview of photo.ply", Image.open(folder / "coffee.cloud.png")),
    ]
    sheet("predict", cells, 3)


def pointcloud(folder: Path) -> None:
    photo = PHOTOS / "coffee.jpg"
    ccd("predict", photo, *TINY, "--save", "npy", "--out", folder / "maps")
    options = {
        "--near 0.4 --far 2": (),
        "--no-edge-cut": ("--no-edge-cut",),
        "--voxel 0.02": ("--voxel", 0.02),
    }
    cells = []
    for number, (caption, words) in enumerate(options.items()):
        out = folder / str(number)
        ccd("pointcloud", photo, "--depth", folder / "maps/coffee.npy", "--near", 0.4, "--far", 2, *words, "--out", out)
        cells.append((caption, Image.open(out / "coffee.cloud.png")))
    sheet("pointcloud", cells, 3, (300, 225))


def kinds(folder: Path) -> None:
    """One generated scene as each kind, and the same disparity with three assumed ranges."""
    rendered = render([5], 192, 288, family="table")
    depth = rendered.depth[0].numpy()
    rgb = Image.fromarray(rendered.rgb[0].permute(1, 2, 0).numpy())
    cells = [
        ("photo", rgb),
        ("1 / depth (disparity): near has most of the colors", picture(1 / depth)),
        (
            "depth, in gray: near is dark",
            Image.fromarray((255 * depth / np.quantile(depth, 0.98)).clip(0, 255).astype(np.uint8)),
        ),
    ]
    cloud = ccd_cli.DepthMap(
        1 / depth, "disparity", rgb=np.asarray(rgb), intrinsics=tuple(rendered.intrinsics[0].tolist())
    )
    least, most = (float(each) for each in np.quantile(depth, (0.01, 0.99)))
    for caption, near, far in (
        (f"near {least:.2f}, far {most:.2f} m: as rendered", least, most),
        (f"near {least:.2f}, far {2 * most:.1f} m: stretched", least, 2 * most),
        (f"near {least:.2f}, far {1.3 * least:.2f} m: flat", least, 1.3 * least),
    ):
        made = cloud.to_metric(near=near, far=far).point_cloud()
        cells.append((caption, Image.fromarray(preview(made.points, made.colors))))
    sheet("kinds", cells, 3, (330, 220))


def label_map() -> tuple[torch.Tensor, RGB]:
    """Return the disparity [1, H, W] of a photo by `builtin:sharp`, and the photo."""
    depth = ccd_cli.load("builtin:sharp", resolution=224).predict(PHOTOS / "astronaut.jpg")
    return torch.from_numpy(depth.values)[None], np.asarray(depth.rgb)


def contexts(folder: Path) -> None:
    """The contexts of each family at the levels 1, 2 and 4, as the loss forms them."""
    label, rgb = label_map()
    mask = torch.ones_like(label, dtype=torch.bool)
    cells = []
    for family, title in (("range", "range"), ("quantile", "quantile"), ("grid", "grid")):
        for level in (1, 2, 4):
            ids, total = nested_ids(label, mask, family, (level,), "ccd")
            shade = (
                picture(ids[0].numpy() / max(1, total - 1), cmap="viridis")
                if total > 1
                else Image.new("RGB", rgb.shape[1::-1], "#3b528b")
            )
            cells.append((f"{title}, S = {level}", Image.blend(Image.fromarray(rgb), shade, 0.75)))
        if family == "range":
            cells.insert(3, ("label", picture(label[0].numpy())))
        else:
            cells.append(
                ("photo", Image.fromarray(rgb)) if family == "quantile" else ("", Image.new("RGB", (8, 8), "white"))
            )
    sheet("contexts", cells, 4, (210, 210))


def crops(folder: Path) -> None:
    """The shared crop and its patches, and what a teacher says about each."""
    ccd("label", "label/quickstart", "--out", folder / "labels")
    reader = ShardReader(folder / "labels", seed=0, rank=0, world=1, buffer=1)
    sample = next(sample for _, sample in reader.stream(epoch=0) if "coffee" in sample.facts.photo.path)
    photo = Image.fromarray(np.asarray(sample.photo()))
    draw = ImageDraw.Draw(photo)
    made = sample.facts.labels[1].crops
    for crop, color in zip(made, ("white", "#ff5a36", "#38c7ff"), strict=True):
        top, left, side = crop.box
        draw.rectangle((left, top, left + side, top + side), outline=color, width=4)
    cells = [("white: shared crop; its patches", photo)]
    for number, name in enumerate(("label of the shared crop", "label of the red patch", "label of the blue patch")):
        cells.append((name, picture(sample.label(teacher=1, crop=number)[0])))
    sheet("crops", cells, 4, (240, 180))


def labels(folder: Path) -> None:
    shutil.copytree(PHOTOS, folder / "photos", ignore=shutil.ignore_patterns("*.md"))
    ccd("label", "label/quickstart", "--set", "images=photos", "--out", "labels", at=folder)
    ccd("inspect", folder / "labels")
    jpeg("labels", folder / "labels/contact.png", 800)


def distill(folder: Path) -> None:
    ccd("distill", "quickstart", "--out", folder / "run")
    jpeg("samples", folder / "run/plots/samples.png", 900)
    jpeg("loss", folder / "run/plots/loss.png", 800)


def report(folder: Path) -> None:
    """The report of an evaluation, as a browser shows it; needs Chromium."""
    models = (*TINY, "--model", "builtin:global")
    ccd("eval", "--suite", "builtin", *models, "--limit", 8, "--out", folder / "out")
    browser = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("report: needs Chromium")
    words = (
        "--headless",
        "--no-sandbox",
        "--hide-scrollbars",
        "--window-size=1000,1500",
        f"--screenshot={folder / 'page.png'}",
    )
    subprocess.run([browser, *words, (folder / "out/report.html").as_uri()], check=True, stderr=subprocess.DEVNULL)
    jpeg("report", folder / "page.png", 800)


def analysis(folder: Path) -> None:
    ccd("analyze", *TINY, "--out", folder / "out")
    jpeg("example", folder / "out/example.png", 1000)
    jpeg("noise", folder / "out/noise.png", 900)
    jpeg("figure2", folder / "out/figure2.png", 900)
    teachers = ("--model", "builtin:sharp", "--model", "builtin:global")
    ccd("analyze", *teachers, "--images", 24, "--out", folder / "teachers")
    jpeg("landing", folder / "teachers/landing.png", 900)
    jpeg("closeups", folder / "teachers/closeups.png", 900)


def alignment(folder: Path) -> None:
    """A disparity model fitted in the right and in the wrong space."""
    rendered = render([2**40 + 3], 256, 384, family="room")
    gt = rendered.depth[0].numpy().astype(np.float64)
    Image.fromarray(rendered.rgb[0].permute(1, 2, 0).numpy()).save(folder / "scene.png")
    pred = ccd_cli.load("builtin:tiny").predict(folder / "scene.png").values.astype(np.float64)
    mask = np.isfinite(gt) & (gt < 80)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    right, wrong = figure.subplots(1, 2)
    picked = np.random.default_rng(0).choice(np.flatnonzero(mask), 1500, replace=False)
    x = pred.reshape(-1)[picked]
    line = np.linspace(x.min(), x.max(), 50)
    for axis, method, y, title in (
        (right, "least-squares-disparity", 1 / gt, "fitted in 1 / depth, as --alignment auto does"),
        (wrong, "least-squares", gt, "fitted in depth: refused, here forced"),
    ):
        fit = align(method, pred, gt, mask, "disparity", force=method == "least-squares")
        error = image_metrics(fit.depth, gt, mask)["abs_rel"]
        axis.scatter(x, y.reshape(-1)[picked], s=3, alpha=0.4, color="#3f51b5")
        axis.plot(line, fit.scale * line + fit.shift, color="#d32f2f")
        axis.set(
            title=f"{title}\nAbsRel {error:.3f}",
            xlabel="predicted disparity",
            ylabel="1 / depth (1/m)" if axis is right else "depth (m)",
        )
    shown(figure, "alignment")


def cameras(folder: Path) -> None:
    """One map with three fields of view."""
    ccd("predict", PHOTOS / "palace.jpg", *TINY, "--save", "npy", "--out", folder / "maps")
    cells = []
    for fov in (30, 60, 100):
        words = ("--depth", folder / "maps/palace.npy", "--near", 5, "--far", 60, "--fov", fov)
        ccd("pointcloud", PHOTOS / "palace.jpg", *words, "--out", folder / str(fov))
        cells.append((f"--fov {fov}", Image.open(folder / f"{fov}/palace.cloud.png")))
    sheet("cameras", cells, 3, (300, 225))


TITLES = (
    "commands",
    "Python API",
    "verbs: one folder a command",
    "shared by several verbs",
    "images, networks, scenes",
)
TITLES += ("formulas", "kinds, maps, cameras", "recipes", "errors, files, devices")


def layers_svg() -> str:
    """Return the floors of the package, the highest first, as `tests/test_layers.py` holds them."""
    from tests.test_layers import FLOORS

    across, box, gap = 6, 101, 6
    rows, top = [], 6
    for floor, title in zip(reversed(FLOORS), TITLES, strict=True):
        rows.append(f'<text x="8" y="{top + 15}" class="t">{title}</text>')
        for i, name in enumerate(sorted(floor)):
            left, here = 6 + i % across * (box + gap), top + 22 + i // across * 38
            rows.append(f'<rect x="{left}" y="{here}" width="{box}" height="32" rx="5"/>')
            rows.append(f'<text x="{left + box / 2:g}" y="{here + 21}" class="n">{name}</text>')
        top += 28 + 38 * -(-len(floor) // across)
    width = 6 + across * (box + gap)
    style = ".t{font:italic 14px sans-serif;fill:#444}.n{font:15px sans-serif;text-anchor:middle;fill:#111}"
    style += "rect{fill:#e3e7f7;stroke:#5c6bc0}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" role="img" aria-label="Floors of the package">'
    ground = f'<path d="M0 0H{width}V{top}H0z" fill="#fff"/>'
    return "\n".join([head, f"<style>{style}</style>", ground, *rows, "</svg>\n"])


def layers(folder: Path) -> None:
    (OUT / "layers.svg").write_text(layers_svg(), encoding="utf-8")


PICTURES: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        predict,
        pointcloud,
        kinds,
        contexts,
        crops,
        labels,
        report,
        analysis,
        alignment,
        cameras,
        distill,
        layers,
    )
}

if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        with tempfile.TemporaryDirectory() as temporary:
            PICTURES[name](Path(temporary))
            print(name, flush=True)
