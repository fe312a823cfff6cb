"""`ccd export` from end to end: files that the target software runs, and nothing left where that fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.paths import builtin_folder
from ccd_cli.runtimes.facts import read_facts
from ccd_cli.teachers.load import load_teacher

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "onnx_depth.py"
SIDE = 96


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(folder, result of the command) of the smallest built-in model as an ONNX file."""
    from click.testing import CliRunner

    from ccd_cli.cli.main import cli

    folder = tmp_path_factory.mktemp("exported")
    args = ["export", "builtin:tiny", "--format", "onnx", "--resolution", SIDE, "--out", folder / "tiny.onnx", "--json"]
    return folder, CliRunner().invoke(cli, [str(a) for a in args])


@pytest.fixture
def photo(tmp_path) -> Path:
    """A shipped photo, upright and without compression, so that every reader gives the same pixels."""
    path = tmp_path / "photo.png"
    Image.open(builtin_folder() / "photos" / "cat.jpg").crop((60, 0, 260, 300)).save(path)
    return path


@pytest.fixture
def dark(tmp_path) -> Path:
    """Ten photos of which those that are kept apart are photos and the others black: nothing can be calibrated on them."""
    folder = tmp_path / "dark"
    folder.mkdir()
    for i in range(10):
        Image.new("RGB", (64, 64)).save(folder / f"{i}.png")
    for i in (0, 5):
        Image.open(builtin_folder() / "photos" / "cat.jpg").resize((96 + i, 64)).save(folder / f"{i}.png")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_result_says_what_it_is_and_how_it_was_checked(exported):
    folder, result = exported
    assert result.exit_code == 0, result.stderr
    assert names(folder) == ["tiny.onnx", "tiny.onnx.json"]
    answer = json.loads(result.stdout)
    assert answer["files"] == [str(folder / name) for name in names(folder)]
    facts = json.loads((folder / "tiny.onnx.json").read_text())
    assert facts == answer["facts"]
    assert (facts["kind"], facts["license"], facts["opset"]) == ("disparity", "Apache-2.0", 18)
    assert facts["input"]["resolution"] == SIDE and facts["size"] is None
    checked = facts["checked"]
    assert checked["software"].startswith("onnxruntime ") and checked["bar"]["largest"] == 1e-3
    assert len(checked["photos"]) >= 5 and all(each["largest"] < 1e-3 for each in checked["photos"])
    sides = [each["name"].split(" at ")[1].split("x") for each in checked["photos"]]
    assert len({int(width) / int(height) for width, height in sides}) >= 4
    for each in checked["photos"]:
        assert each["name"] in result.stderr
    assert read_facts(folder / "tiny.onnx").arch.resolution == SIDE
    model = onnx.load(str(folder / "tiny.onnx"))
    assert {p.key: p.value for p in model.metadata_props}["license"] == "Apache-2.0"
    assert model.opset_import[0].version == 18


def test_the_example_needs_nothing_of_ccd_and_gives_its_map(exported, photo, tmp_path):
    assert len(EXAMPLE.read_text().splitlines()) <= 30
    code = (
        "import runpy, sys; name, *sys.argv = sys.argv[:1] + sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0]); assert not {'torch', 'ccd_cli', 'timm', 'PIL'} & set(sys.modules)"
    )
    args = [EXAMPLE, exported[0] / "tiny.onnx", photo, tmp_path / "depth.png"]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([sys.executable, "-I", "-c", code, *map(str, args)], cwd=tmp_path, env=env, check=True, timeout=120)
    made = cv2.imread(str(tmp_path / "depth.png"), cv2.IMREAD_UNCHANGED)
    rgb = np.asarray(Image.open(photo).convert("RGB"))
    (wanted,) = load_teacher("builtin:tiny").predict_photos([rgb], SIDE)
    values = wanted.values.astype(np.float64)
    values = (values - values.min()) / np.ptp(values)
    assert made.dtype == np.uint16 and made.shape == rgb.shape[:2] == (300, 200)
    assert np.abs(made / 65535 - values).max() < 1e-3


def test_what_exists_stays_unless_it_is_to_be_replaced(exported, ccd_here):
    folder, _ = exported
    before = (folder / "tiny.onnx").read_bytes()
    result = ccd_here("export", "builtin:sharp", "--format", "onnx", "--out", folder / "tiny.onnx")
    assert result.exit_code == 1 and "exists. Replace it with --overwrite" in result.stderr
    assert (folder / "tiny.onnx").read_bytes() == before


