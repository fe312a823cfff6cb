"""What is written reads back: exactly from the raw formats, to half a step from the 16-bit one."""

import json

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.checksums import checksum
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.depth_map import Camera, checked
from ccd_cli.geometry.kinds import KINDS
from ccd_cli.media import map_write as map_files
from ccd_cli.media.map_write import CodeRange, Origin, codes16, decode16, encode16, write_maps

ORIGIN = Origin("builtin:tiny", "ab" * 32, "Apache-2.0", "0.1.0", 196, "exif", "f00d")


def random_map(seed, kind, height=23, width=31, size=1.0):
    rng = np.random.default_rng(seed)
    values = (rng.gamma(2.0, size, (height, width)) + (0.01 * size if kind != "disparity" else -size)).astype(
        np.float32
    )
    return values, rng.random((height, width)) > 0.2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(50))
def test_16_bit_is_right_to_half_a_step(kind, seed):
    power, height, width = (int(v) for v in np.random.default_rng(seed).integers((-30, 1, 1), (31, 10, 10)))
    size = 10.0 ** (power if kind != "metric" else power % 5)
    values, valid = random_map(seed, kind, height, width, size)
    codes, scale, offset = encode16(values, valid, kind)
    assert codes.dtype == np.uint16 and scale > 0 and ((codes == 0) == ~valid).all()
    exact = codes[valid].astype(np.float64) * scale + offset
    rounding = np.spacing(np.abs(values[valid])).astype(np.float64)
    assert (np.abs(exact - values[valid]) <= 0.5 * scale * (1 + 1e-6) + rounding).all()
    if kind != "metric" and valid.any():
        assert codes[valid].min() == 1
        assert codes[valid].max() in (1, 65535)  # 1: a constant
    back, known = decode16(codes, scale, offset)
    assert (known == valid).all() and np.isnan(back[~valid]).all()


def test_ends_of_the_codes_are_the_ends_of_the_map():
    values = np.linspace(-3.25, 8.5, 70000, dtype=np.float32).reshape(100, 700)
    codes, scale, offset = encode16(values, None, "disparity")
    assert codes.min() == 1 and codes.max() == 65535
    assert 1 * scale + offset == pytest.approx(-3.25, abs=1e-12) and 65535 * scale + offset == pytest.approx(
        8.5, abs=1e-12
    )


