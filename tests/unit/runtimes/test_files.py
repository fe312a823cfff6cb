"""An exported file is a model: what is read, what is refused, and how images come to its size."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from ccd_cli.core import checksums
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError, CheckpointError, UnknownModel, UsageProblem
from ccd_cli.core.report import Silent
from ccd_cli.models.arch import timm_arch
from ccd_cli.runtimes.facts import ExportFacts, read_facts, write_facts
from ccd_cli.runtimes.sessions import open_session
from ccd_cli.teachers.adapters.exported import OWN_CODE_FROM
from ccd_cli.teachers.load import load_teacher, resolve_model
from ccd_cli.teachers.model import load
from tests.unit.runtimes.test_choose import photos

CPU = Compute("cpu", "fp32", threads=1)


@pytest.fixture
def student(prepared, tmp_path, monkeypatch):
    """The prepared network as a file of one's own, with its facts."""
    home = prepared[1]
    monkeypatch.setenv("CCD_HOME", str(home))
    (graph,) = (home / "runtimes").rglob("network.onnx")
    path = tmp_path / "student.onnx"
    shutil.copy(graph, path)
    write_facts(path, read_facts(graph))
    return path


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_an_onnx_file_gives_the_maps_of_its_checkpoint(student, prepared, runtime):
    model, original = (
        load(str(p), None, 96, CPU, Silent(), runtime=r) for p, r in ((student, runtime), (prepared[0], "torch"))
    )
    assert model.about.name == "student" and model.about.license == "MIT" and model.runtime == runtime
    assert model.about.checkpoint_sha256 != original.about.checkpoint_sha256
    for a, b in zip(
        model.teacher.predict_photos(photos(), 96), original.teacher.predict_photos(photos(), 96), strict=True
    ):
        assert a.kind == b.kind and np.abs(a.values - b.values).max() <= 1e-5 * np.ptp(b.values)


def test_an_openvino_file_does_too_and_bf16_is_near(student, tmp_path):
    import openvino

    path = tmp_path / "student.xml"
    openvino.save_model(openvino.convert_model(str(student)), str(path), compress_to_fp16=False)
    write_facts(path, read_facts(student))
    maps = {}
    for name, precision in ((student, "fp32"), (path, "fp32"), (path, "bf16")):
        model = load(str(name), None, None, Compute("cpu", precision, threads=1), Silent(), runtime="auto")
        assert model.runtime == "openvino" and model.computed == ("bf16 (openvino)" if precision == "bf16" else "fp32")
        maps[name.suffix + precision] = model.teacher.predict_photos(photos()[:1], 96)[0].values
    size = np.ptp(maps[".onnxfp32"])
    assert np.abs(maps[".onnxfp32"] - maps[".xmlfp32"]).max() <= 1e-5 * size
    assert np.abs(maps[".onnxfp32"] - maps[".xmlbf16"]).max() <= 0.1 * size
    with pytest.raises(UsageProblem, match=r"--runtime onnxruntime: .*student\.xml is a file of openvino"):
        load(str(path), None, None, CPU, Silent(), runtime="onnxruntime")
    path.with_suffix(".bin").unlink()
    with pytest.raises(CheckpointError, match=r"student\.bin is gone, changed or damaged"):
        resolve_model(str(path))


def test_a_file_is_a_teacher_of_a_distillation_run(student):
    import torch

    teacher = load_teacher(str(student), resolution=96)
    rgb = torch.rand(2, 3, 70, 90, generator=torch.Generator().manual_seed(0))
    assert teacher.predict(rgb).shape == (2, 70, 90) and teacher.feature_width is None
    with pytest.raises(UsageProblem, match="runs on the CPU"):
        load_teacher(str(student), device="cuda")


def test_a_file_runs_on_the_cpu_where_there_is_a_gpu_that_nobody_asked_for(student):
    def loaded(*auto, precision="bf16"):
        compute = Compute("cuda:0", precision, threads=1, auto=auto)
        return load(str(student), None, None, compute, Silent(), runtime="auto")

    model = loaded("device", "precision")
    here = load(str(student), None, None, CPU, Silent(), runtime="auto")
    assert (model.computed, here.computed) == ("fp32", "fp32")
    maps = [each.teacher.predict_photos(photos()[:1], 96)[0].values for each in (model, here)]
    assert np.array_equal(*maps)
    with pytest.raises(UsageProblem, match=r"runs on the CPU here"):
        loaded("precision")
    with pytest.raises(UsageProblem, match=r"--precision fp16: .*runs on the CPU here"):
        loaded("device", precision="fp16")


