"""The crops of depth protocols, as half-open rows and columns. Every fraction goes through `int()`, as its authors do."""

from __future__ import annotations

from ccd_cli.core.errors import ImageError

Region = tuple[slice, slice]
Size = tuple[int, int]

KB = (352, 1216)
"""KITTI's benchmark crop: lower middle of the frame."""
NYU = (480, 640)


def kb_crop(size: Size) -> Region:
    """Return the benchmark crop (352 x 1216) of a KITTI frame of (height, width); raises ImageError for a smaller one."""
    height, width = size
    if height < KB[0] or width < KB[1]:
        raise ImageError(f"a KITTI frame of {width}x{height} has no room for the {KB[1]}x{KB[0]} benchmark crop")
    top, left = height - KB[0], int((width - KB[1]) / 2)
    return slice(top, top + KB[0]), slice(left, left + KB[1])


def eigen(size: Size) -> Region:
    """Return the region that is scored after Eigen, of a KITTI frame of (height, width)."""
    return _fractions(size, 0.3324324, 0.91351351, 0.0359477, 0.96405229)


def garg(size: Size) -> Region:
    """Return the region that is scored after Garg, of a KITTI frame of (height, width)."""
    return _fractions(size, 0.40810811, 0.99189189, 0.03594771, 0.96405229)


def nyu(size: Size) -> Region:
    """Return the region of an NYUv2 frame, which must have 480 x 640 pixels, that is scored after Eigen."""
    if size != NYU:
        raise ImageError(f"an NYUv2 frame has 640x480 pixels, not {size[1]}x{size[0]}")
    return slice(45, 471), slice(41, 601)


def everywhere(size: Size) -> Region:
    """Return the whole frame."""
    return slice(0, size[0]), slice(0, size[1])


def _fractions(size: Size, top: float, bottom: float, left: float, right: float) -> Region:
    height, width = size
    return slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))
