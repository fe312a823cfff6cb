"""`ccd pointcloud` from end to end: every map format, cameras, and inputs that want to break it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from ccd_cli.cli import main
from ccd_cli.geometry.camera import camera_from_fov
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.geometry.unproject import project
from tests.depth_files import write_depth, write_exr

SIZE = (48, 64)
EXIF_IFD, FOCAL_35MM, PIXEL_X, PIXEL_Y = 0x8769, 0xA405, 0xA002, 0xA003


@pytest.fixture(scope="module")
def scene():
    """(photo uint8, depth in meters float32, camera) of a generated room."""
    from ccd_cli.scenes import render

    made = render([7], *SIZE, family="room")
    return made.rgb[0].permute(1, 2, 0).numpy(), made.depth[0].numpy(), Camera(*made.intrinsics[0].tolist())


@pytest.fixture
def pointcloud(ccd_here, monkeypatch, tmp_path, scene):
    """The command in a folder that holds `room.png`."""
    monkeypatch.setitem(main.COMMANDS, "pointcloud", "Point clouds from photos and depth maps.")
    Image.fromarray(scene[0]).save(tmp_path / "room.png")
    return lambda *args: ccd_here("pointcloud", *args)


def camera_choice(camera: Camera) -> str:
    return f"{camera.fx},{camera.fy},{camera.cx},{camera.cy}"


def cloud_of(path):
    """Return (points, colors) of a PLY that `ccd` wrote, by its header."""
    head, body = path.read_bytes().split(b"end_header\n", 1)
    names = [line.split()[1:] for line in head.decode().splitlines() if line.startswith("property")]
    table = np.frombuffer(body, [(name, {"float": "<f4", "uchar": "u1"}[kind]) for kind, name in names])
    return tuple(np.stack([table[n] for n in part], 1) for part in (("x", "y", "z"), ("red", "green", "blue")))


def answer(result):
    return json.loads(result.stdout)


def sidecar(path, **values):
    path.write_text(json.dumps({"kind": "metric", "direction": "larger = farther", "unit": "meter", **values}))


def test_depth_comes_back_as_points(pointcloud, tmp_path, scene):
    rgb, depth, camera = scene
    np.save(tmp_path / "room.npy", depth)
    result = pointcloud(
        "room.png",
        "--depth",
        "room.npy",
        "--kind",
        "metric",
        "--intrinsics",
        camera_choice(camera),
        "--no-edge-cut",
        "--json",
    )
    assert result.exit_code == 0, result.output
    points, colors = cloud_of(tmp_path / "ccd-out" / "room.ply")
    pixels, z = project(points, camera)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    assert np.abs(pixels - np.stack([u.ravel(), v.ravel()], 1) - 0.5).max() < 0.01
    assert (z.astype(np.float32) == depth.ravel()).all() and (colors == rgb.reshape(-1, 3)).all()
    (record,) = answer(result)["clouds"]
    assert (record["points"], record["kind"], record["unit"]) == (depth.size, "metric", "meter")
    assert record["intrinsics_source"] == "flag" and record["intrinsics"] == pytest.approx([*vars(camera).values()])
    assert answer(result)["failed"] == []
    assert Image.open(tmp_path / "ccd-out" / "room.cloud.png").size == (960, 720)


def write_map(folder, ending, depth, camera):
    """Write meters in one of the formats; returns the flags that it needs."""
    path = folder / f"room{ending}"
    if ending == ".npy":
        np.save(path, depth)
    elif ending == ".npz":
        np.savez(path, depth=depth, valid=depth > 0, intrinsics=np.array([*vars(camera).values()]))
    elif ending == ".depth.png":
        Image.fromarray(np.round(depth / 0.002 - 1).astype(np.uint16)).save(path)
        values = {"scale": 0.002, "offset": 0.002, "intrinsics": [*vars(camera).values()], "intrinsics_source": "exif"}
        sidecar(folder / "room.json", **values)
        return []
    elif ending == ".exr":
        exr = pytest.importorskip("OpenEXR")
        exr.File({"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}, {"Y": depth}).write(str(path))
    else:
        Image.fromarray(np.round(depth * 1000).astype(np.uint16)).save(path)
        return ["--depth-scale", "1000"]
    return ["--kind", "metric"]


@pytest.mark.parametrize(
    ("ending", "source"), [(".npy", "fov"), (".npz", "file"), (".depth.png", "exif"), (".exr", "fov"), (".png", "fov")]
)
def test_every_map_format_gives_the_same_cloud(pointcloud, tmp_path, scene, ending, source):
    _, depth, camera = scene
    (tmp_path / "maps").mkdir()
    flags = write_map(tmp_path / "maps", ending, depth, camera)
    if source == "fov":
        flags += ["--fov", str(2 * np.degrees(np.arctan(32 / camera.fx)))]
    result = pointcloud("room.png", "--depth", "maps", "--no-edge-cut", "--no-preview", "--json", *flags)
    assert result.exit_code == 0, result.output
    (record,) = answer(result)["clouds"]
    assert (record["kind"], record["intrinsics_source"], record["preview"]) == ("metric", source, None)
    points, _ = cloud_of(tmp_path / "ccd-out" / "room.ply")
    assert points[:, 2] == pytest.approx(depth.ravel(), abs=0.0011)
    pixels, _ = project(points, camera)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    assert np.abs(pixels - np.stack([u.ravel(), v.ravel()], 1) - 0.5).max() < 0.01


def test_maps_of_predict_are_found_where_it_leaves_them(pointcloud, tmp_path, scene):
    """Folders are mirrored, --depth defaults to --out, and the sidecar of predict survives."""
    rgb, depth, camera = scene
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    Image.fromarray(rgb).save(tmp_path / "photos" / "sub" / "room.png")
    (tmp_path / "ccd-out" / "sub").mkdir(parents=True)
    np.save(tmp_path / "ccd-out" / "sub" / "room.npy", 5 / depth + 1)
    values = {"kind": "disparity", "intrinsics": [*vars(camera).values()], "intrinsics_source": "guess"}
    sidecar(tmp_path / "ccd-out" / "sub" / "room.json", **values)
    before = (tmp_path / "ccd-out" / "sub" / "room.json").read_bytes()
    result = pointcloud("photos", "--near", "1", "--far", "8", "--json")
    assert result.exit_code == 0, result.output
    (record,) = answer(result)["clouds"]
    assert record["unit"] == "meter, assumed range 1 to 8" and record["intrinsics_source"] == "guess"
    assert (tmp_path / "ccd-out" / "sub" / "room.ply").is_file()
    assert (tmp_path / "ccd-out" / "sub" / "room.json").read_bytes() == before
    assert "1 to 8 m" not in result.stderr and "60 degrees" in result.stderr, "said is only what is assumed"


def test_a_reference_makes_meters(pointcloud, tmp_path, scene):
    _, depth, _ = scene
    np.save(tmp_path / "room.npy", 5 / depth + 1)
    codes = np.round(depth * 5000).astype(np.uint16)
    codes[np.random.default_rng(0).random(SIZE) < 0.2] = 60000
    codes[:5] = 0
    Image.fromarray(codes).save(tmp_path / "ref.png")
    flags = ["--depth", "room.npy", "--kind", "disparity", "--align-to", "ref.png"]
    result = pointcloud("room.png", *flags, "--ref-scale", 5000, "--no-edge-cut", "--json")
    assert result.exit_code == 0, result.output
    points, _ = cloud_of(tmp_path / "ccd-out" / "room.ply")
    assert points[:, 2] == pytest.approx(depth.ravel(), rel=1e-3)
    without = pointcloud("room.png", *flags)
    assert without.exit_code == 1 and "--ref-scale" in without.stderr


@pytest.mark.parametrize("fmt", ["pcd", "xyz", "glb"])
def test_other_formats_with_everything_on(pointcloud, tmp_path, scene, fmt):
    np.save(tmp_path / "room.npy", scene[1])
    flags = ["--voxel", "0.1", "--normals", "--outliers", "--max-depth", "6", "--format", fmt]
    result = pointcloud("room.png", "--depth", "room.npy", "--kind", "metric", *flags)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "ccd-out" / f"room.{fmt}").stat().st_size > 1000


def photo_with_exif(path, rgb, **tags):
    image = Image.fromarray(rgb)
    exif = image.getexif()
    exif[0x0112] = tags.pop("orientation", 1)
    names = {"focal": FOCAL_35MM, "x": PIXEL_X, "y": PIXEL_Y}
    exif.get_ifd(EXIF_IFD).update({names[key]: value for key, value in tags.items()})
    image.save(path, exif=exif)


@pytest.mark.parametrize(
    ("tags", "source"),
    [
        ({"focal": 28}, "exif"),
        ({"focal": 28, "x": 6400, "y": 4800}, "exif"),
        ({"focal": 28, "x": 4800, "y": 6400}, "exif"),
        ({"focal": 28, "x": 6400, "y": 3600}, "guess"),  # cropped since
        ({"focal": 0}, "guess"),
        ({}, "guess"),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_focal_length_of_exif(pointcloud, tmp_path, scene, tags, source, suffix):
    rgb, depth, _ = scene
    path = tmp_path / f"shot.{suffix}"
    photo_with_exif(path, rgb, **tags)
    np.save(tmp_path / "shot.npy", depth)
    (record,) = answer(pointcloud(path, "--depth", "shot.npy", "--kind", "metric", "--no-preview", "--json"))["clouds"]
    assert record["intrinsics_source"] == source
    focal = 28 * np.hypot(*SIZE) / np.hypot(36, 24) if source == "exif" else 32 / np.tan(np.pi / 6)
    assert record["intrinsics"] == pytest.approx([focal, focal, 32, 24])


def test_a_rotated_photo_keeps_its_focal_length(pointcloud, tmp_path, scene):
    rgb, depth, _ = scene
    photo_with_exif(tmp_path / "tall.jpg", rgb, focal=28, orientation=6, x=64, y=48)
    np.save(tmp_path / "tall.npy", np.rot90(depth, -1).copy())
    (record,) = answer(pointcloud("tall.jpg", "--depth", "tall.npy", "--kind", "metric", "--json"))["clouds"]
    focal = 28 * np.hypot(*SIZE) / np.hypot(36, 24)
    assert record["size"] == [48, 64] and record["intrinsics"] == pytest.approx([focal, focal, 24, 32])


def test_a_smaller_map_takes_a_smaller_photo(pointcloud, tmp_path, scene):
    rgb, depth, camera = scene
    Image.fromarray(rgb).resize((640, 480)).save(tmp_path / "big.png")
    np.save(tmp_path / "big.npy", depth)
    big = Camera(*(10 * v for v in vars(camera).values()))
    flags = ["--depth", "big.npy", "--kind", "metric", "--intrinsics", camera_choice(big), "--json"]
    (record,) = answer(pointcloud("big.png", *flags))["clouds"]
    assert record["size"] == [64, 48] and record["intrinsics"] == pytest.approx([*vars(camera).values()])


def test_bad_inputs_are_named_and_the_rest_is_done(pointcloud, tmp_path, scene):
    rgb, depth, _ = scene
    photos, maps = tmp_path / "photos", tmp_path / "maps"
    photos.mkdir()
    maps.mkdir()
    image = Image.fromarray(rgb)
    broken = depth.copy()
    broken[::2], broken[1, 3] = np.nan, np.inf
    arrays = {
        "a_good": depth,
        "b_half_nan": broken,
        "c_all_nan": np.full(SIZE, np.nan, np.float32),
        "d_all_inf": np.full(SIZE, np.inf, np.float32),
        "e_empty": np.zeros((0, 64), np.float32),
        "f_other_shape": depth[:, :30],
        "g_color": np.zeros((*SIZE, 3), np.float32),
        "h_words": np.array([["no", "depth"]]),
        "i_zero": np.zeros(SIZE, np.float32),
        "j_objects": np.array([{"a": 1}], dtype=object),
    }
    for name, values in arrays.items():
        image.save(photos / f"{name}.png")
        np.save(maps / f"{name}.npy", values)
    for name in "klmnopqrs":
        image.save(photos / f"{name}.png")
    (maps / "l.png").write_text("this is text")  # k has no map at all
    (maps / "m.npy").write_bytes((maps / "a_good.npy").read_bytes()[:300])
    image.save(maps / "n.png")
    np.savez(maps / "o.npz", depth=depth, intrinsics=np.array([-5.0, 5, 1, 1]))
    np.savez(maps / "p.npz", values=depth, others=depth)
    np.save(maps / "q.npy", depth)
    (maps / "q.json").write_text("{not json")
    np.save(maps / "r.npy", depth)
    sidecar(maps / "r.json", kind="disparity")
    np.savez(maps / "s.npz", depth=depth, valid=np.ones((3, 3), bool))
    (photos / "t.png").write_text("not a photo")
    np.save(maps / "t.npy", depth)
    result = pointcloud(photos, "gone.png", "--depth", maps, "--kind", "metric", "--no-preview", "--json", "-q")
    assert result.exit_code == 1, result.output
    done = [record["input"] for record in answer(result)["clouds"]]
    assert [name.rpartition("/")[2] for name in done] == ["a_good.png", "b_half_nan.png"]
    problems = {f["input"].rpartition("/")[2]: f["problem"] for f in answer(result)["failed"]}
    wanted = {
        "c_all_nan.png": "empty",
        "d_all_inf.png": "empty",
        "e_empty.png": "not a map of numbers",
        "f_other_shape.png": "30x48 and the photo 64x48",
        "g_color.png": "not a map of one channel",
        "h_words.png": "not a map of numbers",
        "i_zero.png": "empty",
        "j_objects.png": "not a readable .npy",
        "k.png": "no depth map of this name",
        "l.png": "not a readable image",
        "m.png": "not a readable .npy",
        "n.png": "not a 16-bit depth map",
        "o.png": "focal lengths",
        "p.png": "no array 'depth'",
        "q.png": "not a readable sidecar",
        "r.png": "contradicts the kind",
        "s.png": "mask",
        "t.png": "not a readable image",
        "gone.png": "no such file",
    }
    assert set(problems) == set(wanted)
    for name, text in wanted.items():
        assert text in problems[name], (name, problems[name])
        assert name in result.stderr
    assert "Traceback" not in result.output
    points, _ = cloud_of(tmp_path / "ccd-out" / "b_half_nan.ply")
    assert len(points) <= np.isfinite(broken).sum()


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        (["--intrinsics", "-500,500,32,24"], 2, "positive focal lengths"),
        (["--intrinsics", "500,500"], 2, "four numbers"),
        (["--intrinsics", "500,500,32,24", "--fov", "60"], 2, "contradict"),
        (["--fov", "180"], 2, "--fov"),
        (["--fov", "nan"], 2, "--fov"),
        (["--near", "9", "--far", "3"], 2, "--near (9 m) must be less than --far (3 m)"),
        (["--near", "nan"], 2, "--near"),
        (["--voxel", "-1"], 2, "--voxel"),
        (["--ref-scale", "1000"], 2, "--ref-scale needs"),
        (["--align-to", "nowhere.png"], 2, "nowhere.png does not exist"),
        (["--depth", "nowhere"], 2, "nowhere does not exist"),
        (["--kind", "inches"], 2, "inches"),
        (["--format", "obj"], 2, "obj"),
        (["--max-depth", "0.001"], 1, "No point is left"),
        (["--out", "room.png/below"], 1, "room.png"),
    ],
)
def test_flags_that_cannot_be(pointcloud, tmp_path, scene, flags, code, text):
    np.save(tmp_path / "room.npy", scene[1])
    result = pointcloud("room.png", "--depth", "room.npy", "--kind", "metric", *flags)
    assert result.exit_code == code, result.output
    assert text in result.stderr and "Traceback" not in result.output
    assert not list(tmp_path.rglob("*.ply"))


def test_a_map_of_unknown_kind_is_not_guessed(pointcloud, tmp_path, scene):
    np.save(tmp_path / "room.npy", scene[1])
    result = pointcloud("room.png", "--depth", "room.npy")
    assert result.exit_code == 1 and "--kind" in result.stderr


@pytest.mark.parametrize("ending", [".npy", ".NPY", ".npz", ".exr", ".tiff", ".PFM", ".mat", ".h5"])
def test_millimeters_in_any_format_become_meters_by_the_depth_scale(pointcloud, tmp_path, scene, ending):
    (tmp_path / "maps").mkdir()
    write_depth(tmp_path / "maps" / f"room{ending}", scene[1] * 1000)
    result = pointcloud("room.png", "--depth", "maps", "--depth-scale", 1000, "--no-edge-cut", "--no-preview", "--json")
    assert result.exit_code == 0, result.output
    assert answer(result)["clouds"][0]["unit"] == "meter"
    points, _ = cloud_of(tmp_path / "ccd-out" / "room.ply")
    assert points[:, 2] == pytest.approx(scene[1].ravel(), rel=1e-5)


def test_codes_of_a_sensor_and_a_foreign_json_are_said_once(pointcloud, tmp_path, scene):
    rgb, depth, _ = scene
    (tmp_path / "photos").mkdir()
    (tmp_path / "maps").mkdir()
    codes = np.round(depth * 1000).astype(np.uint16)
    codes[:6], codes[6:9] = 65535, 0
    for name in "abc":
        Image.fromarray(rgb).save(tmp_path / "photos" / f"{name}.jpg")
        Image.fromarray(codes).save(tmp_path / "maps" / f"{name}.PNG")
        (tmp_path / "maps" / f"{name}.json").write_text('{"intrinsics": [1, 2, 3, 4, 5, 6, 7, 8, 9]}')
    flags = ["--depth", "maps", "--depth-scale", 1000, "--no-edge-cut", "--no-preview"]
    result = pointcloud("photos", *flags, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("the value 65535 is taken for no depth") == 1
    assert result.stderr.count("is not from ccd and is ignored") == 1
    assert {record["left_out"]["invalid"] for record in answer(result)["clouds"]} == {9 * SIZE[1]}
    kept = pointcloud("photos", *flags, "--no-depth", "0", "--json")
    assert {record["left_out"]["invalid"] for record in answer(kept)["clouds"]} == {3 * SIZE[1]}
    wrong = pointcloud("photos", *flags, "--no-depth", "many")
    assert wrong.exit_code == 2 and "--no-depth" in wrong.stderr


def test_the_channel_of_a_render_can_be_named(pointcloud, tmp_path, scene):
    depth = scene[1]
    write_exr(tmp_path / "room.exr", {"left.Depth.Z": depth * 2, "right.Depth.Z": depth})
    flags = ["--depth", "room.exr", "--kind", "metric", "--no-edge-cut", "--no-preview"]
    refused = pointcloud("room.png", *flags)
    assert refused.exit_code == 1 and "left.Depth.Z, right.Depth.Z" in refused.stderr
    assert pointcloud("room.png", *flags, "--depth-key", "right.Depth.Z").exit_code == 0
    points, _ = cloud_of(tmp_path / "ccd-out" / "room.ply")
    assert points[:, 2] == pytest.approx(depth.ravel())


@pytest.mark.parametrize("ending", [".tiff", ".exr", ".npz", ".mat"])
def test_a_reference_of_any_format(pointcloud, tmp_path, scene, ending):
    _, depth, _ = scene
    np.save(tmp_path / "room.npy", 5 / depth + 1)
    (tmp_path / "refs").mkdir()
    write_depth(tmp_path / "refs" / f"room{ending}", depth)
    flags = ["--depth", "room.npy", "--kind", "disparity", "--no-edge-cut", "--align-to", "refs", "--no-preview"]
    assert pointcloud("room.png", *flags).exit_code == 0
    points, _ = cloud_of(tmp_path / "ccd-out" / "room.ply")
    assert points[:, 2] == pytest.approx(depth.ravel(), rel=1e-3)


def test_one_map_is_not_for_two_photos(pointcloud, tmp_path, scene):
    np.save(tmp_path / "room.npy", scene[1])
    Image.fromarray(scene[0]).save(tmp_path / "other.png")
    result = pointcloud("room.png", "other.png", "--depth", "room.npy", "--kind", "metric")
    assert result.exit_code == 2 and "one file for 2 images" in result.stderr


def test_a_preview_never_overwrites_a_photo(pointcloud, tmp_path, scene):
    for name in ("a", "a.cloud"):
        Image.fromarray(scene[0]).save(tmp_path / f"{name}.png")
        np.save(tmp_path / f"{name}.npy", scene[1])
    before = (tmp_path / "a.cloud.png").read_bytes()
    result = pointcloud("a.png", "a.cloud.png", "--depth", ".", "--kind", "metric", "--out", ".")
    assert result.exit_code == 1 and "would overwrite a photo" in result.stderr
    assert (tmp_path / "a.cloud.png").read_bytes() == before


def test_the_guess_agrees_with_the_formula_in_the_help(pointcloud, tmp_path, scene):
    np.save(tmp_path / "room.npy", scene[1])
    (record,) = answer(pointcloud("room.png", "--depth", "room.npy", "--kind", "metric", "--json"))["clouds"]
    assert record["intrinsics"] == pytest.approx([*vars(camera_from_fov(60, *SIZE)).values()])
    assert record["fov"] == pytest.approx(60)


@pytest.mark.parametrize("what", ["room.json", "room.npy", "room.depth.png"])
def test_what_predict_wrote_and_was_damaged_makes_no_cloud(pointcloud, ccd_here, tmp_path, what):
    made = ccd_here("predict", "room.png", "--model", "builtin:tiny", "--resolution", 56, "--save", "npy,png16")
    assert made.exit_code == 0, made.output
    maps = "ccd-out/room.npy" if what == "room.json" else f"ccd-out/{what}"
    flags = ("room.png", "--depth", maps, "--fov", "60", "--out", "clouds")
    assert pointcloud(*flags).exit_code == 0
    cloud = tmp_path / "clouds/room.ply"
    cloud.unlink()
    path = tmp_path / "ccd-out" / what
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"disparity"', b'"depth"') if what == "room.json" else whole[:-1] + b"\x17")
    result = pointcloud(*flags)
    assert result.exit_code == 1 and f"{what} was changed or damaged since it was written" in result.stderr
    assert "Traceback" not in result.stderr and not cloud.exists()


def test_one_valid_pixel_is_a_cloud_with_a_preview_and_none_is_an_error(pointcloud, tmp_path):
    for name, count in (("one", 1), ("none", 0)):
        Image.fromarray(np.full((40, 320, 3), 200, np.uint8)).save(tmp_path / f"{name}.png")
        depth = np.full((40, 320), np.nan, np.float32)
        depth.ravel()[6000 : 6000 + count] = 2.0
        np.save(tmp_path / f"{name}.npy", depth)
    flags = ("--depth", ".", "--kind", "metric", "--no-edge-cut", "--json", "--out", "clouds")
    result = pointcloud("one.png", "none.png", *flags)
    made = json.loads(result.stdout)
    assert result.exit_code == 1 and [r["points"] for r in made["clouds"]] == [1]
    assert "none.png" in made["failed"][0]["input"] and not (tmp_path / "clouds/none.cloud.png").exists()
    picture = np.asarray(Image.open(tmp_path / "clouds/one.cloud.png"))
    assert (picture == 200).any()


def test_the_assumptions_are_one_line_and_only_said_where_they_are_made(pointcloud, tmp_path):
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.linspace(1, 5, 2400, dtype=np.float32).reshape(40, 60))
    flags = ("a.png", "--depth", "a.npy", "--kind", "disparity", "--out", "clouds")
    said = pointcloud(*flags).stderr
    assert (
        " ".join(said.split()).count("Assumed for the point cloud: depth from 0.5 to 20 m (disparity has no scale; set")
        == 1
    )
    assert " ".join(said.split()).count("a view of 60 degrees across the longer side (set --fov or --intrinsics)") == 1
    assert "Assumed" not in pointcloud(*flags, "--near", "1", "--far", "4", "--fov", "70").stderr
    assert "a view of" in pointcloud(*flags, "--near", "1", "--far", "4").stderr
