"""Formats of photos, by suffix: those read here, and those that are photos all the same and need something more."""

from __future__ import annotations

from importlib.util import find_spec

from PIL import features

COMMON = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".tga",
        ".pcx",
        ".qoi",
        ".mpo",
    ]
)
"""What Pillow reads in every build."""
AVIF = frozenset({".avif"})
JPEG2000 = frozenset({".jp2", ".j2k", ".j2c", ".jpf", ".jpx"})
HEIC = frozenset({".heic", ".heif", ".hif"})
RAW = frozenset(
    [
        ".dng",
        ".cr2",
        ".cr3",
        ".crw",
        ".nef",
        ".nrw",
        ".arw",
        ".srf",
        ".sr2",
        ".raf",
        ".orf",
        ".rw2",
        ".pef",
        ".srw",
        ".x3f",
        ".3fr",
        ".fff",
        ".iiq",
        ".erf",
        ".mrw",
        ".kdc",
        ".dcr",
        ".mos",
        ".mef",
        ".rwl",
        ".gpr",
    ]
)
"""Sensor data of cameras; many of them are TIFF files, of which a plain reader sees the small preview alone."""
UNREAD = frozenset(
    [
        ".jxl",
        ".psd",
        ".psb",
        ".exr",
        ".hdr",
        ".svg",
        ".eps",
        ".xcf",
        ".jxr",
        ".wdp",
        ".dds",
        ".ico",
        ".icns",
        ".sgi",
        ".pict",
        ".djvu",
        ".kra",
        ".heics",
        ".avifs",
        ".insp",
        ".jps",
        ".cin",
        ".dpx",
        ".fits",
        ".fit",
    ]
)
"""Pictures that ccd does not read."""
EXTRA = "pip install 'ccd-depth[heic]'"


def _readable() -> frozenset[str]:
    found = COMMON
    for suffixes, there in (
        (AVIF, "avif" in features.get_supported_modules()),
        (JPEG2000, features.check("jpg_2000")),
        (HEIC, find_spec("pillow_heif") is not None),
        (RAW, find_spec("rawpy") is not None),
    ):
        found = found | suffixes if there else found
    return found


SUFFIXES = _readable()
"""Lower-case suffixes of photos that this installation reads."""
ALL_READABLE = COMMON | AVIF | JPEG2000 | HEIC | RAW
"""Those that some installation reads."""
PICTURES = ALL_READABLE | UNREAD
"""Every suffix that says picture."""


def why_unread(suffix: str) -> str:
    """Return, for a picture's suffix that is not in SUFFIXES, why it is not read and what to do."""
    if suffix in HEIC:
        return f"HEIC needs pillow-heif: {EXTRA}"
    if suffix in RAW:
        return f"camera RAW needs rawpy: {EXTRA}"
    if suffix in AVIF | JPEG2000:
        return "this Pillow does not read it: pip install --upgrade pillow"
    return "a format that ccd does not read: convert it to PNG or JPEG"