@pytest.fixture
def fixed(tmp_path):
    """A network of one size, 32 x 64: the mean of the channels plus the column's number."""
    return graph(tmp_path / "fixed.onnx", [1, 3, 32, 64], (32, 64))


def graph(path, shape, size, opset=18, location=None):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [64], np.arange(64, dtype=np.float32).tobytes(), raw=True)
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["m"], keepdims=0),
        helper.make_node("Add", ["m", "w"], ["depth"]),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("depth", TensorProto.FLOAT, [shape[0], *shape[2:]])],
        [weight, axes],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    if location:
        onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    else:
        onnx.save(model, path)
    arch = timm_arch("test_vit", features=16, multiple=16, resolution=64)
    write_facts(path, ExportFacts(arch, "fixed", "MIT", "ab" * 32, "fp32", size))
    return path


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_network_of_one_size_sees_every_photo_at_exactly_that_size(fixed, runtime):
    model = load(str(fixed), None, None, CPU, Silent(), runtime=runtime)
    tall, flat = (np.full(shape, 51, np.uint8) for shape in ((100, 40, 3), (63, 127, 3)))
    for photo, made in zip((tall, flat), model.teacher.predict_photos([tall, flat], None), strict=True):
        assert made.values.shape == photo.shape[:2]
        np.testing.assert_allclose(made.values[:, [0, -1]], [[0.2, 63.2]] * len(photo), atol=1e-4)
    assert model.short_side(100, 40) == 32 and model.resolution == 32
    import torch

    assert model.teacher.predict(torch.full((3, 3, 50, 50), 0.2)).shape == (3, 50, 50)


def test_another_resolution_than_that_of_the_file_is_refused(fixed):
    long_side = load(str(fixed), None, 64, CPU, Silent(), runtime="auto")
    assert (
        long_side.teacher and long_side.resolution == 32
    )  # what is recorded is the short side, as without a resolution
    with pytest.raises(UsageProblem, match="fixed sees every image at exactly 64x32 pixels, not at a resolution of 48"):
        load(str(fixed), None, 48, CPU, Silent(), runtime="auto")


def test_what_is_no_exported_network_is_refused_in_a_line(student, tmp_path):
    with pytest.raises(UnknownModel, match=r"There is no file or folder .*nowhere\.onnx"):
        resolve_model(str(tmp_path / "nowhere.onnx"))
    alone = tmp_path / "alone.onnx"
    shutil.copy(student, alone)
    with pytest.raises(CheckpointError, match=r"alone\.onnx has no alone\.onnx\.json beside it"):
        resolve_model(str(alone))
    with pytest.raises(UsageProblem, match=r"--runtime torch: .* is a file of onnxruntime"):
        load(str(student), None, None, CPU, Silent(), runtime="torch")
    with pytest.raises(CheckpointError, match="it says that it is timm-test_vit"):
        resolve_model(str(student), "depth-anything-v2-small")
    with student.open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with pytest.raises(CheckpointError, match="gone, changed or damaged"):
        resolve_model(str(student))


def test_who_names_no_runtime_gets_what_runs_the_file(student):
    assert load(str(student), None, None, CPU, Silent()).runtime == "openvino"


def test_a_file_may_be_renamed_with_its_facts(student, tmp_path):
    for name in ("other.onnx", "Other.ONNX"):
        other = shutil.copy(student, tmp_path / name)
        shutil.copy(f"{student}.json", f"{other}.json")
        ref = resolve_model(str(other))
        assert (ref.name, ref.license) == (other.stem, "MIT") and ref.sha256 == resolve_model(str(student)).sha256


def test_facts_of_another_file_are_refused_even_where_that_file_is_whole(student, fixed):
    shutil.copy(f"{student}.json", f"{fixed}.json")
    with pytest.raises(CheckpointError, match=r"fixed\.onnx .* is not what fixed\.onnx\.json describes"):
        resolve_model(str(fixed))


