"""One entry a set of the zero-shot suite: where its files lie, what their numbers mean, and which pixels are scored.

The layout is that of Marigold's evaluation tars, whose rules the literature's zero-shot tables follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from ccd_cli.benchmarks.base import Spec
from ccd_cli.benchmarks.decode import FloatMap, decode_codes, decode_floats, decode_npy, one_channel
from ccd_cli.benchmarks.regions import Region, Size, eigen, everywhere, garg, kb_crop, nyu

Decode = Callable[[bytes, Size, str], FloatMap]


@dataclass(frozen=True)
class Layout:
    """A set's files and rules."""

    spec: Spec
    folder: str
    """Folder below the data root; its tar is inside it or is `<folder>.tar`, and a list file may lie beside it as
    `<folder>.txt`."""
    tar: str
    """Name of the published tar."""
    listing: str
    """Name of the published list file, which may lie inside the folder."""
    photo: re.Pattern[str]
    """Matches the path of every photo."""
    depth: str
    """Path of a photo's depth, from the groups of `photo`."""
    decode: Decode
    """Bytes, (height, width) of the photo and the file's name in; depth in meters out."""
    valid: tuple[float, float] | None
    """Depth strictly between these is scored; None: `mask` alone decides."""
    mask: str = ""
    """Path of a photo's mask `.npy`, from the groups of `photo`."""
    frame: Callable[[Size], Region] = everywhere
    """What is cut out of photo and depth before anything else."""
    region: Callable[[Size], Region] = everywhere
    """Where pixels are scored, in the cut frame."""
    prefix: str = ""
    """Start of a photo's base name that a prediction's name leaves out."""
    depthless: bool = False
    """Whether photos without depth belong to the published set and drop out."""
    count: int = 0
    """Samples of the published set."""
    digest: str = ""
    """sha256 of the published set's sorted photo paths, joined by newlines."""
    groups: tuple[tuple[str, int], ...] = ()
    """(start of the photo path, samples there) of the published set, where known."""
    spelling: tuple[str, str] = ("", "")
    """Another start of photo paths that is in use, and the published one."""


def png_depth(per_meter: float) -> Decode:
    """Return a rule for 16-bit PNGs whose codes are meters times `per_meter`; 0 is unknown."""

    def decode(data: bytes, size: Size, name: str) -> FloatMap:
        return (decode_codes(data, name)[0] / per_meter).astype(np.float32)

    return decode


def npy_depth(data: bytes, size: Size, name: str) -> FloatMap:
    """Read an `.npy` map in meters."""
    return one_channel(decode_npy(data, name), name).astype(np.float32)


NYUV2 = Layout(
    Spec(
        name="nyuv2",
        title="NYUv2",
        depth_range=(1e-3, 10.0),
        resolution=None,
        max_res=None,
        boundary=False,
        about="654 photos of the labeled test split at 480x640; raw depth (not in-painted), 0.001 < depth < 10 m, "
        "scored in rows 45:471 and columns 41:601",
    ),
    folder="nyuv2",
    tar="nyu_labeled_extracted.tar",
    listing="filename_list_test.txt",
    photo=re.compile(r"^test/(.+)/rgb_(\d+)\.png$"),
    depth=r"test/\1/depth_\2.png",
    decode=png_depth(1000.0),
    valid=(1e-3, 10.0),
    region=nyu,
    prefix="rgb_",
    count=654,
    digest="507e5cc85ce4c595f0c1a5a319edc36e9fa6529f7849631b67680f003c8ff2b2",
)

KITTI = Layout(
    Spec(
        name="kitti",
        title="KITTI (Eigen)",
        depth_range=(1e-5, 80.0),
        resolution=None,
        max_res=None,
        boundary=False,
        about="652 photos of the Eigen test split that have annotated depth (697 less 45); photo and depth cut to the "
        "352x1216 benchmark crop, then 0.00001 < depth < 80 m, scored in the Eigen crop of that frame "
        "(rows 117:321, columns 43:1172)",
    ),
    folder="kitti",
    tar="kitti_eigen_split_test.tar",
    listing="eigen_test_files_with_gt.txt",
    photo=re.compile(r"^(\d{4}_\d\d_\d\d)/(\1_drive_\d{4}_sync)/image_02/data/(\d+)\.png$"),
    depth=r"\2/proj_depth/groundtruth/image_02/\3.png",
    decode=png_depth(256.0),
    valid=(1e-5, 80.0),
    frame=kb_crop,
    region=eigen,
    depthless=True,
    count=652,
    digest="f9b578d800ba9280c4afca190140a426079efa26c27649dd9912affebdaae730",
)