@pytest.mark.parametrize(
    ("farthest", "step"), [(0.02, 0.001), (10.0, 0.001), (65.535, 0.001), (65.6, 0.002), (80.0, 0.002), (250.0, 0.004)]
)
def test_metric_codes_are_whole_millimeters(farthest, step):
    values = np.linspace(0.01, farthest, 1000, dtype=np.float32).reshape(20, 50)
    codes, scale, offset = encode16(values, None, "metric")
    assert offset == 0 and scale == pytest.approx(step, rel=1e-12)
    assert np.abs(codes * scale - values.astype(np.float64)).max() <= step / 2 * (1 + 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("constant", [0.0, -2.5, 1e-30, 3.0, 1e30])
def test_constant_and_single_pixel_maps_are_exact(kind, constant):
    if kind == "metric" and not 0.001 <= constant < 1e6:
        constant = 2.0
    for shape in ((1, 1), (5, 7)):
        values = np.full(shape, constant, np.float32)
        back, valid = decode16(*encode16(values, None, kind))
        assert valid.all() and np.allclose(back, values, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_valid_and_not_finite(kind):
    values = np.array([[np.nan, np.inf, -np.inf, 1.0, 2.0]], np.float32)
    codes, scale, offset = encode16(values, None, kind)
    assert (codes[0, :3] == 0).all() and (codes[0, 3:] > 0).all()
    assert np.allclose(decode16(codes, scale, offset)[0][0, 3:], [1, 2])
    codes, scale, offset = encode16(values, np.zeros((1, 5), bool), kind)
    assert not codes.any() and np.isfinite([scale, offset]).all() and scale > 0


def test_tiny_and_huge_ranges():
    for low, high in ((1e-30, 2e-30), (0, 1e-38), (-3e38, 3e38), (1.0, np.nextafter(np.float32(1), np.float32(2)))):
        values = np.linspace(low, high, 50).astype(np.float32)[None]
        codes, scale, offset = encode16(values, None, "depth")
        assert np.abs(codes * scale + offset - values.astype(np.float64)).max() <= 0.51 * scale
        assert np.isfinite([scale, offset]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_raw_formats_give_back_what_was_written(kind, tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    values, valid = random_map(3, kind)
    values[0, :3] = np.nan, np.inf, 1e-3
    rgb = np.random.default_rng(0).integers(0, 256, (*values.shape, 3)).astype(np.uint8)
    made = checked(values, kind, valid, Camera(50, 51, 15.5, 11.5))
    side = write_maps(tmp_path / "sub" / "a.b", made, rgb, map_files.ITEMS, ORIGIN)
    known, out = made.valid, tmp_path / "sub"
    names = ["a.b.npy", "a.b.npz", "a.b.depth.png", "a.b.exr", "a.b.color.png", "a.b.side.png", "a.b.json"]
    assert sorted(p.name for p in out.iterdir()) == sorted(names)
    assert side == json.loads((out / "a.b.json").read_text())

    npy = np.load(out / "a.b.npy")
    assert npy.dtype == np.float32 and (npy[known] == values[known]).all() and np.isnan(npy[~known]).all()
    with np.load(out / "a.b.npz") as npz:
        assert sorted(npz.files) == ["depth", "intrinsics", "valid"]
        assert (npz["valid"] == known).all() and (npz["depth"][known] == values[known]).all()
        assert npz["intrinsics"].tolist() == [50, 51, 15.5, 11.5]
    with openexr.File(str(out / "a.b.exr")) as file:
        pixels = file.channels()["Z"].pixels
        assert pixels.dtype == np.float32 and np.array_equal(pixels, npy, equal_nan=True)
        assert file.header()["kind"] == kind
    with Image.open(out / "a.b.depth.png") as image:
        codes = np.asarray(image)
        assert image.mode.startswith("I;16")
    back, seen = decode16(codes.astype(np.uint16), side["scale"], side["offset"])
    assert (seen == known).all() and np.abs(back - values)[known].max() <= 0.51 * side["scale"]
    with Image.open(out / "a.b.side.png") as image, Image.open(out / "a.b.color.png") as color:
        assert image.height == color.height == 23 and image.width > 2 * color.width
        assert (np.asarray(image)[:, :31] == rgb).all()


def test_sidecar_says_everything(tmp_path):
    values, valid = random_map(1, "disparity")
    side = write_maps(
        tmp_path / "x", checked(values, "disparity", valid), np.zeros((23, 31, 3), np.uint8), ["npy"], ORIGIN
    )
    assert side.pop("checksums") == {"x.npy": checksum(tmp_path / "x.npy")}
    assert side.pop("seal") == json.loads((tmp_path / "x.json").read_text())["seal"]
    assert side == {
        "ccd_sidecar": 1,
        "model": "builtin:tiny",
        "checkpoint_sha256": "ab" * 32,
        "kind": "disparity",
        "direction": "larger = nearer",
        "unit": "relative, unknown scale and shift",
        "resolution": 196,
        "intrinsics": None,
        "intrinsics_source": None,
        "scale": None,
        "offset": None,
        "license": "Apache-2.0",
        "version": "0.1.0",
        "fingerprint": "f00d",
        "map": None,
        "files": {"npy": "x.npy"},
    }


def test_wrong_items_and_sizes_are_named(tmp_path):
    made = checked(np.ones((20, 20), np.float32), "depth")
    with pytest.raises(UsageProblem, match=r"pfm.*npy"):
        write_maps(tmp_path / "x", made, np.zeros((20, 20, 3), np.uint8), ["npy", "pfm"], ORIGIN)
    with pytest.raises(CcdError, match="size"):
        write_maps(tmp_path / "x", made, np.zeros((20, 21, 3), np.uint8), ["npy"], ORIGIN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_code_range_of_a_clip_never_cuts_a_value_off(kind):
    rng = np.random.default_rng(0)
    coder = CodeRange(kind)
    for t in range(60):
        if t == 30:
            coder = CodeRange.from_state(json.loads(json.dumps(coder.state())))
        far = 8.0 if t < 40 else 90.0
        values = rng.uniform(0.5, far, (8, 9)).astype(np.float32)
        scale, offset = coder.fit(t, values, None)
        error = np.abs(codes16(values, None, kind, scale, offset) * scale + offset - values.astype(np.float64))
        assert error.max() <= 0.51 * scale
    assert [part["from"] for part in coder.ranges] == [0, 40]
    assert coder.ranges[0]["scale"] <= 3.01 * 7.5 / 65534 or kind == "metric"


def test_code_range_survives_frames_without_values():
    coder = CodeRange("disparity")
    empty = np.full((4, 4), np.nan, np.float32)
    assert coder.fit(0, empty, None)[0] > 0 and coder.ranges == []
    coder.fit(1, np.ones((4, 4), np.float32), None)
    assert coder.ranges[0]["from"] == 0


@pytest.mark.parametrize("size", [(1, 1), (16, 17), (130, 67)])
@pytest.mark.parametrize("photo", [False, True])
def test_pngs_hold_every_pixel(tmp_path, size, photo):
    """Whatever filter and strategy: colors in the order RGB, codes with their high byte, as Pillow reads them."""
    rng = np.random.default_rng(0)
    for picture in (
        rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        rng.integers(0, 65536, size, dtype=np.uint16),
        np.zeros(size, np.uint16),
    ):
        map_files.write_png(tmp_path / "a.png", picture, photo)
        with Image.open(tmp_path / "a.png") as image:
            assert image.mode == ("RGB" if picture.ndim == 3 else "I;16")
            assert (np.asarray(image) == picture).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holes", [False, True])
def test_codes_are_those_of_the_formula(kind, holes):
    """Rows are coded some at a time: the same as round((value - offset) / scale) of the whole map in float64."""
    values, valid = random_map(1, kind, 3 * map_files._ROWS + 5, 40)
    values = np.abs(values) + np.float32(0.01)
    if holes:
        values[70, 3], values[0, 0] = np.nan, np.inf
    known = np.isfinite(values) & (valid if holes else True)
    codes, scale, offset = encode16(values, valid if holes else None, kind)
    expected = np.zeros(values.shape, np.uint16)
    expected[known] = np.clip(np.rint((values[known].astype(np.float64) - offset) / scale), 1, 65535)
    assert (codes == expected).all()
