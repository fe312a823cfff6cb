"""Against what the peers' own loaders give (`tests/golden`), and real pairs where these lie beside a checkout."""

import hashlib
import json

import numpy as np
import pytest

from ccd_cli.benchmarks import open_suite
from ccd_cli.benchmarks.decode import decode_codes
from ccd_cli.benchmarks.moge.png import decode_depth_png
from ccd_cli.benchmarks.moge.view import rectify
from ccd_cli.benchmarks.regions import eigen, garg, kb_crop, nyu
from tests.peers import encode_depth_png


@pytest.fixture(scope="module")
def vectors(golden):
    return json.loads((golden / "metrics/vectors.json").read_text())


@pytest.mark.parametrize(("name", "key"), [("nyuv2", "nyu"), ("kitti", "kitti"), ("kitti-garg", "kitti_garg")])
def test_masks_and_depth_are_those_of_the_published_loader(golden, vectors, name, key):
    (found,), missing = open_suite(name, golden / "sets")
    wanted = vectors["marigold_e2e"][f"loader|{key}"]
    assert (len(found), missing) == (wanted["n"], [])
    assert found.spec.depth_range == (wanted["min_depth"], wanted["max_depth"])
    for index, facts in enumerate(wanted["samples"]):
        sample = found.read(index)
        assert [*sample.rgb.shape[:2]] == facts["rgb_shape"][1:] and [*sample.depth.shape] == facts["depth_shape"]
        assert int(sample.mask.sum()) == facts["n_valid"]
        assert hashlib.sha256(np.packbits(sample.mask).tobytes()).hexdigest()[:16] == facts["mask_sha256_packbits"]
        total = sample.depth[sample.mask].sum(dtype=np.float64)
        assert total == pytest.approx(facts["depth_sum_over_mask"], rel=1e-12)
        rows, columns = np.nonzero(sample.mask)
        top, bottom, left, right = facts["mask_bbox_rows_cols"]
        assert (rows.min() >= top) and (rows.max() < bottom) and (columns.min() >= left) and (columns.max() < right)


def test_published_predictions_are_found_by_name(golden, vectors):
    for found, key in zip(open_suite("zero-shot", golden / "sets")[0], ("nyu", "kitti"), strict=True):
        scored = vectors["marigold_e2e"][f"{key}|least_square|None"]["per_sample"]
        names = [found.prediction_names(index)[0] for index in range(len(found))]
        assert sorted(names) == sorted(one["filename"] for one in scored)


def test_what_is_not_there_is_named(golden):
    found, missing = open_suite("zero-shot", golden / "sets")
    assert [one.spec.name for one in found] == ["nyuv2", "kitti"]
    assert [name for name, reason in missing if "no " in reason] == ["eth3d", "scannet", "diode"]


def test_crops_are_the_peers(vectors):
    rules = {"kitti eigen": eigen, "kitti garg": garg, "nyu": nyu}
    crops = vectors["misc"]["crops_rows_cols"]
    assert len(crops) == 13
    for key, wanted in crops.items():
        name, size = key.rsplit(" ", 1)
        rows, columns = rules[name](tuple(int(part) for part in size.split("x")))
        assert [rows.start, rows.stop, columns.start, columns.stop] == wanted, key
    for size, corner in vectors["misc"]["kitti_benchmark_crop_top_left"].items():
        rows, columns = kb_crop(tuple(int(part) for part in size.split("x")))
        assert [rows.start, columns.start] == corner and rows.stop - rows.start == 352


@pytest.fixture(scope="module")
def arrays(golden):
    return np.load(golden / "metrics/inputs.npz"), np.load(golden / "metrics/outputs.npz")


def test_depth_png_codes_and_values(vectors, arrays):
    wanted = vectors["moge"]["depth_png"]
    data = encode_depth_png(arrays[0]["p_depth"])
    codes, text = decode_codes(data, "p")
    assert codes.tolist() == wanted["codes"] and text == wanted["info"]
    expected = np.array([[float(value) for value in row] for row in wanted["decoded"]], np.float32)
    np.testing.assert_allclose(decode_depth_png(data, "p"), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(54, 72), (64, 64)])
def test_the_bundle_is_seen_as_its_loader_sees_it(vectors, arrays, size):
    given, expected = arrays
    name = f"moge_loader_{size[1]}x{size[0]}"
    depth = np.where(given["m_mask"], given["m_depth"], np.nan).astype(np.float32)
    view = rectify(given["m_image"], depth, given["m_intrinsics"].astype(float), size)
    assert (view.mask == expected[f"{name}_depth_mask"]).all()
    np.testing.assert_allclose(view.rgb.transpose(2, 0, 1) / 255, expected[f"{name}_image"], atol=1e-6)
    np.testing.assert_allclose(view.depth[view.mask], expected[f"{name}_depth"][view.mask], atol=1e-5)
    matrix = vectors["moge"][name]["intrinsics"]
    assert view.focal == pytest.approx((matrix[0][0], matrix[1][1]), rel=1e-6)


ROWS = ("A_indoor_metric/", "B_outdoor_metric/", "C_disparity/")


@pytest.mark.shared
def test_real_pairs_can_be_described(shared, tmp_path):
    """Every real pair, as one set of a suite file, has the published share of valid pixels and the published median."""
    folder = shared / "data/real"
    pairs = json.loads((folder / "index.json").read_text())["pairs"]
    assert {pair["rgb"].split("/")[0] + "/" for pair in pairs} == set(ROWS)
    lines = ["sets:"]
    for pair in pairs:
        lines += [
            f"  - name: {pair['id']}",
            f"    root: {folder}",
            f"    image: {pair['rgb']}",
            f"    depth: {pair['gt']}",
        ]
        lines += [f"    kind: {pair['gt_kind']}", f"    divisor: {pair['gt_scale']}"]
        if pair.get("intrinsics_fx_fy_cx_cy"):
            lines.append(f"    intrinsics: {pair['intrinsics_fx_fy_cx_cy']}")
    suite = tmp_path / "real.yaml"
    suite.write_text("\n".join(lines))
    found, missing = open_suite(str(suite), tmp_path)
    assert len(found) == len(pairs) and missing == []
    for one, pair in zip(found, pairs, strict=True):
        sample = one.read(0)
        assert sample.rgb.shape[:2] == sample.depth.shape == tuple(reversed(pair["image_size"]))
        assert sample.mask.mean() == pytest.approx(pair["valid_fraction"], abs=6e-5), pair["id"]
        median = float(np.median(sample.depth[sample.mask]))
        value = 1 / median if pair["gt_kind"] == "disparity" else median
        assert value == pytest.approx(pair["range_p0.5_p50_p99.5"][1], rel=2e-3), pair["id"]
        assert (sample.camera is None) == (not pair.get("intrinsics_fx_fy_cx_cy"))