KITTI_GARG = replace(
    KITTI,
    spec=replace(
        KITTI.spec,
        name="kitti-garg",
        title="KITTI (Garg)",
        about=KITTI.spec.about.replace("Eigen crop", "Garg crop").replace("117:321", "143:349"),
    ),
    region=garg,
)

ETH3D = Layout(
    Spec(
        name="eth3d",
        title="ETH3D",
        depth_range=(1e-5, inf),
        resolution=756,
        max_res=1024,
        boundary=False,
        about="454 distorted DSLR photos at 4032x6048 with rendered laser-scan depth; depth > 0.00001 m, no crop; photos "
        "are shrunk to 756 pixels for the model, and the fit sees every row and 1024 of the columns",
    ),
    folder="eth3d",
    tar="eth3d.tar",
    listing="eth3d_filename_list.txt",
    photo=re.compile(r"^rgb/([^/]+)/images/dslr_images/(.+)\.JPG$"),
    depth=r"depth/\1_dslr_depth/\1/ground_truth_depth/dslr_images/\2.JPG",
    decode=decode_floats,
    valid=(1e-5, inf),
    count=454,
    digest="2eaec364cf5eea085a8308b28eb6f000364acb3a82ea16af3dc559a9ad4c4e16",
    groups=tuple(
        (f"rgb/{scene}/", count)
        for scene, count in {
            "courtyard": 38,
            "delivery_area": 44,
            "electro": 45,
            "facade": 76,
            "kicker": 31,
            "meadow": 15,
            "office": 26,
            "pipes": 14,
            "playground": 38,
            "relief": 31,
            "relief_2": 31,
            "terrace": 23,
            "terrains": 42,
        }.items()
    ),
)

SCANNET = Layout(
    Spec(
        name="scannet",
        title="ScanNet",
        depth_range=(1e-3, 10.0),
        resolution=None,
        max_res=None,
        boundary=False,
        about="800 frames drawn from the validation scenes, photos at the depth's size; 0.001 < depth < 10 m, no crop",
    ),
    folder="scannet",
    tar="scannet_val_sampled_800_1.tar",
    listing="scannet_val_sampled_list_800_1.txt",
    photo=re.compile(r"^(scene\d{4}_\d\d)/color/(\d+)\.jpg$"),
    depth=r"\1/depth/\2.png",
    decode=png_depth(1000.0),
    valid=(1e-3, 10.0),
    count=800,
    digest="4ee072e18615bc4307816e04d4927c7a991848b2b61ac68fc1e1fe45e29a5cb7",
)

DIODE = Layout(
    Spec(
        name="diode",
        title="DIODE",
        depth_range=(0.6, 350.0),
        resolution=640,
        max_res=None,
        boundary=False,
        about="771 validation photos (325 indoors, 446 outdoor) at 768x1024; the set's own mask decides alone (it is not "
        "narrowed to 0.6 - 350 m, the range to which predictions are clipped), no crop; photos are shrunk to 640 pixels "
        "for the model",
    ),
    folder="diode",
    tar="diode_val.tar",
    listing="diode_val_all_filename_list.txt",
    photo=re.compile(r"^(.+)\.png$"),
    depth=r"\1_depth.npy",
    mask=r"\1_depth_mask.npy",
    decode=npy_depth,
    valid=None,
    count=771,
    digest="8c1093e7b2b637f1cedb1b814924b2b23800e6907b34b111a1eb9ea5682590cd",
    groups=(("indoors/", 325), ("outdoor/", 446)),
    spelling=("outdoors/", "outdoor/"),
)

LAYOUTS = {layout.spec.name: layout for layout in (NYUV2, KITTI, ETH3D, SCANNET, DIODE, KITTI_GARG)}
ZERO_SHOT = ("nyuv2", "kitti", "eth3d", "scannet", "diode")
