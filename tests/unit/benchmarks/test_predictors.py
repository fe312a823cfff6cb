"""Maps to score: from files that may be anything, and from networks that see photos as the protocol says."""

import json
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ccd_cli.benchmarks import Sample, Spec
from ccd_cli.benchmarks.prediction_files import FileSource, read_prediction, same_view
from ccd_cli.benchmarks.predictors import ModelSource
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.teachers.adapters.base import TeacherFacts
from ccd_cli.teachers.adapters.diffusion import DiffusionTeacher
from ccd_cli.teachers.adapters.native import NativeTeacher
from ccd_cli.teachers.adapters.photos import depth_maps
from ccd_cli.teachers.model import Model
from tests.depth_files import write_depth

CPU = Compute("cpu", "fp32")
SPEC = Spec("own", "Own", (1e-3, 10.0), None, None, False, "all of it")


def sample(height=60, width=90, camera=None):
    depth = np.ones((height, width), np.float32)
    rgb = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return Sample("a.png", rgb, depth, depth > 0, camera)


def benchmark(spec=SPEC, names=("sub/pred_a.npy", "sub/a.npy")):
    return SimpleNamespace(spec=spec, prediction_names=lambda i: list(names))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint16, np.int64])
@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (3, 4, 1)])
def test_maps_of_any_real_type_are_read(tmp_path, dtype, shape):
    values = np.arange(12).reshape(shape).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", depth=values, other=np.zeros(3))
    for name in ("a.npy", "a.npz"):
        made = read_prediction(tmp_path / name)
        assert made.dtype == np.float32 and (made == np.arange(12).reshape(3, 4)).all()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.npy", b"", "not a readable"),
        ("text.npy", b"hello", "not a readable"),
        ("text.npz", b"hello", "not a readable"),
        ("objects.npy", np.array([{"a": 1}], object), "not a readable"),
        ("complex.npy", np.ones((3, 4), complex), "not a map of numbers"),
        ("words.npy", np.array([["a", "b"]] * 2), "not a map of numbers"),
        ("flat.npy", np.ones(12), "not a map"),
        ("deep.npy", np.ones((3, 4, 3)), "not a map of one channel"),
        ("none.npy", np.ones((0, 4)), "not a map of numbers"),
        ("nan.npy", np.full((3, 4), np.nan), "no finite value"),
        ("huge.npy", np.full((3, 4), 1e300), "no finite value"),
    ],
)
def test_what_is_no_map_is_named(tmp_path, name, content, why):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=why) as problem:
            read_prediction(path)
    assert name in problem.value.message


def test_a_header_that_promises_too_much_costs_nothing(tmp_path):
    path = tmp_path / "bomb.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    with pytest.raises(ImageError, match=r"bomb.*(not a readable|over 250 megapixels)"):
        read_prediction(path)
    np.savez(tmp_path / "other.npz", wrong=np.ones((3, 5)), other=np.ones((3, 5)))
    with pytest.raises(ImageError, match=r"no array 'depth'.*wrong, other"):
        read_prediction(tmp_path / "other.npz")


def test_a_prediction_is_looked_for_inside_its_set_only(tmp_path):
    (tmp_path / "maps" / "own" / "sub").mkdir(parents=True)
    np.save(tmp_path / "secret.npy", np.ones((60, 90), np.float32))
    source = FileSource(tmp_path / "maps", "depth")
    for names in (("../../secret.npy",), (str(tmp_path / "secret.npy"),), ("sub/../../../secret.npy",)):
        with pytest.raises(ImageError, match="no prediction"):
            source.prepare(benchmark(names=names), 0)
    np.save(tmp_path / "maps" / "own" / "sub" / "a.npy", np.full((60, 90), 2.0))
    assert source.prepare(benchmark(), 0)[0, 0] == 2
    np.savez(tmp_path / "maps" / "own" / "sub" / "pred_a.npz", depth=np.full((60, 90), 3.0))
    assert source.prepare(benchmark(), 0)[0, 0] == 3, "the likelier name wins"
    assert source.has(benchmark()) and not source.has(benchmark(replace(SPEC, name="other")))


