"""Depth in every format: the right channel, array and value, or a refusal that lists what there is."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.errors import ImageError, UsageProblem
from ccd_cli.media.depth_files.no_depth import has_depth, parse_no_depth
from ccd_cli.media.depth_files.raw import read_raw
from ccd_cli.media.map_read import Meaning, find_map, read_map, read_reference
from ccd_cli.media.map_sidecar import FOREIGN, OF_OTHERS
from tests.depth_files import write_depth, write_exr

Z = np.linspace(1, 9, 24 * 32).astype(np.float32).reshape(24, 32)
NOISE = np.random.default_rng(0).random((24, 32)).astype(np.float32)
FORMATS = [".npy", ".npz", ".exr", ".tiff", ".tif", ".pfm", ".mat", ".h5", ".NPY", ".TIFF", ".PFM"]


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_holds_the_same_map_and_takes_a_scale(tmp_path, ending):
    write_depth(tmp_path / f"a{ending}", Z)
    assert (read_map(tmp_path / f"a{ending}", Meaning("metric")).depth_map.values == Z).all()
    write_depth(tmp_path / f"mm{ending}", Z * 1000)
    made = read_map(tmp_path / f"mm{ending}", Meaning(depth_scale=1000)).depth_map
    assert made.kind == "metric" and made.values == pytest.approx(Z, rel=1e-6)
    assert read_reference(tmp_path / f"mm{ending}", 1000) == pytest.approx(Z, rel=1e-6)
    assert find_map(tmp_path, [Path("mm")]).name == f"mm{ending}"


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint8, np.int64])
def test_meters_in_whole_numbers_need_a_scale(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.round(Z * 20).astype(dtype))
    with pytest.raises(ImageError, match=r"whole numbers and no scale.*--depth-scale"):
        read_map(tmp_path / "a.npy", Meaning("metric"))
    made = read_map(tmp_path / "a.npy", Meaning("metric", 20)).depth_map
    assert made.values == pytest.approx(Z, abs=0.026)
    assert read_map(tmp_path / "a.npy", Meaning("disparity")).depth_map.values.max() == 180


def test_millimeters_in_floating_point_are_not_taken_for_meters(tmp_path):
    np.save(tmp_path / "a.npy", np.round(Z * 1000).astype(np.float32))
    with pytest.raises(ImageError, match=r"hardly meters.*--depth-scale"):
        read_map(tmp_path / "a.npy", Meaning("metric"))
    with pytest.raises(ImageError, match="--ref-scale"):
        read_reference(tmp_path / "a.npy", None)
    assert read_map(tmp_path / "a.npy", Meaning("metric", 1)).depth_map.values.max() == 9000


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif"])
def test_eight_bits_need_an_explicit_kind(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    Image.fromarray(np.tile(np.arange(60, 92, dtype=np.uint8), (24, 1))).save(path)
    with pytest.raises(ImageError, match=r"8 bits.*--kind"):
        read_map(path, Meaning(depth_scale=10))
    stored = read_map(path, Meaning("disparity"))
    assert stored.depth_map.values[5, 20] == pytest.approx(80, abs=2) and "256 values" in stored.notes[0]
    assert read_map(path, Meaning("metric", 10)).depth_map.values[5, 20] == pytest.approx(8, abs=0.2)


def test_gray_in_three_channels_of_16_bits_is_one_map(tmp_path):
    import cv2

    codes = np.round(Z * 1000).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "gray.png"), np.dstack([codes] * 3))
    assert (read_map(tmp_path / "gray.png", Meaning(depth_scale=1)).depth_map.values == codes).all()
    cv2.imwrite(str(tmp_path / "color.png"), np.dstack([codes, codes, codes + 1]))
    with pytest.raises(ImageError, match="not a 16-bit depth map of one channel"):
        read_map(tmp_path / "color.png", Meaning(depth_scale=1))


def test_damaged_images_are_no_half_maps(tmp_path):
    Image.fromarray((NOISE * 60000).astype(np.uint16)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    write_depth(tmp_path / "a.pfm", Z)
    (tmp_path / "a.pfm").write_bytes((tmp_path / "a.pfm").read_bytes()[:-40])
    for name in ("a.png", "a.pfm"):
        with pytest.raises(ImageError, match=name):
            read_raw(tmp_path / name)


def pfm(path, scale, order="<f4"):
    path.write_bytes(f"Pf\n32 24\n{scale}\n".encode() + Z[::-1].astype(order).tobytes())
    return path


def test_the_scale_of_a_pfm_is_only_its_byte_order_and_more_is_said(tmp_path):
    """Middlebury's disparities in pixels carry 1/255; OpenCV would make 255 times of them."""
    for scale, order in (("-0.003922", "<f4"), ("0.0039", ">f4"), ("-2", "<f4"), ("1", ">f4"), ("-1.0", "<f4")):
        path = pfm(tmp_path / "a.pfm", scale, order)
        stored = read_map(path, Meaning("metric"))
        assert (read_raw(path).values == Z).all() and (stored.depth_map.values == Z).all()
        assert len(stored.notes) == (abs(float(scale)) != 1), scale
    assert "scale 0.5 in the header" in read_map(pfm(path, "-0.5"), Meaning("metric")).notes[0]
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == pytest.approx(2 * Z), "the one reader that differs"