def test_damage_between_the_samples_of_a_large_file_is_found(student, monkeypatch):
    monkeypatch.setattr(checksums, "SAMPLED", 1000)
    monkeypatch.setattr(checksums, "_PIECE", 16)
    write_facts(student, read_facts(student))
    content = bytearray(student.read_bytes())
    content[len(content) // 30] ^= 1
    student.write_bytes(content)
    with pytest.raises(CheckpointError, match="gone, changed or damaged"):
        resolve_model(str(student))


def test_half_weights_at_bf16_are_told_from_half_weights_at_fp32(student):
    write_facts(student, replace(read_facts(student), precision="fp16"))
    found = {}
    for precision in ("fp32", "bf16"):
        model = load(str(student), None, None, Compute("cpu", precision, threads=1), Silent(), runtime="openvino")
        found[precision] = model.computed, model.teacher.precision
    assert found == {"fp32": ("fp16 (openvino)", "fp16"), "bf16": ("fp16+bf16 (openvino)", "fp16+bf16")}


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_graph_that_cannot_be_run_is_refused_in_a_line(tmp_path, runtime):
    facts = ExportFacts(timm_arch("test_vit", features=16), "x", "MIT", "ab" * 32)
    text = tmp_path / "text.onnx"
    text.write_text("no graph")
    newer = graph(tmp_path / "newer.onnx", [1, 3, 32, 64], None, opset=99)
    apart = graph(tmp_path / "apart.onnx", [1, 3, 32, 64], None, location="apart.data")
    (tmp_path / "apart.data").unlink()
    flat = graph(tmp_path / "flat.onnx", [3, 32, 64], None)
    half = tmp_path / "half.onnx"
    half.write_bytes(newer.read_bytes()[:100])
    said = {text: "is no ONNX model", half: "is no ONNX model", newer: "is written in ONNX opset 99"}
    said |= {apart: "cannot load it", flat: "is no depth network"}
    for path, words in said.items():
        write_facts(path, facts)
        with pytest.raises(CheckpointError, match=words) as caught:
            load(str(path), None, None, CPU, Silent(), runtime=runtime).teacher  # noqa: B018
        assert "\n" not in str(caught.value) and str(path) in str(caught.value), str(caught.value)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_an_image_of_another_size_is_refused_in_a_line(fixed, runtime):
    session = open_session(runtime, fixed)
    with pytest.raises(CcdError, match="cannot be run on this image") as caught:
        session(np.zeros((1, 3, 32, 48), np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_threads_that_share_a_network_get_their_own_maps(tmp_path, runtime):
    session = open_session(runtime, graph(tmp_path / "free.onnx", [1, 3, "height", 64], None), threads=1)

    def wrong(value):
        image = np.full((1, 3, 32 * value, 64), value, np.float32)
        return sum(
            not np.array_equal(session(image)[0], value + np.tile(np.arange(64), (32 * value, 1))) for _ in range(50)
        )

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(wrong, range(1, 9))) == [0] * 8


@pytest.mark.slow
def test_a_clip_is_compiled_for_its_size_and_keeps_its_maps(student):
    model = load(str(student), None, None, CPU, Silent(), runtime="openvino")
    rng = np.random.default_rng(0)
    wide, tall = (rng.integers(0, 255, (*size, 3), np.uint8) for size in ((96, 160), (160, 96)))
    assert model.for_clip(OWN_CODE_FROM - 1, 96, 160) is model.teacher
    own = model.for_clip(OWN_CODE_FROM, 96, 160)
    assert own.session._own is not None
    assert own.session._shape == (1, 3, *model.input_size(96, 160))
    for group in ([wide], [tall], [wide, wide]):  # its size, another one, two at once
        for made, expected in zip(own.predict_photos(group), model.teacher.predict_photos(group), strict=True):
            assert np.abs(made.values - expected.values).max() <= 1e-5 * np.ptp(expected.values)
    other = load(str(student), None, None, CPU, Silent(), runtime="onnxruntime")
    assert other.for_clip(OWN_CODE_FROM, 96, 160) is other.teacher
