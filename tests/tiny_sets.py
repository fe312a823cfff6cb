"""Small evaluation sets in the published layouts, with depth that the tests know."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from ccd_cli.benchmarks.decode import FloatMap
from ccd_cli.benchmarks.moge_png import SKY, STEPS
from ccd_cli.core.errors import CcdError

DRIVE = "2011_09_26_drive_0002_sync"
KITTI_NAMES = [f"2011_09_26/{DRIVE}/image_02/data/{n:010d}.png" for n in (69, 54)]


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return uint8 RGB noise on a ramp."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, :, None] + np.zeros((height, 1, 3))
    return (ramp + rng.uniform(0, 55, (height, width, 3))).astype(np.uint8)


def encode_depth_png(depth: FloatMap) -> bytes:
    """Return the PNG of depth [H, W]: NaN is unknown, inf is sky, the rest positive. Raises CcdError where none is known."""
    finite = np.isfinite(depth)
    if not finite.any() or (depth[finite] <= 0).any():
        raise CcdError("A depth PNG needs positive depth and at least one finite value.")
    least, most = float(depth[finite].min()), float(depth[finite].max())
    near = max(least, 1e-5)
    far = max(near * 1.1, min(most, near * 1e5))
    share = np.log(np.where(finite, depth, near).clip(near, far) / near) / np.log(far / near)
    codes = 1 + np.round(share * STEPS)
    codes = np.where(finite, codes, np.where(np.isposinf(depth), SKY, 0)).astype(np.uint16)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("near", str(near))
    chunks.add_text("far", str(far))
    file = io.BytesIO()
    Image.fromarray(codes).save(file, format="PNG", pnginfo=chunks)
    return file.getvalue()


def ramp(height: int, width: int, near: float, far: float) -> np.ndarray:
    """Return float64 depth that grows from `near` to `far` along the columns."""
    return np.linspace(near, far, width)[None, :] + np.zeros((height, 1))


def put_rgb(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path, format="JPEG" if path.suffix.lower() == ".jpg" else "PNG")


def put_codes(path: Path, codes: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(codes).astype(np.uint16)).save(path)


def write_nyuv2(folder: Path, scenes: tuple[str, ...] = ("kitchen_0004", "office_0001")) -> None:
    for number, scene in enumerate(scenes, 1):
        put_rgb(folder / f"test/{scene}/rgb_{number:04d}.png", photo(480, 640, number))
        put_codes(folder / f"test/{scene}/depth_{number:04d}.png", 1000 * ramp(480, 640, 0, 12))
        put_codes(folder / f"test/{scene}/filled_{number:04d}.png", 1000 * ramp(480, 640, 1, 12))
    put_rgb(folder / "train/attic_0001/rgb_0009.png", photo(480, 640))
    put_codes(folder / "train/attic_0001/depth_0009.png", 1000 * ramp(480, 640, 1, 9))


def write_kitti(folder: Path, size: tuple[int, int] = (375, 1242)) -> None:
    """Two photos with depth and one without."""
    for name in (*KITTI_NAMES, KITTI_NAMES[0].replace("69", "75")):
        put_rgb(folder / name, photo(*size))
    for name in KITTI_NAMES:
        put_codes(folder / DRIVE / "proj_depth/groundtruth/image_02" / Path(name).name, 256 * ramp(*size, 0, 100))


def write_eth3d(folder: Path, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    put_rgb(folder / "rgb/office/images/dslr_images/DSC_0001.JPG", photo(*size))
    depth = ramp(*size, 0, 30).astype("<f4")
    depth[:5] = np.inf
    target = folder / "depth/office_dslr_depth/office/ground_truth_depth/dslr_images/DSC_0001.JPG"
    target.parent.mkdir(parents=True)
    target.write_bytes(depth.tobytes())
    return depth


def write_scannet(folder: Path) -> None:
    for frame in (0, 100):
        put_rgb(folder / f"scene0011_00/color/{frame:06d}.jpg", photo(48, 64, frame))
        put_codes(folder / f"scene0011_00/depth/{frame:06d}.png", 1000 * ramp(48, 64, 0, 12))


def write_diode(folder: Path, start: str = "") -> None:
    for where in ("indoors", "outdoor"):
        stem = folder / start / where / "scene_00019/scan_00183" / f"00019_{where}_000"
        put_rgb(stem.with_name(stem.name + ".png"), photo(24, 32))
        depth = ramp(24, 32, 0.2, 400).astype(np.float32)[..., None]
        np.save(stem.with_name(stem.name + "_depth.npy"), depth)
        mask = np.ones((24, 32), np.float32)
        mask[:4] = 0
        np.save(stem.with_name(stem.name + "_depth_mask.npy"), mask)


WRITERS = {
    "nyuv2": write_nyuv2,
    "kitti": write_kitti,
    "eth3d": write_eth3d,
    "scannet": write_scannet,
    "diode": write_diode,
}


def write_moge(folder: Path, size: tuple[int, int] = (90, 150)) -> None:
    """One sample in the layout of MoGe's bundle; `folder` is the set's."""
    sample = folder / "a/b"
    put_rgb(sample / "image.jpg", photo(*size))
    depth = ramp(*size, 1, 6).astype(np.float32)
    depth[:10], depth[10:20] = np.inf, np.nan
    (sample / "depth.png").write_bytes(encode_depth_png(depth))
    (sample / "meta.json").write_text(json.dumps({"intrinsics": [[0.8, 0, 0.5], [0, 0.8 * 150 / 90, 0.5], [0, 0, 1]]}))
    (folder / ".index.txt").write_text("a/b\n")


def pack(folder: Path, tar: Path, start: str = "./", mode: str = "w") -> Path:
    """Write a folder's files as a tar whose member names begin with `start`."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tar, mode) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, arcname=start + path.relative_to(folder).as_posix(), recursive=False)
    return tar


def add_member(tar: Path, name: str, data: bytes = b"x", **fields: object) -> None:
    """Append a member with any header fields, for instance `type` and `linkname`."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    with tarfile.open(tar, "a") as archive:
        archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