@pytest.mark.parametrize("scale", ["0", "-0.0", "1e999", "-1e999"])
def test_a_pfm_without_a_byte_order_is_refused(tmp_path, scale):
    with pytest.raises(ImageError, match=r"a\.pfm: not a readable \.pfm \(its scale"):
        read_raw(pfm(tmp_path / "a.pfm", scale))


def test_a_color_tiff_of_32_bits_is_no_depth(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), np.dstack([Z, Z * 2, Z * 3]).astype(np.float32))
    for call in (read_raw, lambda path: read_map(path, Meaning("metric"))):
        with pytest.raises(
            ImageError, match=r"a\.tif: a TIFF of a kind that is not read \(64-bit numbers\? colors of 32 bits"
        ):
            call(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "channels",
    [
        {"Z": Z},
        {"R": NOISE, "G": NOISE / 2, "B": NOISE / 3, "A": NOISE, "Z": Z},
        {**{f"ViewLayer.Combined.{c}": NOISE * (1 + i) for i, c in enumerate("RGBA")}, "ViewLayer.Depth.Z": Z},
        {"Combined.R": NOISE, "Combined.G": NOISE / 2, "Depth.V": Z},
        {"color.R": NOISE, "color.G": NOISE / 2, "color.B": NOISE / 3, "depth.R": Z, "depth.G": Z, "depth.B": Z},
        {"Normal.X": NOISE, "Normal.Y": NOISE, "Normal.Z": NOISE, "Depth.Z": Z},
        {"ViewLayer.Mist.Z": NOISE, "ViewLayer.Depth.Z": Z, "ViewLayer.Denoising Depth.Z": NOISE},
        {"A.X": NOISE, "A.Y": NOISE, "A.Z": NOISE, "camera.Z": Z},
        {"V": Z},
        {"Y": Z},
        {"R": Z, "G": Z, "B": Z},
        {"R": NOISE, "G": NOISE / 2, "B": NOISE, "Distance": Z},
    ],
    ids=lambda channels: ",".join(channels),
)
def test_the_depth_of_an_exr_is_found_by_its_name(tmp_path, channels):
    write_exr(tmp_path / "a.exr", channels)
    assert (read_raw(tmp_path / "a.exr").values == Z).all()


@pytest.mark.parametrize(
    ("channels", "listed"),
    [
        ({"R": NOISE, "G": NOISE / 2, "B": NOISE / 3}, "B, G, R"),
        ({"Combined.R": NOISE, "Combined.G": NOISE / 2}, "Combined.G, Combined.R"),
        ({"N.X": NOISE, "N.Y": NOISE, "N.Z": NOISE}, "N.X, N.Y, N.Z"),
        ({"left.Depth.Z": NOISE, "right.Depth.Z": Z}, "left.Depth.Z, right.Depth.Z"),
        ({"ViewLayer.Mist.Z": NOISE}, "ViewLayer.Mist.Z"),
        ({"A": NOISE}, "A"),
    ],
)
def test_an_exr_without_one_depth_lists_its_channels(tmp_path, channels, listed):
    write_exr(tmp_path / "a.exr", channels)
    with pytest.raises(ImageError) as error:
        read_raw(tmp_path / "a.exr")
    assert f"({listed})" in error.value.message
    name = listed.split(", ")[-1]
    assert (read_raw(tmp_path / "a.exr", name).values == channels[name]).all()
    with pytest.raises(ImageError, match="no channel 'other'"):
        read_raw(tmp_path / "a.exr", "other")


def test_a_cropped_render_keeps_its_place(tmp_path):
    window = {"dataWindow": ((4, 2), (35, 25)), "displayWindow": ((0, 0), (39, 29))}
    write_exr(tmp_path / "a.exr", {"Z": Z}, **window)
    values = read_raw(tmp_path / "a.exr").values
    assert values.shape == (30, 40) and (values[2:26, 4:36] == Z).all() and np.isnan(values).sum() == 30 * 40 - Z.size


