"""The mapping from files of the official archives to files of a set."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from ccd_cli.benchmarks.decode import decode_rgb
from ccd_cli.benchmarks.layouts import Layout
from ccd_cli.benchmarks.members import safe_name
from ccd_cli.benchmarks.zero_shot import Entry, pair
from ccd_cli.core.errors import CcdError
from ccd_cli.prepare.archives import Item

SCANNET_SIZE = (640, 480)
"""Width and height of ScanNet's depth, to which its images are resized."""
SCANNET_EVERY = 100
"""Without a list: every frame whose number is a multiple of this, as in the published sample."""

Change = Callable[[bytes, str], bytes]


@dataclass(frozen=True)
class Job:
    """Write `item` to `target` inside the set, converted by `change` where there is one."""

    item: Item
    target: str
    change: Change | None = None


@dataclass(frozen=True)
class Move:
    """Files whose name matches `pattern` become `target`; the group `number` (0: none) fills its {} with six digits."""

    pattern: re.Pattern[str]
    target: str
    number: int = 0
    change: Change | None = None


def shrink_image(data: bytes, name: str) -> bytes:
    """Return a ScanNet image as JPEG at the size of its depth; one of that size is returned unchanged.

    Raises ImageError for a damaged image.
    """
    rgb = decode_rgb(data, name)
    if (rgb.shape[1], rgb.shape[0]) == SCANNET_SIZE:
        return data
    file = BytesIO()
    small = Image.fromarray(rgb).resize(SCANNET_SIZE, Image.Resampling.BILINEAR)
    small.save(file, format="JPEG", quality=98, subsampling=0)
    return file.getvalue()


MOVES: dict[str, tuple[Move, ...]] = {
    "kitti": (
        Move(re.compile(r"(?:^|/)(\d{4}_\d\d_\d\d)/(\1_drive_\d{4}_sync/image_02/data/\d+\.png)$"), r"\1/\2"),
        Move(re.compile(r"(?:^|/)(\d{4}_\d\d_\d\d_drive_\d{4}_sync/proj_depth/groundtruth/image_02/\d+\.png)$"), r"\1"),
    ),
    "eth3d": (
        Move(re.compile(r"(?:^|/)([^/]+)/images/dslr_images/([^/]+\.JPG)$"), r"rgb/\1/images/dslr_images/\2"),
        Move(
            re.compile(r"(?:^|/)([^/]+)/ground_truth_depth/dslr_images/([^/]+\.JPG)$"),
            r"depth/\1_dslr_depth/\1/ground_truth_depth/dslr_images/\2",
        ),
    ),
    "scannet": (
        Move(re.compile(r"(?:^|/)(scene\d{4}_\d\d)/color/(\d{1,6})\.jpg$"), r"\1/color/{}.jpg", 2, shrink_image),
        Move(re.compile(r"(?:^|/)(scene\d{4}_\d\d)/depth/(\d{1,6})\.png$"), r"\1/depth/{}.png", 2),
    ),
    "diode": (Move(re.compile(r"(?:^|/)((?:indoors|outdoors?)/.+(?:\.png|_depth\.npy|_depth_mask\.npy))$"), r"\1"),),
}


def plan(layout: Layout, items: Iterable[Item], listed: list[Entry] | None) -> tuple[list[Job], list[str]]:
    """Return (jobs, listed files that are in no archive).

    With a list its samples are taken, otherwise every image that has depth. Raises CcdError where nothing is found.
    """
    jobs: dict[str, Job] = {}
    for item in items:
        for move in MOVES[layout.spec.name]:
            match = move.pattern.search(item.name)
            if match and (listed is not None or _sampled(move, match)):
                target = safe_name(_target(move, match))
                jobs.setdefault(target, Job(item, target, move.change))
    entries = pair(layout, jobs.keys())[0] if listed is None else listed
    wanted = [path for entry in entries for path in (entry.rgb, entry.depth, entry.mask) if path]
    found = [jobs[path] for path in wanted if path in jobs]
    if not found:
        raise CcdError(
            f"No image of {layout.spec.title} with its depth was found among the files.",
            "`ccd data list` says what to download; .7z archives must be unpacked first (7z x FILE).",
        )
    return found, [path for path in wanted if path not in jobs]


def _sampled(move: Move, match: re.Match[str]) -> bool:
    return not move.number or int(match.group(move.number)) % SCANNET_EVERY == 0


def _target(move: Move, match: re.Match[str]) -> str:
    target = match.expand(move.target)
    return target.format(f"{int(match.group(move.number)):06d}") if move.number else target
