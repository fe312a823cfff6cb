"""One label as a PNG: how exact, and what has no value."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ccd_cli.core.errors import CcdError
from ccd_cli.labels.format import INFINITE, decode_image, decode_label, encode_label, encoding_of
from ccd_cli.losses.disparity import fit_affine_depth, to_disparity
from ccd_cli.losses.terms import normalized_l1, reduce_loss
from ccd_cli.media.photos import read_photo
from tests.tiny_shards import SIZE

KINDS = ["disparity", "depth", "affine-depth", "metric"]
INVERSE = ("depth", "metric")


def back(made, size, kind):
    return decode_label(*made, size, "x", encoding_of(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("low", "high"), [(0.1, 9.0), (1e-4, 2e-4), (3.0, 400.0)])
def test_the_error_is_at_most_half_a_step_and_invalid_stays_invalid(kind, low, high):
    values = np.random.default_rng(1).uniform(low, high, (31, 31)).astype(np.float32)
    values[:3] = np.nan
    values[3, 0] = np.inf
    png, scale, offset = encode_label(values, kind)
    decoded, valid = back((png, scale, offset), 31, kind)
    known = np.isfinite(values)
    assert (valid == (known | (np.isinf(values) & (kind in INVERSE)))).all()
    assert np.isnan(decoded[~valid]).all()
    assert (decoded[3, 0] == np.inf) == (kind in INVERSE), "sky is a value of depth"
    as_learned = (lambda v: 1 / v.astype(np.float64)) if kind in INVERSE else (lambda v: v.astype(np.float64))
    want = as_learned(values[known])
    error = np.abs(as_learned(decoded[known]) - want)
    assert error.max() <= scale / 2 + np.spacing(np.float32(want.max()))
    assert scale == pytest.approx(np.ptp(want) / (65533 if kind in INVERSE else 65534), rel=1e-6)


@pytest.mark.parametrize("kind", INVERSE)
@pytest.mark.parametrize("sky", [10_000.0, np.inf])
def test_a_far_sky_costs_a_near_object_nothing(kind, sky):
    """An object at 0.3 m with relief of a tenth of a millimeter, before a sky at 10 km: version 1 kept two codes of it."""
    depth = np.full((40, 40), sky, np.float32)
    relief = np.linspace(0.3, 0.34, 800, dtype=np.float32).reshape(20, 40)
    depth[20:] = relief
    decoded, valid = back(encode_label(depth, kind), 40, kind)
    assert valid.all()
    assert np.abs(decoded[20:] - relief).max() < 5e-6, "meters"
    assert len(np.unique(decoded[20:])) == 800
    assert (decoded[:20] == np.float32(sky)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalization", ["global", "hybrid"])
def test_live_and_stored_labels_give_the_same_loss(kind, normalization):
    """For every kind, over sky, holes, zeros and ranges from centimeters to kilometers."""
    rng = np.random.default_rng(3)
    ranges = ((3.0, 0.0), (80.0, 0.2), (10_000.0, 0.3)) if kind != "affine-depth" else ((3.0, 0.0),)
    for far, infinite in ranges:
        depth = np.exp(rng.uniform(np.log(0.3), np.log(far), (64, 64))).astype(np.float32)
        if kind in INVERSE:
            depth[rng.random(depth.shape) < infinite] = np.inf
            depth[:, :3] = 0.0
        depth[3:5] = np.nan
        values = 1 / depth if kind == "disparity" else depth
        stored, _ = back(encode_label(values, kind), 64, kind)
        student = torch.from_numpy(rng.normal(size=(1, 64, 64)).astype(np.float32))
        losses, masks = [], []
        for label in (values, stored):
            made = torch.from_numpy(label)[None]
            if kind == "affine-depth":  # fitted, it is learned as disparity
                made = fit_affine_depth(made, torch.from_numpy(3 * depth + 0.5)[None])
            disparity, valid = to_disparity(made, "disparity" if kind == "disparity" else "depth")
            losses.append(reduce_loss(normalized_l1(student, disparity, valid, normalization), valid).item())
            masks.append(valid)
        assert torch.equal(*masks) and not masks[0][0, 3].any()
        assert losses[1] == pytest.approx(losses[0], rel=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_and_empty_labels(kind):
    constant, valid = back(encode_label(np.full((4, 4), 2.5, np.float32), kind), 4, kind)
    assert (constant == 2.5).all()
    assert valid.all()
    assert not back(encode_label(np.full((4, 4), np.nan, np.float32), kind), 4, kind)[1].any()
    sky, valid = back(encode_label(np.full((4, 4), np.inf, np.float32), kind), 4, kind)
    assert valid.all() == (sky == np.inf).all() == (kind in INVERSE)


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_infinite_values_do_not_stretch_the_rest(kind, infinite):
    values = np.linspace(1.0, 2.0, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    plain = encode_label(values, kind)[1:]
    sky = values.copy()
    sky[2:4, 1:] = infinite
    png, scale, offset = encode_label(sky, kind)
    with Image.open(io.BytesIO(png)) as image:
        codes = np.asarray(image)
    is_sky = kind in INVERSE and infinite > 0
    assert (codes[np.isinf(sky)] == (INFINITE if is_sky else 0)).all()
    assert (codes[np.isfinite(sky)] > (INFINITE if kind in INVERSE else 0)).all()
    assert (scale, offset) == plain


def test_depth_that_live_training_leaves_out_has_no_value_and_does_not_stretch_the_rest():
    values = np.linspace(1.0, 2.0, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    plain = encode_label(values, "depth")[1:]
    for wrong in (0.0, -3.0, 1e-6):
        values[0, 0] = wrong
        made = encode_label(values, "depth")
        assert made[2] + 65535 * made[1] == pytest.approx(plain[1] + 65535 * plain[0], rel=0.02)
        assert not back(made, SIZE, "depth")[1][0, 0]
