"""Which runtime is taken, what is refused, and that all of them give one map."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ccd_cli.core import compute as computing
from ccd_cli.core.compute import Compute, choose_compute, computed_by
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Silent
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.runtimes.choose import SAVED, Work, export_seconds, is_worth, pass_seconds
from ccd_cli.teachers.load import ModelRef, resolve_model
from ccd_cli.teachers.model import load
from ccd_cli.teachers.registry import CARDS
from ccd_cli.teachers.runtime import choose_runtime, computed

CPU = Compute("cpu", "fp32", threads=1)
MANY = Work(10**6)


def photos():
    rng = np.random.default_rng(1)
    sizes = [(90, 140), (140, 90), (64, 64), (51, 203), (90, 140)]
    return [
        np.kron(rng.integers(0, 255, (h // 8 + 1, w // 8 + 1, 3)), np.ones((8, 8, 1)))[:h, :w].astype(np.uint8)
        for h, w in sizes
    ]


@pytest.fixture
def checkpoint(prepared, monkeypatch):
    path, home = prepared
    monkeypatch.setenv("CCD_HOME", str(home))
    return str(path)


def test_all_runtimes_give_the_same_maps_of_photos_of_all_shapes(checkpoint):
    maps = {}
    for runtime in ("torch", "openvino", "onnxruntime"):
        model = load(checkpoint, None, 96, CPU, Silent(), runtime=runtime)
        maps[runtime] = [made.values for made in model.teacher.predict_photos(photos(), 96)]
        assert model.runtime == runtime and model.computed == "fp32"
    for one, other in itertools.combinations(maps, 2):
        for a, b in zip(maps[one], maps[other], strict=True):
            assert a.shape == b.shape and np.ptp(a) > 0
            assert np.abs(a - b).max() <= 1e-5 * np.ptp(a), (one, other)


def test_crops_of_a_batch_too(checkpoint):
    import torch

    images = torch.rand(3, 3, 70, 90, generator=torch.Generator().manual_seed(0))
    made = [load(checkpoint, None, None, CPU, Silent(), runtime=name).teacher for name in ("torch", "openvino")]
    maps = [teacher.predict(images) for teacher in made]
    assert maps[0].shape == (3, 70, 90) and (maps[0] - maps[1]).abs().max() <= 1e-5 * float(
        maps[0].max() - maps[0].min()
    )
    values, features = made[1].predict_with_features(images)
    assert torch.equal(values, maps[1]) and features is None


def test_auto_takes_what_is_prepared_or_pays(checkpoint, tmp_path, monkeypatch):
    ref = resolve_model(checkpoint)
    assert choose_runtime(ref, "auto", CPU, Work()) == "openvino", "it is prepared"
    assert choose_runtime(ref, "auto", CPU, Work(), prepared=False) == "torch"
    assert choose_runtime(ref, "auto", CPU, MANY, prepared=False) == "openvino"
    assert choose_runtime(ref, "torch", CPU, MANY) == "torch"
    monkeypatch.setenv("CCD_HOME", str(tmp_path))
    assert choose_runtime(ref, "auto", CPU, Work()) == "torch"
    bf16 = Compute("cpu", "bf16")
    assert choose_runtime(ref, "auto", bf16, MANY) == "torch", "runtimes differ there"
    assert choose_runtime(ref, "openvino", bf16, Work()) == "openvino"
    assert choose_runtime(ref, "auto", Compute("cuda", "fp32"), MANY) == "torch"
    monkeypatch.setattr("ccd_cli.teachers.runtime.installed", lambda: [])
    assert choose_runtime(ref, "auto", CPU, MANY) == "torch"


def test_what_pays_grows_with_the_network_and_falls_with_the_cores():
    small, large = get_arch("depth-anything-v2-small"), get_arch("depth-anything-v2-large")
    tiny = timm_arch("mobilenetv4_conv_small", features=16)
    assert pass_seconds(tiny, None, 1) < pass_seconds(small, None, 1) < pass_seconds(large, None, 1)
    assert pass_seconds(small, None, 4) == pass_seconds(small, None, 1) / 4
    assert pass_seconds(small, 518 * 518, 1) < pass_seconds(small, 700 * 700, 1)
    breaking_even = export_seconds(small) / (pass_seconds(small, None, 2) * SAVED["openvino"])
    assert not is_worth("openvino", small, Work(int(breaking_even)), 2)
    assert is_worth("openvino", small, Work(int(breaking_even) + 2), 2)


def test_what_cannot_run_elsewhere_is_refused_in_a_line(checkpoint):
    ref = resolve_model(checkpoint)
    with pytest.raises(UsageProblem, match="--runtime openvino: cuda is computed by torch"):
        choose_runtime(ref, "openvino", Compute("cuda:0", "bf16"), Work())
    with pytest.raises(UsageProblem, match="onnxruntime on a CPU computes in fp32, not bf16"):
        choose_runtime(ref, "onnxruntime", Compute("cpu", "bf16"), Work())
    foreign = next(card for card in CARDS.values() if card.adapter == "transformers")
    theirs = ModelRef(foreign.name, resolve_model(checkpoint).path, None, foreign)
    with pytest.raises(UsageProblem, match="runs in its authors' library"):
        choose_runtime(theirs, "openvino", CPU, Work())
    assert choose_runtime(theirs, "auto", CPU, MANY) == "torch"
    with pytest.raises(UsageProblem, match="--compile: openvino compiles every network itself"):
        load(checkpoint, None, None, CPU, Silent(), compiled=True, runtime="openvino")


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(checkpoint, monkeypatch):
    monkeypatch.setattr("ccd_cli.runtimes.sessions.is_installed", lambda name: False)
    with pytest.raises(
        CcdError, match=r"openvino is not installed\. Install it: pip install \"ccd-depth\[openvino\]\""
    ):
        choose_runtime(resolve_model(checkpoint), "openvino", CPU, Work())


def test_auto_goes_back_to_torch_with_a_note_where_the_network_cannot_be_prepared(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file, where a folder should be")
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("ccd_cli.teachers.runtime.is_worth", lambda *_: True)
    report = Silent()
    assert load(checkpoint, None, None, CPU, report, runtime="auto").runtime == "torch"
    assert report.notes[-1].startswith("The network runs in torch: ")


def test_only_other_precisions_tell_runtimes_apart(checkpoint):
    ref, bf16 = resolve_model(checkpoint), Compute("cpu", "bf16")
    assert {computed(ref, name, CPU) for name in ("auto", "torch", "openvino", "onnxruntime")} == {"fp32"}
    assert [computed(ref, name, bf16) for name in ("auto", "torch", "openvino")] == ["bf16", "bf16", "bf16 (openvino)"]
    assert computed_by("int8", "onnxruntime") == "int8 (onnxruntime)"


def test_bf16_is_for_processors_that_have_it(monkeypatch):
    monkeypatch.setattr(computing, "cpu_has_bf16", lambda: False)
    with pytest.raises(UsageProblem, match="neither AVX512-BF16 nor AMX"):
        choose_compute("cpu", "bf16")
    monkeypatch.setattr(computing, "cpu_has_bf16", lambda: True)
    assert choose_compute("cpu", "bf16").precision == "bf16"
    with pytest.raises(UsageProblem, match="fp16 needs CUDA"):
        choose_compute("cpu", "fp16")


def test_threads_reach_the_session(checkpoint, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "ccd_cli.runtimes.cache.open_session", lambda *args: asked.append(args[3]) or (lambda images: images[:, 0])
    )
    for runtime in ("openvino", "onnxruntime"):
        assert load(checkpoint, None, None, Compute("cpu", "fp32", threads=1), Silent(), runtime=runtime).teacher
    assert asked == [1, 1]
