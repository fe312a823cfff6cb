"""Reading photos."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core import memory
from ccd_cli.core.errors import ImageError
from ccd_cli.core.memory import MemoryBudget
from ccd_cli.media import photos as module
from ccd_cli.media.photos import check_header, load_photo, read_photo


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def test_modes_become_upright_rgb(tmp_path):
    ramp = (np.arange(30 * 40).reshape(30, 40) * 50 % 65536).astype(np.uint16)
    wide = read_photo(save(tmp_path / "16.png", ramp))
    assert wide.shape == (30, 40, 3)
    assert np.abs(wide[..., 0].astype(float) - ramp / 257).max() <= 0.51
    clear = np.zeros((30, 40, 4), np.uint8)
    assert (read_photo(save(tmp_path / "clear.png", clear)) == 255).all()  # fully transparent over white
    soft = np.full((30, 40, 4), (10, 20, 30, 255), np.uint8)
    soft[:, -1, 3] = 200  # the border of a screenshot: its colors are its own
    assert (read_photo(save(tmp_path / "soft.png", soft)) == (10, 20, 30)).all()
    soft[0, 0, 3] = 100
    assert read_photo(save(tmp_path / "cut.png", soft))[0, 0, 0] == round((10 * 100 + 255 * 155) / 255)
    gray = read_photo(save(tmp_path / "gray.png", np.full((30, 40), 7, np.uint8)))
    assert (gray == 7).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    color = np.zeros((30, 40, 3), np.uint8)
    color[:, :20] = 255
    turned = read_photo(save(tmp_path / "turned.jpg", color, exif=exif, quality=95))
    assert turned.shape == (40, 30, 3)
    assert turned[:18].mean() > 250
    assert turned[22:].mean() < 5


def test_damaged_files_are_errors_not_gray(tmp_path):
    rng = np.random.default_rng(0)
    whole = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(whole, "jpeg")
    (tmp_path / "cut.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    assert check_header(tmp_path / "cut.jpg") == (200, 200)  # only decoding finds it
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello")
    save(tmp_path / "small.png", np.zeros((8, 100, 3), np.uint8))
    for name, word in {
        "cut.jpg": "damaged",
        "empty.jpg": "empty",
        "text.png": "not a readable",
        "small.png": "under 16",
        "gone.png": "no such",
    }.items():
        with pytest.raises(ImageError, match=word):
            read_photo(tmp_path / name)


def test_size_is_checked_before_memory_is_taken(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.zeros((100, 100, 3), np.uint8))
    monkeypatch.setattr(module, "MAX_PIXELS", 9_999)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="megapixels"):
        read_photo(path)


def test_a_name_that_no_disk_can_hold_is_an_error_of_its_own(tmp_path):
    with pytest.raises(ImageError, match="not a readable image"):
        read_photo(tmp_path / f"{'9' * 5000}.png")


def test_large_photos_are_decoded_one_by_one_where_memory_is_short(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    paths = [
        save(tmp_path / f"{i}.png", rng.integers(0, 255, (100, 100, 3), dtype=np.uint8), compress_level=0)
        for i in range(12)
    ]
    inside, most, plain = [0], [0], module._decoded

    def decoded(*arguments):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        made = plain(*arguments)
        inside[0] -= 1
        return made

    def read_all():
        most[0] = 0
        with ThreadPoolExecutor(6) as pool:
            return list(pool.map(read_photo, paths)), most[0]

    monkeypatch.setattr(module, "_decoded", decoded)
    wanted, many = read_all()
    assert many > 2
    monkeypatch.setattr(module, "DECODING", MemoryBudget())
    monkeypatch.setattr(memory, "available_memory", lambda: 100 * 100 * 10 * 2)
    found, two = read_all()
    assert two == 2
    assert all(map(np.array_equal, found, wanted))


@pytest.mark.parametrize(("name", "what"), [("a.webp", "3 frames"), ("a.png", "3 frames"), ("a.tif", "3 pages")])
def test_of_several_images_in_a_file_the_first_is_read_and_that_is_said(tmp_path, name, what):
    frames = [Image.new("RGB", (40, 20), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    photo = load_photo(tmp_path / name)
    assert photo.rgb[5, 5].argmax() == 0
    assert any(f"the first of its {what} is read" in note for note in photo.notes)
    frames[0].save(tmp_path / name)
    assert load_photo(tmp_path / name).notes == []
