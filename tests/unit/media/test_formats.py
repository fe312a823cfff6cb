"""Formats of photos: each reads as the same picture, upright, and 16-bit files as bright as they are."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from ccd_cli.core import memory
from ccd_cli.core.errors import ImageError
from ccd_cli.core.memory import MemoryBudget
from ccd_cli.media import photos as module
from ccd_cli.media.formats import ALL_READABLE, AVIF, HEIC, JPEG2000, RAW, SUFFIXES
from ccd_cli.media.photos import Limits, check_header, decode_photo, load_photo, read_photo
from tests.raw import dng

ROWS, COLUMNS = np.mgrid[:120, :160]
RGB = np.stack([COLUMNS * 255 // 159, ROWS * 255 // 119, 255 - COLUMNS * 255 // 159], -1).astype(np.uint8)
GRAY = RGB[..., 1]


def picture(path, **options):
    Image.fromarray(RGB).save(path, **options)
    return path


@pytest.mark.parametrize(
    "name",
    ["a.jfif", "a.jpe", "a.avif", "a.jp2", "a.j2k", "a.ppm", "a.tga", "a.pcx", "a.dib", "a.apng", "a.HEIC", "a.hif"],
)
def test_formats_read_as_the_same_picture(tmp_path, name):
    suffix = f".{name.split('.')[1].lower()}"
    if suffix not in SUFFIXES:
        pytest.skip(f"{suffix} is not read by this installation")
    read_photo(picture(tmp_path / "first.png"))  # registers HEIC
    forms = {".jfif": "JPEG", ".jpe": "JPEG", ".apng": "PNG", ".heic": "HEIF", ".hif": "HEIF"}
    path = picture(tmp_path / name, format=forms.get(suffix))
    found = load_photo(path)
    assert np.abs(found.rgb.astype(int) - RGB).mean() < 4
    assert found.full_size == check_header(path) == (120, 160) and not found.notes
    assert (decode_photo(path.read_bytes(), name) == found.rgb).all()


def test_a_photo_in_heic_is_upright(tmp_path):
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed (extra heic)")
    exif = Image.Exif()
    exif[0x0112] = 6
    read_photo(picture(tmp_path / "first.png"))
    found = load_photo(picture(tmp_path / "a.heic", exif=exif.tobytes(), quality=95))
    assert found.full_size == (160, 120)
    assert np.abs(found.rgb.astype(int) - np.rot90(RGB, -1)).mean() < 4
    picture(tmp_path / "b.heic").rename(tmp_path / "b.jpg")
    assert read_photo(tmp_path / "b.jpg").shape == (120, 160, 3), "whatever its name says"


@pytest.mark.parametrize("orientation", [1, 6])
def test_raw_files_are_developed_upright_and_not_their_preview(tmp_path, orientation):
    pytest.importorskip("rawpy", reason="rawpy is not installed (extra heic)")
    (tmp_path / "a.DNG").write_bytes(dng(RGB, orientation))
    right = RGB if orientation == 1 else np.rot90(RGB, -1)
    found = load_photo(tmp_path / "a.DNG")
    assert found.rgb.shape == right.shape and found.full_size == right.shape[:2]
    for channel in range(3):
        assert np.corrcoef(found.rgb[..., channel].ravel(), right[..., channel].ravel())[0, 1] > 0.9
    assert (decode_photo(dng(RGB, orientation), "1.dng") == found.rgb).all()
    assert load_photo(tmp_path / "a.DNG", Limits(5000)).rgb.shape == (*(n // 2 for n in right.shape[:2]), 3)


def test_a_tiff_that_is_a_dng_is_not_read_as_its_preview(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(RGB).save(path, tiffinfo={50706: bytes([1, 4, 0, 0])})
    with pytest.raises(ImageError, match=r"ccd-depth\[heic\]|RAW"):
        read_photo(path)
    (tmp_path / "b.dng").write_bytes(path.read_bytes()[:100])
    with pytest.raises(ImageError, match=r"b\.dng: .*RAW"):
        read_photo(tmp_path / "b.dng")


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_without_the_extra_the_command_is_named(tmp_path, name, monkeypatch):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    monkeypatch.setattr(module, "SUFFIXES", SUFFIXES - HEIC)
    monkeypatch.setattr("ccd_cli.media.pillow._decoders", lambda: ("JPEG", "PNG"))
    with pytest.raises(ImageError, match=r"pillow-heif: pip install 'ccd-depth\[heic\]'"):
        read_photo(tmp_path / name)


def test_suffixes_are_those_that_something_reads():
    assert SUFFIXES <= ALL_READABLE
    assert {".jpg", ".jfif", ".ppm", ".tga"} <= SUFFIXES
    assert SUFFIXES & RAW in (RAW, set()) and SUFFIXES & HEIC in (HEIC, set())
    assert SUFFIXES & AVIF in (AVIF, set()) and SUFFIXES & JPEG2000 in (JPEG2000, set())


def test_no_decoder_that_runs_a_program(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="not a readable image"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["gray.png", "gray.tif", "rgb.png", "rgb.tif", "rgba.png"])
def test_data_of_fewer_bits_in_16_bit_files_is_as_bright(tmp_path, name, bits):
    full = np.round((GRAY if name.startswith("gray") else RGB).astype(np.float64) * (2**bits - 1) / 255).astype(
        np.uint16
    )
    stored = full if full.ndim == 2 else full[..., ::-1]
    if name == "rgba.png":
        stored = np.dstack([stored, np.full(GRAY.shape, 65535, np.uint16)])
    cv2.imwrite(str(tmp_path / name), stored)
    found = load_photo(tmp_path / name)
    right = np.repeat(GRAY[..., None], 3, 2) if full.ndim == 2 else RGB
    assert np.abs(found.rgb.astype(int) - right).max() <= 1
    assert [f"{bits}-bit data" in note for note in found.notes] == ([] if bits == 16 else [True])
    assert (decode_photo((tmp_path / name).read_bytes(), name) == found.rgb).all()


def test_dark_photos_of_16_bits_that_are_turned(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), RGB[..., ::-1].astype(np.uint16) * 4)
    right, data = read_photo(path), path.read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:33] + chunk + data[33:])  # behind IHDR
    found = load_photo(path)
    assert (found.rgb == np.rot90(right, -1)).all() and found.full_size == (160, 120)


def test_integers_of_32_bits_and_floats_with_gaps(tmp_path):
    Image.fromarray(GRAY.astype(np.int32) * 100_000).save(tmp_path / "i.tif")
    found = load_photo(tmp_path / "i.tif")
    assert np.abs(found.rgb[..., 0].astype(int) - GRAY).max() <= 1 and "largest" in found.notes[0]
    values = GRAY / np.float32(255)
    values[:3, :3] = [np.inf, np.nan, -np.inf]
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "f.tif")
    assert np.abs(read_photo(tmp_path / "f.tif")[3:, :, 0].astype(int) - GRAY[3:]).max() <= 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "p.png", "a.tif", "g.png", "t.jpg"])
def test_large_photos_are_halved_until_they_are_within(tmp_path, name):
    path = tmp_path / name
    exif = Image.Exif()
    exif[0x0112] = 6 if name == "t.jpg" else 1
    image = Image.fromarray(GRAY.astype(np.uint16) * 257 if name == "g.png" else RGB)
    image = image.convert("P") if name == "p.png" else image
    image.save(path, exif=exif)
    whole, half, quarter = (load_photo(path, Limits(pixels)) for pixels in (19_200, 19_199, 4_000))
    assert whole.rgb.shape[:2] == whole.full_size and not whole.notes
    assert half.full_size == quarter.full_size == whole.full_size
    height, width = whole.full_size
    assert half.rgb.shape == (height // 2, width // 2, 3) and quarter.rgb.shape == (height // 4, width // 4, 3)
    means = whole.rgb.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    assert np.abs(half.rgb - means).mean() < 3
    assert f"{width}x{height}" in half.notes[0] and "--full-size" in half.notes[0]


def test_photos_are_judged_against_the_free_memory_before_they_are_decoded(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png")
    monkeypatch.setattr(module, "DECODING", MemoryBudget(100))
    monkeypatch.setattr(memory, "available_memory", lambda: 19_200 * 10)
    assert read_photo(path).shape == (120, 160, 3)
    with pytest.raises(ImageError, match=r"160x120 needs about .* GB of memory, and .* GB are free"):
        load_photo(path, Limits(None, 36))
    assert load_photo(path, Limits(5_000, 36)).rgb.shape == (60, 80, 3), "at a quarter of the pixels it fits"
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    with pytest.raises(ImageError, match="free memory"):
        read_photo(path)
    with pytest.raises(ImageError, match="GB are free"):
        decode_photo(path.read_bytes(), "a.png")


def test_sizes_are_checked_for_bytes_too(monkeypatch):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG")
    monkeypatch.setattr(module, "MAX_PIXELS", 9_999)
    with pytest.raises(ImageError, match="megapixels"):
        decode_photo(buffer.getvalue(), "a.png")


def test_a_color_tiff_of_32_bits_is_named_as_not_read(tmp_path):
    path = tmp_path / "a.tif"
    assert cv2.imwrite(str(path), np.random.default_rng(0).random((32, 40, 3), np.float32))
    for call in (check_header, read_photo):
        with pytest.raises(ImageError, match=r"a\.tif: a TIFF of a kind that is not read here \(colors of 32 bits"):
            call(path)
