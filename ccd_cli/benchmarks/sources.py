"""Where each set comes from, how large it is and what must be agreed to. Free of numpy: `ccd data list` is quick."""

from __future__ import annotations

from dataclasses import dataclass

TARS = "https://share.phys.ethz.ch/~pf/bingkedata/marigold/evaluation_dataset/"
"""Marigold's evaluation tars, read as they are."""
BUNDLE = "https://huggingface.co/datasets/Ruicheng/monocular-geometry-evaluation"
"""MoGe's bundle, one zip a set."""


@dataclass(frozen=True)
class Source:
    """One set for `ccd data list`."""

    name: str
    suite: str
    samples: int
    place: str
    """Where it belongs, below the data root."""
    ready: str
    """Address of what is read as it is."""
    official: str
    """Address of the authors' own page; `ccd data prepare` converts what is downloaded there."""
    archives: str
    """What to download from the authors."""
    size: str
    """Of the archives, where their authors state it."""
    terms: str


SOURCES = {
    source.name: source
    for source in (
        Source(
            "nyuv2",
            "zero-shot",
            654,
            "nyuv2/ (nyu_labeled_extracted.tar, or its test/ folder)",
            TARS + "nyuv2/",
            "https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html",
            "nyu_depth_v2_labeled.mat and splits.mat",
            "about 2.8 GB",
            "see the authors' page; cite Silberman et al. 2012",
        ),
        Source(
            "kitti",
            "zero-shot",
            652,
            "kitti/ (kitti_eigen_split_test.tar, or its folders)",
            TARS + "kitti/",
            "https://www.cvlibs.net/datasets/kitti/",
            "data_depth_annotated.zip, the raw drives of the Eigen test split (sync), and the split's list file",
            "about 14 GB and the drives",
            "registration; CC BY-NC-SA 3.0: no commercial use",
        ),
        Source(
            "eth3d",
            "zero-shot",
            454,
            "eth3d/ (eth3d.tar, or its rgb/ and depth/ folders)",
            TARS + "eth3d/",
            "https://www.eth3d.net/datasets",
            "multi-view high-resolution training: distorted JPG photos and depth (.7z, unpacked with 7z x)",
            "not stated here; unpacked depth is 44 GB",
            "CC BY-NC-SA 4.0: no commercial use",
        ),
        Source(
            "scannet",
            "zero-shot",
            800,
            "scannet/ (scannet_val_sampled_800_1.tar, or its scene folders)",
            TARS + "scannet/",
            "http://www.scan-net.org/",
            "frames exported from the .sens files (color/N.jpg, depth/N.png), and the sample's list file",
            "depends on the scenes",
            "a signed terms-of-use form; research and teaching only",
        ),
        Source(
            "diode",
            "zero-shot",
            771,
            "diode/ (diode_val.tar, or its indoors/ and outdoor/ folders)",
            TARS + "diode/",
            "https://diode-dataset.org/",
            "val.tar.gz (md5 5c895d09201b88973c8fe4552a67dd85)",
            "2.6 GB",
            "MIT license",
        ),
        Source(
            "moge",
            "moge",
            7500,
            "moge/NYUv2/.index.txt, moge/KITTI/.index.txt and so on: ten sets, each zip unpacked",
            BUNDLE,
            "",
            "",
            "see the page",
            "those of the ten sets; see the page",
        ),
        Source(
            "da-2k",
            "da-2k",
            1029,
            "da-2k/annotations.json and da-2k/images/<scene type>/ (DA-2K.zip, unzipped)",
            "https://huggingface.co/datasets/depth-anything/DA-2K",
            "https://github.com/DepthAnything/Depth-Anything-V2/blob/main/DA-2K.md",
            "",
            "see the page",
            "see the page; cite Yang et al. 2024",
        ),
        Source(
            "builtin",
            "builtin",
            60,
            "nowhere: rendered when it is used",
            "",
            "",
            "",
            "none",
            "none",
        ),
    )
}
