"""Where an export goes, what it may replace, and under which license."""

import pytest

from ccd_cli.core.errors import CcdError, TeacherError, UsageProblem
from ccd_cli.export.plan import make_plan
from ccd_cli.export.settings import Settings


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def plan(model="builtin:tiny", **values):
    return make_plan(model, Settings(**{"format": "onnx", **values}))


def test_names(tmp_path):
    assert plan().target.as_posix() == "ccd-export/builtin-tiny.onnx"
    assert plan(format="transformers").target.as_posix() == "ccd-export/builtin-tiny"
    assert plan(out=tmp_path / "a.onnx").target == tmp_path / "a.onnx"
    assert plan(out=tmp_path / "sub").target == tmp_path / "sub" / "builtin-tiny.onnx"
    assert plan(format="openvino", out=tmp_path / "a.xml").target == tmp_path / "a.xml"
    with pytest.raises(UsageProblem, match=r"end in \.onnx"):
        plan(out=tmp_path / "a.pth")
    for name, kind in (("A.ONNX", "onnx"), ("A.XML", "openvino"), ("A.Pth", "pth")):
        with pytest.raises(UsageProblem, match="Change the name"):
            plan(format=kind, out=tmp_path / name)


@pytest.mark.parametrize(
    ("own", "asked", "result"),
    [
        ("Apache-2.0", None, "Apache-2.0"),
        ("Apache-2.0", "Apache-2.0", "Apache-2.0"),
        ("Apache-2.0", "CC-BY-NC-4.0", "CC-BY-NC-4.0"),
        ("CC-BY-NC-4.0", "Apache-2.0", None),
        ("CC-BY-NC-4.0", "MIT", None),
        ("MIT", "CC0-1.0", None),
        ("unknown", "MIT", None),
    ],
)
def test_a_weaker_license_cannot_be_asked_for(make_teacher, own, asked, result):
    path = str(make_teacher("student", license=own))
    if result is None:
        with pytest.raises(UsageProblem, match=f"under {own}, the strictest"):
            plan(path, license=asked)
    else:
        assert plan(path, license=asked).license == result


@pytest.mark.parametrize("asked", ["", "unknown", "do what you want", "Apache-2.O"])
def test_a_license_that_nobody_knows_is_not_a_stricter_one(asked):
    with pytest.raises(UsageProblem, match="not a license that ccd knows"):
        plan(license=asked)


@pytest.mark.parametrize("name", ["a.onnx", "a.onnx.json"])
def test_what_exists_is_replaced_only_when_asked(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(CcdError, match=f"{name} exists"):
        plan(out=tmp_path / "a.onnx")
    assert plan(out=tmp_path / "a.onnx", overwrite=True)
    assert (tmp_path / name).read_text() == "mine"


def test_the_weights_beside_an_ir_count(tmp_path):
    (tmp_path / "a.bin").write_text("mine")
    with pytest.raises(CcdError, match=r"a\.bin exists"):
        plan(format="openvino", out=tmp_path / "a.xml")
    assert plan(out=tmp_path / "a.onnx")


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    with pytest.raises(CcdError, match="nothing that `ccd export` wrote"):
        plan(format="transformers", out=tmp_path / "home", overwrite=True)
    (tmp_path / "home" / "ccd_export.json").write_text("{}")
    assert plan(format="transformers", out=tmp_path / "home", overwrite=True)
    (tmp_path / "b.onnx.json").mkdir()
    with pytest.raises(CcdError, match=r"b\.onnx\.json is a folder"):
        plan(out=tmp_path / "b.onnx", overwrite=True)


def test_models_that_are_not_there(tmp_path):
    with pytest.raises(CcdError, match="no file or folder"):
        plan("./none.safetensors")
    with pytest.raises(TeacherError):
        plan("builtin:none")
    with pytest.raises(CcdError, match="exported network already"):
        plan("a.onnx")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"precision": "int8"}, "needs photos"),
        ({"precision": "bf16"}, "has no bf16"),
        ({"format": "pth", "resolution": 160}, "weights alone"),
        ({"format": "safetensors", "size": "fixed"}, "weights alone"),
        ({"format": "transformers", "precision": "int8"}, "has no int8"),
        ({"size": "64"}, "not a size"),
        ({"size": "0x64"}, "not a size"),
        ({"size": "64x64", "resolution": 96}, "contradicts"),
        ({"format": "tflite"}, "unknown value"),
    ],
)
def test_settings_that_contradict_themselves(values, problem):
    with pytest.raises(UsageProblem, match=problem):
        Settings(**{"format": "onnx", **values})
