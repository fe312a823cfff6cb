"""What lies in the output folder: whose files they are, of which map, and what a stop or another run leaves of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError, Interrupted
from ccd_cli.core.report import Silent
from ccd_cli.geometry.depth_map import Camera, checked
from ccd_cli.media.find import find_media
from ccd_cli.media.map_read import read_map
from ccd_cli.media.video import write as clip_writer
from ccd_cli.media.video.write import ClipWriter, Track, parts_folder
from ccd_cli.models.arch import timm_arch
from ccd_cli.pointcloud import run as existing_maps
from ccd_cli.pointcloud.settings import CloudSettings
from ccd_cli.predict import video as clips
from ccd_cli.predict.run import run
from ccd_cli.predict.settings import Settings
from ccd_cli.teachers.model import Model
from tests.cli.test_predict import photo, video

CPU = Compute("cpu", "fp32", threads=1)


class Fake:
    """A model of depth; `camera`: it predicts one; `arch`: what it is. It stops with Ctrl-C after so many photos."""

    license, checkpoint_sha256 = "MIT", "0" * 64

    def __init__(self, kind="depth", camera=None, arch=None, name="fake", factor=1.0, stop=None):
        self.kind, self.camera, self.arch, self.name, self.factor, self.stop = kind, camera, arch, name, factor, stop
        self.seen = 0

    def predict_photos(self, photos, side=None, focals=None):
        made = []
        for i, rgb in enumerate(photos):
            self.seen += 1
            if self.stop and self.seen > self.stop:
                raise KeyboardInterrupt
            height, width = rgb.shape[:2]
            y, x = np.mgrid[:height, :width].astype(np.float32)
            values = (1 + y / height + 0.2 * np.sin(x / 9)) * np.float32(self.factor * (1 + 0.1 * (self.seen % 3)))
            focal = None if focals is None else focals[i]
            kind = self.kind
            if self.arch is not None and self.arch.canonical_focal and focal:
                kind, values = "metric", values * np.float32(focal / self.arch.canonical_focal)
            made.append(checked(values, kind, camera=self.camera))
        return made


def predicted(model, *inputs, report=None, **settings):
    report = report or Silent()
    outcome = run([str(path) for path in inputs], Model(model), Settings(**settings), CPU, report)
    return outcome.failed, report


def side(path):
    return json.loads(Path(path).read_text())


def test_a_clip_of_a_network_that_gives_meters_with_a_focal_length_is_in_meters(tmp_path):
    arch = replace(
        timm_arch("mobilenetv4_conv_small", features=16, kind="depth"), activation="exp", canonical_focal=300.0
    )
    clip = video(tmp_path / "v.mp4", 6)
    assert predicted(Fake(arch=arch), clip, out=tmp_path / "a", save=("npy", "png16"), fov=60.0)[0] == []
    told = side(tmp_path / "a/v.json")
    assert (told["kind"], told["unit"], told["video"]["temporal"], told["scale"]) == ("metric", "meter", "none", 0.001)
    assert read_map(tmp_path / "a/v/000003.npy").depth_map.kind == "metric"
    failed, report = predicted(Fake(arch=arch), clip, out=tmp_path / "b", save=("npy", "png16"))
    told = side(tmp_path / "b/v.json")
    assert failed == [] and (told["kind"], told["video"]["temporal"]) == ("depth", "align")
    assert any("meters only with a focal length" in note for note in report.notes)


@pytest.mark.parametrize("clouds", [True, False])
def test_a_clip_has_the_camera_that_the_model_predicts(tmp_path, clouds):
    model = Fake(camera=Camera(300.0, 300.0, 32.0, 24.0))
    more = {"pointcloud": True, "every": 2} if clouds else {}
    clip = video(tmp_path / "v.mp4", 6)
    assert predicted(model, clip, out=tmp_path / "o", save=("npz", "color"), **more)[0] == []
    told = side(tmp_path / "o/v.json")
    assert (told["intrinsics"], told["intrinsics_source"]) == ([300.0, 300.0, 32.0, 24.0], "model")
    assert read_map(tmp_path / "o/v/000003.npz").depth_map.camera.fx == 300
    if clouds:
        heads = [path.read_bytes()[:900].decode("latin1") for path in sorted((tmp_path / "o/v").glob("*.ply"))]
        assert len(heads) == 3 and all("300" in head for head in heads), "also where a map was scaled"


def test_files_of_somebody_else_stay(tmp_path):
    image, clip = photo(tmp_path / "a.png"), video(tmp_path / "v.mp4", 3)
    own = {
        "a.npy": b"depth",
        "a.depth.png": b"scan",
        "a.ply": b"cloud",
        "v/000000.npy": b"frame",
        "v.depth.mkv": b"film",
    }
    for name, content in own.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    for save, more in ((("npy",), {}), (("png16",), {}), (("color",), {"pointcloud": True})):
        failed, _ = predicted(Fake(), image, out=tmp_path, save=save, **more)
        assert len(failed) == 1 and "no result of ccd predict" in failed[0][1] and "--overwrite" in failed[0][1]
    for save in (("npy",), ("png16",)):
        failed, _ = predicted(Fake(), clip, out=tmp_path, save=save)
        assert len(failed) == 1 and "no result of ccd predict" in failed[0][1]
    assert predicted(Fake(), clip, image, out=tmp_path, save=("color",))[0] == []
    assert "frames" not in side(tmp_path / "v.json")["files"]
    assert predicted(Fake(name="other"), clip, image, out=tmp_path, save=("color",), overwrite=True)[0] == []
    assert all((tmp_path / name).read_bytes() == content for name, content in own.items())
    assert not list(tmp_path.glob(".*"))
    assert predicted(Fake(name="other"), image, out=tmp_path, save=("npy", "color"), overwrite=True)[0] == []
    assert (tmp_path / "a.npy").read_bytes() != b"depth"


def test_what_a_killed_run_left_is_no_obstacle(tmp_path, monkeypatch):
    from ccd_cli.predict import photos

    image = photo(tmp_path / "a.png")

    class Killed(BaseException):
        pass

    def killed(*_, **__):
        (tmp_path / "o/a.npy").write_bytes(b"half")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(photos, "write_maps", killed)
        with pytest.raises(Killed):
            predicted(Fake(), image, out=tmp_path / "o", save=("npy",))
    assert predicted(Fake(), image, out=tmp_path / "o", save=("npy",))[0] == []
    assert np.load(tmp_path / "o/a.npy").shape == (60, 80) and not list((tmp_path / "o").glob(".*"))


def test_overwriting_does_not_empty_the_folder_of_a_run_at_work(tmp_path):
    from fractions import Fraction

    tracks = {"depth": Track(tmp_path / "x.depth.mkv", "codes", 64, 48)}
    made = {"rate": Fraction(30), "time_base": Fraction(1, 30), "settings": "s"}
    with ClipWriter(parts_folder(tmp_path / "x"), tracks, **made) as first:
        first.add(0, 0.0, {"depth": np.full((48, 64), 7, np.uint16)})
        with pytest.raises(CcdError, match="at work"):
            ClipWriter(parts_folder(tmp_path / "x"), tracks, **made, fresh=True)
        first.finish()
    assert (tmp_path / "x.depth.mkv").is_file()
    with ClipWriter(parts_folder(tmp_path / "x"), tracks, **made, fresh=True) as again:
        assert again.place is None


def test_clouds_of_other_settings_do_not_stay_among_new_ones(tmp_path):
    clip, image = video(tmp_path / "v.mp4", 9), photo(tmp_path / "a.png")
    common = {"out": tmp_path / "o", "save": ("color",), "pointcloud": True}
    near, far = CloudSettings(near=1.0, far=5.0), CloudSettings(near=10.0, far=50.0)
    assert predicted(Fake(), clip, **common, every=2, cloud=near)[0] == []
    assert predicted(Fake(), clip, **common, every=4, cloud=far)[0] == []
    assert sorted(path.name for path in (tmp_path / "o/v").iterdir()) == [f"00000{i}.ply" for i in (0, 4, 8)]
    assert predicted(Fake(), image, **common)[0] == []
    assert predicted(Fake(), image, **common, cloud_format="glb")[0] == []
    assert set(side(tmp_path / "o/a.json")["files"].values()) >= {"a.glb", "a.ply"}, "of the same map: both count"
    assert predicted(Fake(name="other", factor=2.0), image, **common, cloud_format="glb", overwrite=True)[0] == []
    assert not (tmp_path / "o/a.ply").exists() and (tmp_path / "o/a.glb").exists()


def test_a_cloud_that_a_sidecar_describes_is_not_replaced_by_one_of_other_depth(tmp_path):
    image = photo(tmp_path / "a.png")
    np.save(tmp_path / "lidar.npy", np.full((60, 80), 3.0, np.float32))
    assert predicted(Fake(), image, out=tmp_path / "o", save=("color",), pointcloud=True)[0] == []
    before = (tmp_path / "o/a.ply").read_bytes()
    asked = {"depth": tmp_path / "lidar.npy", "kind": "metric"}
    made = existing_maps.run([str(image)], existing_maps.Settings(**asked, out=tmp_path / "o"), Silent())
    assert len(made.failed) == 1 and "a result of ccd predict" in made.failed[0][1]
    assert (tmp_path / "o/a.ply").read_bytes() == before
    made = existing_maps.run([str(image)], existing_maps.Settings(**asked, out=tmp_path / "lidar"), Silent())
    assert made.failed == [] and made.clouds[0]["points"] == 60 * 80


def test_a_stop_while_clouds_are_drawn_leaves_nothing_that_is_taken_for_an_input(tmp_path, monkeypatch):
    video(tmp_path / "v.mp4", 6)
    common = {"out": tmp_path, "save": ("color", "png16"), "pointcloud": True, "every": 2}

    def stopped(*_, **__):
        raise Interrupted("Interrupted.", "Run again to resume.")

    with monkeypatch.context() as patch:
        patch.setattr(clips.CloudFrames, "write", stopped)
        predicted(Fake(), tmp_path, **common)
    assert not (tmp_path / "v.json").exists()
    (tmp_path / "v.cloud.png").write_bytes((photo(tmp_path / "p/x.png")).read_bytes())  # a preview was drawn
    found = find_media([str(tmp_path / "v.mp4"), str(tmp_path / "v.cloud.png")], (), tmp_path)[0]
    assert [media.path.name for media in found] == ["v.mp4"]
    fresh = Fake()
    assert predicted(fresh, tmp_path / "v.mp4", **common)[0] == []
    assert fresh.seen == 0, "every frame was kept"
    assert set(side(tmp_path / "v.json")["files"]) == {"color", "png16", "preview", "frames"}
    assert not list(tmp_path.glob(".v.*"))


def test_a_damaged_video_is_told_after_a_stop_as_without_one(tmp_path, monkeypatch):
    import av

    clip = video(tmp_path / "d.mp4", 60)
    with av.open(str(clip)) as file:
        packets = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    content = bytearray(clip.read_bytes())
    for position, size in packets[12:14]:
        content[position : position + size] = b"\xff" * size
    clip.write_bytes(content)
    begin = clip_writer.ClipWriter.__init__
    monkeypatch.setattr(
        clip_writer.ClipWriter, "__init__", lambda self, *a, **k: begin(self, *a, **{**k, "segment": 10})
    )
    whole, _ = predicted(Fake("disparity"), clip, out=tmp_path / "whole", save=("png16",))
    with pytest.raises(KeyboardInterrupt):
        predicted(Fake("disparity", stop=45), clip, out=tmp_path / "parts", save=("png16",))
    resumed, _ = predicted(Fake("disparity"), clip, out=tmp_path / "parts", save=("png16",))
    assert len(whole) == 1 and "could be decoded" in whole[0][1]
    assert [reason for _, reason in resumed] == [reason for _, reason in whole]
    truncated = [side(tmp_path / name / "d.json")["video"]["truncated"] for name in ("whole", "parts")]
    assert truncated[0] is not None and truncated[0] == truncated[1]


def test_existing_maps_have_no_points_in_marked_sky(tmp_path):
    class Marks(Fake):
        def predict_photos(self, photos, side=None, focals=None):
            made = []
            for each in super().predict_photos(photos, side, focals):
                sky = np.zeros(each.values.shape, bool)
                sky[:20] = True
                made.append(replace(each, values=np.where(sky, np.float32(9), each.values), sky=sky))
            return made

    image, cloud = photo(tmp_path / "a.png"), CloudSettings(near=1.0, far=5.0, edge_cut=False)
    more = {"save": ("npy", "sky"), "pointcloud": True, "cloud": cloud}
    assert predicted(Marks(), image, out=tmp_path / "o", **more)[0] == []
    drawn = side(tmp_path / "o/a.json")["cloud"]
    asked = existing_maps.Settings(depth=tmp_path / "o", out=tmp_path / "again", cloud=cloud)
    made = existing_maps.run([str(image)], asked, Silent()).clouds[0]
    assert (made["points"], made["scale"], made["shift"]) == (drawn["points"], drawn["scale"], drawn["shift"])
    assert made["points"] == 40 * 80


@pytest.mark.parametrize("bits", [8, 16])
def test_gray_tiffs_that_exif_turns_are_read_in_their_rows(tmp_path, bits):
    from PIL import Image

    from ccd_cli.media.depth_files.images import read_image
    from ccd_cli.media.photos import load_photo

    values = (np.arange(48 * 64).reshape(48, 64) % 251 * (1 if bits == 8 else 257)).astype(f"uint{bits}")
    picture = Image.fromarray(values)
    exif = picture.getexif()
    exif[274] = 6
    picture.save(tmp_path / "t.tif", exif=exif)
    upright = np.rot90(values, -1)
    assert np.array_equal(read_image(tmp_path / "t.tif").values, upright)
    seen = load_photo(tmp_path / "t.tif").rgb[..., 0].astype(int)
    assert seen.shape == (64, 48) and np.abs(seen - upright / (1 if bits == 8 else 257)).max() <= 1