def test_maps_of_another_size_are_resized_by_a_stated_rule_or_refused(tmp_path):
    source = FileSource(tmp_path, "depth")
    ramp = np.tile(np.arange(45, dtype=np.float32), (30, 1))
    small, stretched, right = source.predict(
        benchmark(),
        [sample(), sample(), sample()],
        [ramp, np.ones((45, 45), np.float32), np.ones((60, 90), np.float32)],
    )
    assert small.values.shape == (30, 45) and list(source.notes) == [
        "predictions of another size (45x30 for 90x60) are resized bilinearly to the ground truth"
    ]
    assert isinstance(stretched, CcdError) and "45x45" in stretched.message and "90x60" in stretched.message
    assert right.kind == "depth" and right.known.all()
    (pairs,) = source.predict(benchmark(replace(SPEC, task="pairs")), [sample()], [ramp])
    assert pairs.values.shape == (60, 90), "points of pairs are in pixels of the image"
    assert pairs.values[30, 1:-1] == pytest.approx((np.arange(90)[1:-1] + 0.5) / 2 - 0.5)


@pytest.mark.parametrize(
    ("shape", "same"),
    [
        ((518, 686), True),  # Depth Anything on 480x640: 14 times whole numbers
        ((240, 320), True),
        ((384, 512), True),
        ((392, 518), True),
        ((518, 518), False),
        ((240, 300), False),
        ((456, 608), False),  # a crop
        ((352, 1216), False),
        ((470, 640), False),
    ],
)
def test_which_sizes_show_the_same_view(shape, same):
    assert same_view(shape, (480, 640)) == same


def test_a_crop_of_kitti_is_not_resized():
    assert not same_view((375, 1242), (352, 1216)) and not same_view((352, 1216), (375, 1242))


@pytest.mark.parametrize("ending", [".npy", ".npz", ".exr", ".tiff", ".pfm", ".mat", ".h5", ".NPY"])
def test_predictions_of_every_format(tmp_path, ending):
    values = np.random.default_rng(0).random((60, 90)).astype(np.float32) + 1
    (tmp_path / "own" / "sub").mkdir(parents=True)
    write_depth(tmp_path / "own" / "sub" / f"a{ending}", values)
    assert (FileSource(tmp_path, "metric").prepare(benchmark(), 0) == values).all()


def test_whole_numbers_have_no_meters_without_a_sidecar(tmp_path):
    codes = np.arange(5400, dtype=np.uint16).reshape(60, 90)
    Image.fromarray(codes).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="whole numbers"):
        read_prediction(tmp_path / "a.png", "metric")
    assert np.isnan(read_prediction(tmp_path / "a.png", "depth")[0, 0])
    assert read_prediction(tmp_path / "a.png", "disparity")[0, 0] == 0, "the farthest value there is"
    side = {"ccd_sidecar": 1, "kind": "metric", "scale": 0.001, "offset": 0.0, "files": {"png16": "a.png"}}
    (tmp_path / "a.json").write_text(json.dumps(side))
    assert read_prediction(tmp_path / "a.png", "metric")[1, 0] == pytest.approx(0.09)
    with pytest.raises(ImageError, match="contradicts"):
        read_prediction(tmp_path / "a.png", "disparity")


def network(**changes):
    torch.manual_seed(0)
    made = DepthNet(timm_arch("mobilenetv4_conv_small", features=16, kind="depth"))
    made.arch = replace(made.arch, **changes)
    return NativeTeacher(made, "tiny")


def test_focal_lengths_of_the_set_reach_the_network():
    source = ModelSource("tiny", Model(network(canonical_focal=300.0), 64), 64, "builtin", CPU)
    camera = Camera(80.0, 80.0, 45.0, 30.0)
    with_lens, without = source.predict(benchmark(), [sample(camera=camera), sample()], [None, None])
    assert with_lens.kind == "metric" and without.kind == "depth"
    longer = replace(camera, fx=160.0)
    (doubled,) = source.predict(benchmark(), [sample(camera=longer)], [None])
    assert np.allclose(doubled.values, 2 * with_lens.values, rtol=1e-4)


