"""One label as a PNG: how exact, and what has no value."""

import io

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.errors import CcdError
from ccd_cli.labels.format import decode_image, decode_label, encode_label
from ccd_cli.media.photos import read_photo
from tests.tiny_shards import SIZE


@pytest.mark.parametrize("kind", ["disparity", "depth", "affine-depth", "metric"])
@pytest.mark.parametrize(("low", "high"), [(0.1, 9.0), (1e-4, 2e-4), (3.0, 400.0)])
def test_the_error_is_at_most_half_a_step_and_invalid_stays_invalid(kind, low, high):
    values = np.random.default_rng(1).uniform(low, high, (31, 31)).astype(np.float32)
    values[:3] = np.nan
    values[3, 0] = np.inf
    png, scale, offset = encode_label(values, kind)
    decoded, valid = decode_label(png, scale, offset, 31, "x")
    assert (valid == np.isfinite(values)).all()
    assert np.isnan(decoded[~valid]).all()
    error = np.abs(decoded[valid].astype(np.float64) - values[valid])
    bound = scale / 2 if kind != "metric" or low > scale / 2 else scale  # under half a millimeter becomes one
    assert error.max() <= bound + np.spacing(np.float32(high))
    assert offset == 0 if kind == "metric" else scale == pytest.approx((high - low) / 65534, rel=0.05)
    if kind == "metric":
        assert scale == pytest.approx(0.001 * np.ceil(high / 65.536))


def test_constant_and_empty_labels():
    constant, valid = decode_label(*encode_label(np.full((4, 4), 2.5, np.float32), "disparity"), 4, "x")
    assert (constant == 2.5).all()
    assert valid.all()
    assert not decode_label(*encode_label(np.full((4, 4), np.nan, np.float32), "depth"), 4, "x")[1].any()


def test_a_photo_from_its_bytes_is_the_photo_from_its_file(tmp_path):
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 255, (20, 30, 4), np.uint8), "RGBA")
    deep = Image.fromarray(rng.integers(0, 65535, (20, 30)).astype(np.uint16))
    turned = Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba.save(tmp_path / "a.png")
    deep.save(tmp_path / "b.png")
    turned.save(tmp_path / "c.jpg", exif=exif)
    for path in tmp_path.iterdir():
        assert np.array_equal(decode_image(path.read_bytes(), "x"), read_photo(path)), path
    assert decode_image((tmp_path / "c.jpg").read_bytes(), "x").shape == (30, 20, 3)


def test_labels_that_are_no_16_bit_pngs_of_the_size(tmp_path):
    def swapped(picture, mode="PNG"):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format=mode)
        return buffer.getvalue()

    good = encode_label(np.ones((SIZE, SIZE), np.float32), "disparity")[0]
    for data in (
        swapped(np.zeros((SIZE, SIZE), np.uint8)),
        swapped(np.zeros((SIZE, SIZE, 3), np.uint8)),
        swapped(np.zeros((SIZE + 1, SIZE), np.uint16)),
        swapped(np.zeros((SIZE, SIZE), np.uint16), "TIFF"),
        good[:40],
        b"",
    ):
        with pytest.raises(CcdError, match="x"):
            decode_label(data, 1.0, 0.0, SIZE, "x")


@pytest.mark.parametrize("kind", ["disparity", "depth", "affine-depth", "metric"])
@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_infinite_depth_has_no_value_and_does_not_stretch_the_rest(kind, infinite):
    values = np.linspace(1.0, 2.0, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    plain = encode_label(values, kind)[1:]
    sky = values.copy()
    sky[2:4, 1:] = infinite
    png, scale, offset = encode_label(sky, kind)
    with Image.open(io.BytesIO(png)) as image:
        codes = np.asarray(image)
    assert ((codes == 0) == np.isinf(sky)).all()
    assert (scale, offset) == plain
