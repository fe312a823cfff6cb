import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ccd_cli.core.errors import CheckpointError, TeacherError, UnknownModel, UsageProblem
from ccd_cli.core.paths import cache_folder
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.models.checkpoint import save_model
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.keys import published_name
from ccd_cli.teachers import load
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.load import load_teacher, resolve_model
from ccd_cli.teachers.paths import find_weights

STUDENT = timm_arch("test_convnext", features=16)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run_folder(tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "my-run"
    save_model(folder / "student.safetensors", DepthNet(STUDENT), STUDENT, {"license": "Apache-2.0"})
    return folder


@pytest.fixture(scope="module")
def v2_state():
    torch.manual_seed(0)
    state = DepthNet(get_arch("depth-anything-v2-small")).state_dict()
    return {published_name(n, "depth-anything"): t for n, t in state.items()}


def test_home(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("CCD_HOME")
    assert cache_folder().name == "ccd"


def test_absent_weights_are_explained(cache):
    with pytest.raises(TeacherError) as caught:
        find_weights("depth-anything-v2-small")
    told = str(caught.value)
    place = cache / "teachers" / "depth-anything-v2-small" / "depth_anything_v2_vits.pth"
    for part in (
        "depth_anything_v2_vits.pth",
        "https://huggingface.co/depth-anything/Depth-Anything-V2-Small",
        str(place),
    ):
        assert part in told
    with pytest.raises(TeacherError, match="Did you mean"):
        find_weights("depth-anything-v2-smal")


def test_a_catalog_teacher(cache, v2_state):
    path = cache / "teachers" / "depth-anything-v2-small" / "depth_anything_v2_vits.pth"
    path.parent.mkdir(parents=True)
    torch.save(v2_state, path)
    ref = resolve_model("depth-anything-v2-small")
    assert (ref.path, ref.arch, ref.kind, ref.license) == (path, "depth-anything-v2-small", "disparity", "Apache-2.0")
    teacher = load_teacher("depth-anything-v2-small")
    assert isinstance(teacher, Teacher)
    assert (teacher.name, teacher.kind, teacher.license, teacher.feature_width) == (
        ref.name,
        ref.kind,
        ref.license,
        384,
    )
    assert teacher.checkpoint_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UsageProblem, match="contradicts"):
        resolve_model("depth-anything-v2-small", "depth-anything-v1-small")


def test_a_run_folder_may_be_a_teacher(run_folder):
    for word in (str(run_folder), str(run_folder / "student.safetensors")):
        ref = resolve_model(word)
        assert (ref.kind, ref.license, ref.card) == ("disparity", "Apache-2.0", None)
    teacher = load_teacher(str(run_folder))
    assert (teacher.name, teacher.kind, teacher.license) == ("my-run", "disparity", "Apache-2.0")
    assert teacher.predict(torch.rand(1, 3, 64, 64)).shape == (1, 64, 64)


def test_kind_comes_from_the_files_metadata(tmp_path):
    path = save_model(tmp_path / "m.safetensors", DepthNet(STUDENT), STUDENT, {"kind": "metric"})
    assert resolve_model(str(path)).kind == "metric"
    assert load_teacher(str(path)).kind == "metric"


def test_checkpoint_files_of_others(tmp_path, v2_state):
    path = tmp_path / "w.pth"
    torch.save(v2_state, path)
    ref = resolve_model(str(path), "depth-anything-v1-small")
    assert (ref.kind, ref.license) == ("disparity", "unknown")
    assert load_teacher(ref).kind == "disparity"
    assert load_teacher(str(path), "depth-anything-v2-metric-indoor-small").kind == "metric"
    undecided = resolve_model(str(path))
    for ask in (lambda: undecided.kind, lambda: load_teacher(undecided)):
        with pytest.raises(CheckpointError, match="depth-anything-v1-small, depth-anything-v2-small"):
            ask()
    named = path.rename(tmp_path / "depth_anything_v2_metric_vkitti_vits.pth")
    assert resolve_model(str(named)).kind == "metric"


def test_words_that_are_no_model(tmp_path, run_folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.pth").touch()
    cases = [
        (str(tmp_path / "empty"), TeacherError, "not a run folder"),
        (str(tmp_path / "absent.pth"), UnknownModel, "no file or folder"),
        (str(tmp_path / "zero.pth"), CheckpointError, "empty"),
        ("depth-anything-v2-smal", UnknownModel, "Did you mean"),
        (str(run_folder / "student.safetensors") + "x", UnknownModel, "no file .* Did you mean .*student.safetensors"),
        ("x" * 5000, CheckpointError, "cannot be read"),
        ("midas-3.1-swin2-tin", TeacherError, "Did you mean midas-3.1-swin2-tiny"),
    ]
    for word, error, text in cases:
        with pytest.raises(error, match=text) as caught:
            resolve_model(word)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageProblem, match="no architecture"):
        resolve_model(str(run_folder), "nothing-like-it")


@pytest.mark.parametrize("name", ["marigold-lcm", "genpercept-depth", "midas-3.1-swin2-tiny", "moge-2-large"])
def test_other_libraries_are_asked_for_before_weights(name, monkeypatch):
    assert resolve_model(name).card.name == name
    adapters = {key: (module, "no_such_package") for key, (module, _) in load._ADAPTERS.items()}
    monkeypatch.setattr(load, "_ADAPTERS", adapters)
    with pytest.raises(TeacherError, match=r"needs no_such_package.*pip install"):
        load_teacher(name)
    monkeypatch.setattr(load, "_ADAPTERS", {key: (module, "json") for key, (module, _) in adapters.items()})
    with pytest.raises(TeacherError, match="ccd teachers pull " + name):
        load_teacher(name)


def test_a_card_of_ones_own_may_change_kind_and_resolution(cache, tmp_path, v2_state):
    torch.save(v2_state, tmp_path / "mine.pth")
    (cache / "cards").mkdir(parents=True)
    lines = ["name: my-depth", "arch: depth-anything-v2-small", f"file: {tmp_path / 'mine.pth'}", "license: MIT"]
    (cache / "cards" / "any.yaml").write_text("\n".join([*lines, "kind: depth", "resolution: 140"]))
    teacher = load_teacher("my-depth")
    assert (teacher.name, teacher.kind, teacher.license) == ("my-depth", "depth", "MIT")
    assert teacher.model.arch.resolution == 140
    (made,) = teacher.predict_photos([np.zeros((60, 80, 3), np.uint8)])
    assert (made.kind, made.values.shape) == ("depth", (60, 80))
    (tmp_path / "mine.pth").unlink()
    with pytest.raises(TeacherError, match="not where its card says"):
        load_teacher("my-depth")


def test_a_package_may_bring_a_teacher(tmp_path, run_folder, monkeypatch):
    (tmp_path / "site" / "half_depth-1.0.dist-info").mkdir(parents=True)
    info = tmp_path / "site" / "half_depth-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half-depth\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ccd.teachers]\nhalf-depth = half_depth:offer\n")
    (tmp_path / "site" / "half_depth.py").write_text(
        "from dataclasses import replace\n"
        "from ccd_cli.teachers.registry import CARDS\n"
        "from ccd_cli.teachers.load import load_teacher\n"
        "def offer():\n"
        "    card = replace(CARDS['depth-anything-v2-small'], name='half-depth', adapter='plugin', repo='', file='')\n"
        f"    return card, lambda card, device, precision, resolution: load_teacher({str(run_folder)!r})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    ref = resolve_model("half-depth")
    assert ref.kind == "disparity"
    assert load_teacher(ref).predict(torch.rand(1, 3, 64, 64)).shape == (1, 64, 64)


def test_resolving_a_run_folder_does_not_import_torch(run_folder):
    code = (
        "import sys; from ccd_cli.teachers.load import resolve_model; "
        f"print(resolve_model({str(run_folder)!r}).kind, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["disparity", "False"]


def test_a_hash_of_a_large_file_is_read_in_pieces(tmp_path):
    from ccd_cli.models.files import sha256_file

    path = tmp_path / "big"
    path.write_bytes(b"x" * 3_000_001)
    assert sha256_file(path) == hashlib.sha256(Path(path).read_bytes()).hexdigest()