def test_one_array_of_another_name_is_the_map_and_several_are_listed(tmp_path):
    for name, arrays in (
        ("one", {"pred": Z}),
        ("many", {"pred": Z, "other": Z}),
        ("clip", {"depths": np.stack([Z, Z])}),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays, K=np.eye(3), valid=np.ones(Z.shape, bool))
    assert (read_raw(tmp_path / "one.npz").values == Z).all()
    with pytest.raises(ImageError, match=r"no array 'depth'.*pred, other"):
        read_raw(tmp_path / "many.npz")
    assert (read_raw(tmp_path / "many.npz", "other").values == Z).all()
    with pytest.raises(ImageError, match="depths"):
        read_raw(tmp_path / "clip.npz")
    np.savez(tmp_path / "inverse.npz", disparity=1 / Z)
    with pytest.raises(ImageError, match="'disparity' is a disparity by its name"):
        read_map(tmp_path / "inverse.npz", Meaning("metric"))
    assert (read_map(tmp_path / "inverse.npz", Meaning("disparity")).depth_map.values == 1 / Z).all()


def test_what_matlab_wrote_as_hdf5_is_turned(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["depth"] = Z.T
        file["depth"].attrs["MATLAB_class"] = np.bytes_("single")
    with (tmp_path / "new.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    assert (read_raw(tmp_path / "new.mat").values == Z).all()


def test_hdf5_does_not_reach_out_of_its_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    Z.tofile(tmp_path / "secret.bin")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["depth"] = Z
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth"] = h5py.ExternalLink("secret.h5", "depth")
        file.create_dataset("raw", Z.shape, "f4", external=[(str(tmp_path / "secret.bin"), 0, Z.nbytes)])
        virtual = h5py.VirtualLayout(Z.shape, "f4")
        virtual[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "depth", Z.shape)
        file.create_virtual_dataset("virtual", virtual)
    with pytest.raises(ImageError, match="empty"):
        read_raw(tmp_path / "a.h5")


@pytest.mark.parametrize("ending", [".npy", ".npz", ".exr", ".mat", ".h5", ".pfm", ".tiff", ".png", ".jpg"])
@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x00" * 500, b"\x93NUMPY\x01\x00\x10\x00{'descr': 1", b"MATLAB 7.3"]
)
def test_what_is_no_depth_is_named(tmp_path, ending, content):
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="a\\" + ending):
        read_raw(path)


def test_a_negative_shape_is_refused(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (-1, 4)})
        file.write(b"\0" * 64)
    with pytest.raises(ImageError, match=r"a\.npy"):
        read_raw(tmp_path / "a.npy")


def test_values_without_depth(tmp_path):
    codes = np.round(Z * 1000).astype(np.uint16)
    codes[0], codes[1] = 0, 65535
    Image.fromarray(codes).save(tmp_path / "a.png")
    stored = read_map(tmp_path / "a.png", Meaning(depth_scale=1000))
    assert (stored.depth_map.valid == (np.arange(24) > 1)[:, None]).all()
    assert len(stored.notes) == 1 and "65535" in stored.notes[0] and "--no-depth" in stored.notes[0]
    listed = read_map(tmp_path / "a.png", Meaning(depth_scale=1000, no_depth=())).depth_map
    assert listed.valid is not None and listed.values[1, 0] == pytest.approx(65.535)
    own = read_map(tmp_path / "a.png", Meaning(depth_scale=1000, no_depth=(codes[5, 0],))).depth_map
    assert own.valid is not None and not own.valid[5, 0] and own.valid[1].all()


@pytest.mark.parametrize("far", [1e10, 3.4e38, 65504.0, 65535.0])
def test_the_far_value_of_a_renderer_is_no_depth(tmp_path, far):
    values = Z.copy()
    values[:3] = far
    np.save(tmp_path / "a.npy", values)
    for kind in ("metric", "depth"):
        stored = read_map(tmp_path / "a.npy", Meaning(kind))
        assert (stored.depth_map.valid == (np.arange(24) > 2)[:, None]).all() and len(stored.notes) == 1
    known, notes = has_depth(values, "disparity", False)
    assert known.all() and not notes


def test_no_depth_is_a_list_of_numbers():
    assert (
        parse_no_depth(None) is None
        and parse_no_depth("none") == ()
        and parse_no_depth("0, 65535,1e10") == (0, 65535, 1e10)
    )
    for text in ("", "zero", "nan", "1,,2"):
        with pytest.raises(UsageProblem, match="--no-depth"):
            parse_no_depth(text)


@pytest.mark.parametrize(
    "side",
    [
        {"intrinsics": [150, 0, 80, 0, 150, 60, 0, 0, 1], "time": 1.0},
        {"intrinsics": {"fx": 150}},
        {"kind": "frame", "id": 3},
        {"scale": 2.0},
        {"scale": "1:100", "offset": "x"},
        {"version": "5.0", "shapes": [], "files": {"a": 1}},
        [{"id": 1}],
        "text",
        7,
    ],
)
def test_a_json_of_another_program_is_ignored_and_said(tmp_path, side):
    Image.fromarray(np.round(Z * 1000).astype(np.uint16)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(side))
    stored = read_map(tmp_path / "a.png", Meaning(depth_scale=1000))
    assert stored.notes == (FOREIGN,) and stored.depth_map.camera is None
    assert stored.depth_map.values == pytest.approx(Z, abs=5.1e-4)