def test_meters_follow_the_zoom_of_both_directions():
    """A photo of 95 x 60 is seen at 96 x 64, one upright at 64 x 96: the same camera gives the same meters of both."""
    teacher = network(canonical_focal=300.0)
    wide, upright = (depth_maps(teacher.arch, [np.ones(size, np.float32)], 64, [80.0]) for size in ((60, 95), (95, 60)))
    assert wide[0].values[0, 0] == upright[0].values[0, 0] == pytest.approx(80 * (64 / 60 + 96 / 95) / 2 / 300)


def test_photos_of_different_sizes_come_back_in_order():
    source = ModelSource("tiny", Model(network(), 64), 64, "builtin", CPU)
    photos = [sample(60, 90), sample(90, 60), sample(60, 90)]
    made = source.predict(benchmark(), photos, [None] * 3)
    assert [m.values.shape for m in made] == [(60, 90), (90, 60), (60, 90)]


class Watched(DiffusionTeacher):
    """A diffusion teacher without weights that keeps the sizes it sees."""

    def __init__(self):
        facts = TeacherFacts("watched", "affine-depth", "MIT")
        super().__init__(facts, {"unet": torch.nn.Linear(1, 1)}, None, 768)
        self.seen = []

    def size_for(self, height, width, longer):
        return (
            (height, width)
            if longer is None
            else (height * longer // max(height, width), width * longer // max(height, width))
        )

    def run(self, images):
        self.seen.append(tuple(images.shape[-2:]))
        return images.mean(1)


@pytest.mark.parametrize(
    ("suite", "asked", "protocol", "seen"),
    [
        ("zero-shot", None, None, (60, 90)),  # as it is, as the protocol runs NYUv2, KITTI and ScanNet
        ("zero-shot", None, 45, (30, 45)),  # DIODE, ETH3D
        ("zero-shot", 180, 45, (120, 180)),  # --resolution wins
        ("builtin", None, None, (512, 768)),  # the model's own
    ],
)
def test_diffusion_models_see_photos_as_the_protocol_says(suite, asked, protocol, seen):
    teacher = Watched()
    source = ModelSource("watched", Model(teacher, asked or 768), asked, suite, CPU)
    (made,) = source.predict(benchmark(replace(SPEC, resolution=protocol)), [sample()], [None])
    assert teacher.seen == [seen] and made.values.shape == (60, 90)


def test_other_models_keep_their_own_resolution():
    source = ModelSource("tiny", Model(network(), 64), None, "zero-shot", CPU)
    assert source.facts()["resolution"] == 64
    one = source.predict(benchmark(replace(SPEC, resolution=640)), [sample()], [None])[0]
    two = source.predict(benchmark(), [sample()], [None])[0]
    assert (one.values == two.values).all()


def test_a_suite_of_ones_own_may_say_a_resolution():
    told, plain = (
        ModelSource("tiny", Model(network(), 64), None, "own.yaml", CPU).predict(
            benchmark(replace(SPEC, resolution=side)), [sample()], [None]
        )[0]
        for side in (128, None)
    )
    assert (told.values != plain.values).any()
    flag = ModelSource("tiny", Model(network(), 64), 64, "own.yaml", CPU)
    won = flag.predict(benchmark(replace(SPEC, resolution=128)), [sample()], [None])[0]
    assert (won.values == plain.values).all(), "--resolution wins"


def test_what_a_network_does_not_take_is_said_for_each_photo():
    source = ModelSource("tiny", Model(network(), 64), 64, "builtin", CPU)
    bad = replace(sample(), rgb=np.zeros((0, 10, 3), np.uint8))
    made = source.predict(benchmark(), [bad], [None])
    assert isinstance(made[0], CcdError)