def test_a_result_that_is_too_far_is_not_written(ccd_here, dark, tmp_path, make_teacher):
    model = make_teacher("student", encoder="mobilenetv4_conv_small")
    (tmp_path / "a.onnx").write_text("mine")
    asked = ["export", model, "--format", "onnx", "--resolution", 64, "--out", "a.onnx", "--overwrite"]
    before = names(tmp_path)
    result = ccd_here(*asked, "--precision", "int8", "--calibration", dark)
    assert result.exit_code == 1 and "was not written" in result.stderr and "the bar is" in result.stderr
    assert "too far" in result.stderr
    assert names(tmp_path) == before and (tmp_path / "a.onnx").read_text() == "mine"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_openvino(ccd_here, make_teacher, tmp_path, precision):
    openvino = pytest.importorskip("openvino")
    model = make_teacher("student", kind="depth")
    asked = ["export", model, "--format", "openvino", "--resolution", 64, "--out", "a.xml", "--precision", precision]
    result = ccd_here(*asked)
    assert result.exit_code == 0, result.stderr
    assert {"a.xml", "a.xml.json", "a.bin"} <= set(names(tmp_path))
    facts = read_facts(tmp_path / "a.xml")
    assert (facts.arch.kind, facts.precision) == ("depth", precision)
    assert openvino.Core().read_model("a.xml").input(0).partial_shape.is_dynamic
    (tmp_path / "a.bin").write_bytes(b"0" * 100)
    with pytest.raises(Exception, match=r"a\.bin is gone, changed or damaged"):
        read_facts(tmp_path / "a.xml")


def test_half_precision_takes_half_the_bytes(ccd_here, make_teacher, tmp_path, exported):
    model = make_teacher("student")
    for precision in ("fp32", "fp16"):
        result = ccd_here(
            "export",
            model,
            "--format",
            "onnx",
            "--size",
            "64x96",
            "--out",
            f"{precision}.onnx",
            "--precision",
            precision,
        )
        assert result.exit_code == 0, result.stderr
    small, large = ((tmp_path / f"{p}.onnx").stat().st_size for p in ("fp16", "fp32"))
    assert small < 0.6 * large
    assert read_facts(tmp_path / "fp16.onnx").size == (64, 96)


@pytest.mark.parametrize(
    ("args", "code", "problem"),
    [
        (["none.safetensors"], 2, "no file or folder none.safetensors"),
        (["builtin:none"], 2, "Unknown built-in model"),
        (["builtin:tiny", "--resolution", "100"], 2, "needs multiples of 32. Use 96."),
        (["builtin:tiny", "--size", "100x96"], 2, "needs multiples of 32. Use 96."),
        (["builtin:tiny", "--precision", "bf16"], 2, "has no bf16"),
        (["builtin:tiny", "--precision", "int8"], 2, "needs photos to calibrate on"),
        (["builtin:tiny", "--precision", "int8", "--calibration", "."], 1, "has 0 photos"),
        (["builtin:tiny", "--license", "CC0-1.0"], 2, "under Apache-2.0"),
        (["builtin:tiny", "--out", "file/a.onnx"], 1, "file is a file, where a folder should be"),
        (["builtin:tiny", "--out", "/proc/a.onnx"], 1, "/proc/a.onnx"),
        (["builtin:tiny", "--out", "a.xml"], 2, "end in .onnx"),
    ],
)
def test_what_cannot_be_is_one_line(ccd_here, tmp_path, args, code, problem):
    (tmp_path / "file").write_text("x")
    result = ccd_here("export", *args, "--format", "onnx")
    assert result.exit_code == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Loading")]
    assert len(lines) == 1 and problem in lines[0]
    assert names(tmp_path) == ["file"]


def test_other_families_stay_where_they_are(ccd_here):
    result = ccd_here("export", "moge-2-large", "--format", "onnx")
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1


def test_a_dry_run_writes_nothing(ccd_here, tmp_path):
    result = ccd_here("export", "builtin:tiny", "--format", "onnx", "--dry-run", "--json")
    assert json.loads(result.stdout)["target"] == str(Path("ccd-export/builtin-tiny.onnx"))
    assert "Apache-2.0" in result.stderr and not names(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size there")
def test_a_full_disk_leaves_nothing(tmp_path, make_teacher):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "from ccd_cli.cli.main import main; main()"
    )
    args = ["export", str(make_teacher("student")), "--format", "onnx", "--size", "64x64", "--out", "here/a.onnx"]
    env = {**os.environ, "CCD_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "here").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing(tmp_path, number):
    env = {**os.environ, "CCD_HOME": str(tmp_path / "home")}
    args = [sys.executable, "-m", "ccd_cli", "export", "builtin:tiny", "--format", "onnx", "--out", "here/a.onnx"]
    with subprocess.Popen(args, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        here, end = tmp_path / "here", time.monotonic() + 200
        while not list(here.glob(".*/*")) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=200)
    assert process.returncode == 128 + number, said
    assert "Stopped; nothing was written." in said and "Traceback" not in said
    assert not here.exists()


def test_weights_are_read_back(ccd_here, tmp_path):
    result = ccd_here("export", "builtin:tiny", "--format", "pth", "--out", "a.pth")
    assert result.exit_code == 0, result.stderr
    facts = json.loads((tmp_path / "a.pth.json").read_text())
    assert facts["license"] == "Apache-2.0" and "input" not in facts
    assert all(each["largest"] == 0 for each in facts["checked"]["photos"])


def test_a_network_without_a_counterpart_leaves_nothing(ccd_here, tmp_path):
    result = ccd_here("export", "builtin:tiny", "--format", "transformers", "--out", "folder")
    assert result.exit_code == 1 and "has no counterpart in transformers" in result.stderr
    assert not names(tmp_path)