def test_a_sidecar_speaks_of_the_files_it_lists(tmp_path):
    """A sensor's depth beside the results of `ccd predict` is not decoded by their scale."""
    Image.fromarray(np.round(Z * 1000).astype(np.uint16)).save(tmp_path / "a.png")
    side = {"ccd_sidecar": 1, "kind": "disparity", "scale": 0.5, "offset": 3.0, "files": {"png16": "a.depth.png"}}
    (tmp_path / "a.json").write_text(json.dumps(side))
    stored = read_map(tmp_path / "a.png", Meaning(depth_scale=1000))
    assert stored.depth_map.kind == "metric" and stored.notes == (OF_OTHERS,)
    assert stored.depth_map.values == pytest.approx(Z, abs=5.1e-4)


def test_sidecars_from_before_the_key_are_still_read(tmp_path):
    np.save(tmp_path / "a.npy", Z)
    side = {
        "model": "m",
        "kind": "disparity",
        "direction": "larger = nearer",
        "unit": "relative, unknown scale and shift",
    }
    (tmp_path / "a.json").write_text(json.dumps(side))
    assert read_map(tmp_path / "a.npy").depth_map.kind == "disparity"
    with pytest.raises(ImageError, match="contradicts --depth-scale"):
        read_map(tmp_path / "a.npy", Meaning(depth_scale=1000))
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ImageError, match="not a readable sidecar"):
        read_map(tmp_path / "a.npy", Meaning("metric"))


def test_maps_are_found_in_capitals_and_beside_their_images(tmp_path):
    for name in (
        "a.PNG",
        "b.Depth.PNG",
        "c-color.png",
        "c-depth.png",
        "d.color.jpg",
        "d.depth_registered.png",
        "E.png",
    ):
        Image.fromarray(np.round(Z * 1000).astype(np.uint16)).convert("I;16" if "jpg" not in name else "L").save(
            tmp_path / name
        )
    assert find_map(tmp_path, [Path("a")]).name == "a.PNG"
    assert find_map(tmp_path, [Path("b")]).name == "b.Depth.PNG"
    assert find_map(tmp_path, [Path("c-color")], image=tmp_path / "c-color.png").name == "c-depth.png"
    assert find_map(tmp_path, [Path("d.color")], image=tmp_path / "d.color.jpg").name == "d.depth_registered.png"
    with pytest.raises(ImageError, match="no depth map of this name"):
        find_map(tmp_path, [Path("e")])  # another name, not another ending
    with pytest.raises(ImageError, match="no depth map of this name"):
        find_map(tmp_path, [Path("a")], image=tmp_path / "a.PNG")


def test_the_parts_of_an_exr_are_layers(tmp_path):
    exr = pytest.importorskip("OpenEXR", reason="the package OpenEXR is not installed")
    head = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    parts = [
        exr.Part({**head, "name": "rgba"}, {"R": NOISE, "G": NOISE / 2}),
        exr.Part({**head, "name": "depth"}, {"Y": Z}),
    ]
    exr.File(parts).write(str(tmp_path / "a.exr"))
    made = read_raw(tmp_path / "a.exr")
    assert made.name == "depth.Y" and (made.values == Z).all()


@pytest.mark.parametrize("name", ["valid", "mask"])
def test_a_mask_beside_the_map_counts_under_both_names(tmp_path, name):
    known = np.arange(Z.size).reshape(Z.shape) % 2 == 0
    np.savez(tmp_path / "a.npz", depth=Z, **{name: known})
    made = read_map(tmp_path / "a.npz", Meaning("metric")).depth_map
    assert (made.valid == known).all()


def test_a_tiff_of_64_bits_is_refused_in_words(tmp_path):
    tifffile = cv2.imencode(".tiff", Z.astype(np.float64))[1]
    (tmp_path / "a.tiff").write_bytes(tifffile.tobytes())
    try:
        made = read_map(tmp_path / "a.tiff", Meaning("metric")).depth_map
    except ImageError as error:
        assert "64-bit numbers" in error.message
    else:
        assert np.allclose(made.values, Z)


@pytest.mark.parametrize(("kind", "left"), [("metric", 2), ("depth", 2), ("disparity", 3), ("affine-depth", 3)])
def test_negative_depth_is_no_depth(kind, left):
    known, notes = has_depth(np.float32([[-1, 1, 2]]), kind, False)
    assert known.sum() == left
    assert any("a negative value" in note for note in notes) == (left == 2)
