"""Photos, lists of them, and words that stand for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import refusals, saved, values_seed


def photo_readers() -> list[Reader]:
    from ccd_cli.benchmarks.decode import decode_npy, decode_rgb
    from ccd_cli.media.exif import panorama_note, read_focal_35mm
    from ccd_cli.media.find import find_media, list_photos
    from ccd_cli.media.photos import check_header, read_photo

    rgb = Image.fromarray((np.random.default_rng(0).uniform(0, 255, (40, 50, 3))).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0xA405] = 26
    files = {f"a.{kind}": saved(lambda b, kind=kind: rgb.save(b, kind)) for kind in ("png", "webp", "bmp", "tiff")}
    files["a.jpg"] = saved(lambda b: rgb.save(b, "JPEG", exif=exif))
    files["g.png"] = saved(lambda b: Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)).save(b, "PNG"))

    files |= _more_photos(rgb, exif)

    def notes(path: Path) -> object:
        return panorama_note(path, 40, 50, False)

    def photo(place: Path, name: str) -> None:
        problems = refusals(
            place / name,
            read_photo,
            check_header,
            read_focal_35mm,
            notes,
            lambda path: decode_rgb(path.read_bytes(), path.name),
        )
        if problems:
            raise problems[0]

    def lists(place: Path, name: str) -> None:
        find_media([str(place / name)], [], place / "out")
        list_photos([str(place / name)])

    def words(place: Path, word: str) -> None:
        found, bad = find_media([word, "-"], [word, f"~{word}"], place / "out")
        assert found or bad or not word.strip() or word.startswith("#")
        list_photos([word])

    listing = b"# photos\na.png\n./a.jpg\n~/x.png\n~nosuchuser/x.png\nsub/b.webp\n\n"
    lists_of = {"list.txt": listing, "wide.txt": listing.decode().encode("utf-16")}
    npy = saved(lambda b: np.save(b, values_seed()))
    return [
        Reader("photos", photo, files, dict.fromkeys(files, "bytes"), weight=6),
        Reader(
            "list files",
            lists,
            lists_of | {"a.png": files["a.png"]},
            {"list.txt": "text", "wide.txt": "bytes"},
            weight=2,
        ),
        Reader(
            "input words",
            words,
            words=("a.png", "pics/*.jpg", "~/pics", "~nosuchuser/a.png", "list.txt", "-"),
            weight=2,
        ),
        Reader(
            "npy members",
            lambda place, name: decode_npy((place / name).read_bytes(), name),
            {"a.npy": npy},
            {"a.npy": "text"},
            weight=2,
        ),
    ]


def _more_photos(rgb: Image.Image, exif: Image.Exif) -> dict[str, bytes]:
    """Photos as phones, scanners, printers and web sites make them."""
    import cv2

    gray = rgb.convert("L")
    xmp = b"<x:xmpmeta><rdf:Description GPano:ProjectionType='equirectangular'/></x:xmpmeta>"
    animated = {"save_all": True, "append_images": [rgb.rotate(90)], "duration": 90}
    pillow: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "mpo.jpg": (rgb, "MPO", {"save_all": True, "append_images": [rgb], "exif": exif}),
        "cmyk.jpg": (rgb.convert("CMYK"), "JPEG", {}),
        "progressive.jpg": (gray, "JPEG", {"progressive": True, "xmp": xmp}),
        "palette.png": (rgb.quantize(16), "PNG", {"transparency": 3}),
        "alpha.png": (rgb.convert("RGBA"), "PNG", {"exif": exif}),
        "one.png": (gray.convert("1"), "PNG", {}),
        "animated.gif": (rgb, "GIF", animated),
        "animated.webp": (rgb, "WEBP", animated),
        "lzw.tiff": (rgb, "TIFF", {"compression": "tiff_lzw", "exif": exif}),
        "fax.tiff": (gray.convert("1"), "TIFF", {"compression": "group4"}),
        "jpeg.tiff": (rgb, "TIFF", {"compression": "jpeg"}),
        "jpeg2000.jp2": (rgb, "JPEG2000", {}),
    }
    deep = (np.asarray(rgb).astype(np.uint16) * 257)[..., ::-1]
    files = {
        name: saved(lambda b, image=image, kind=kind, more=more: image.save(b, kind, **more))
        for name, (image, kind, more) in pillow.items()
    }
    return files | {f"deep.{kind}": cv2.imencode(f".{kind}", deep)[1].tobytes() for kind in ("png", "tiff")}
