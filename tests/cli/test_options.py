"""Options are typed once: settings classes feed click, and click's values come back as settings."""

import ast
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import click
import pytest
from click.testing import CliRunner

import ccd_cli
from ccd_cli.analyze.settings import Settings as AnalyzeSettings
from ccd_cli.cli.main import cli
from ccd_cli.cli.options import Command, PanelOption, options_from
from ccd_cli.cli.screen import JsonScreen, RecipeChanges
from ccd_cli.config.settings import DistillSettings, LabelSettings
from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.options import PANELS, REQUIRED, changed, check_choices, option, options_of
from ccd_cli.core.settings import DeviceSettings
from ccd_cli.evaluate.settings import Settings as EvalSettings
from ccd_cli.inspection.settings import Settings as InspectSettings
from ccd_cli.pointcloud.settings import CloudSettings
from ccd_cli.pointcloud.settings import Settings as PointcloudSettings
from ccd_cli.predict.settings import ModelSettings
from ccd_cli.predict.settings import Settings as PredictSettings
from ccd_cli.prepare.settings import Settings as PrepareSettings

ROOT = Path(ccd_cli.__file__).parent
RUNTIME = ["--device", "--precision", "--threads"]
SCREEN = ["--verbose", "--quiet", "--help"]
CLOUD = [
    *("--intrinsics", "--fov", "--near", "--far", "--align-to", "--ref-scale", "--edge-cut", "--no-edge-cut"),
    *("--voxel", "--normals", "--outliers", "--max-depth", "--format", "--preview", "--no-preview"),
]
FLAGS = {
    "predict": [
        *("--model", "--arch", "--out", "--resolution", "--save", "--cmap", "--pointcloud", "--batch", "--temporal"),
        *("--start", "--end", "--stride", "--every", "--compile", "--overwrite", "--offline", "--json"),
        *(CLOUD + RUNTIME),
    ],
    "pointcloud": ["--depth", "--kind", "--depth-scale", "--out", "--json", *CLOUD],
    "eval": [
        *("--suite", "--model", "--arch", "--data-root", "--predictions", "--prediction-kind", "--prediction-scale"),
        *("--alignment", "--alignment-max-res", "--resolution", "--camera", "--out", "--overwrite", "--limit"),
        *("--json", *RUNTIME),
    ],
    "analyze": [
        *("--suite", "--model", "--arch", "--resolution", "--data-root", "--images", "--draws", "--seed", "--out"),
        *("--json", *RUNTIME),
    ],
    "distill": ["--set", "--dry-run", "--profile", "--out", "--resume", "--overwrite", "--json", *RUNTIME],
    "label": ["--set", "--dry-run", "--out", "--overwrite", "--engine", "--workers", "--json", *RUNTIME],
    "inspect": ["--out", "--rows", "--json"],
    "doctor": ["--json"],
}
"""Scripts are written against these names: they may grow but not change."""


def walk(command, path=()):
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from walk(command.get_command(click.Context(command), name), (*path, name))
    else:
        yield path, command


COMMANDS = dict(walk(cli))


@pytest.mark.parametrize("name", FLAGS)
def test_names_of_options_stay(name):
    command = COMMANDS[(name,)]
    params = command.get_params(click.Context(command))
    there = {flag for p in params if isinstance(p, click.Option) for flag in (*p.opts, *p.secondary_opts)}
    assert there >= {*FLAGS[name], *SCREEN}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_verbose_or_quiet_and_every_option_has_a_heading_and_a_sentence(path):
    command = COMMANDS[path]
    assert isinstance(command, Command)
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert {"verbose", "quiet"} <= {param.name for param in options}
    for param in options:
        assert isinstance(param, PanelOption) and param.panel in PANELS
        assert param.help[0].isupper() and param.help.endswith((".", ")")), param.help


def test_help_is_grouped_in_the_order_of_the_headings():
    lines = CliRunner().invoke(cli, ["predict", "--help"]).output.splitlines()
    headings = [line[:-1] for line in lines if line[:-1] in PANELS and line.endswith(":")]
    assert headings == ["Output", "Model", "Video", "Point cloud", "Camera", "Runtime", "Other"]
    assert "Options:" not in lines
    place = lines.index("Point cloud:")
    assert lines[place + 1].split()[0] == "--pointcloud"


@pytest.mark.parametrize(
    "settings",
    [
        AnalyzeSettings,
        DistillSettings,
        EvalSettings,
        InspectSettings,
        JsonScreen,
        LabelSettings,
        ModelSettings,
        PointcloudSettings,
        PredictSettings,
        RecipeChanges,
        DeviceSettings,
    ],
)
def test_a_command_without_options_gets_the_defaults_of_its_settings(settings, monkeypatch):
    monkeypatch.delenv("CCD_DATA", raising=False)
    got = []
    command = click.command(cls=Command)(options_from(settings=settings)(lambda settings: got.append(settings)))
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 0, result.output
    assert got == [settings()]


def built(settings, *args):
    got = []
    command = click.command(cls=Command)(options_from(settings=settings)(lambda settings: got.append(settings)))
    result = CliRunner().invoke(command, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return got[0] if got else result


def test_values_of_every_type(tmp_path, monkeypatch):
    monkeypatch.setenv("CCD_DATA", "elsewhere")
    args = "--save npy, --save npz,color,npz --batch 4 --no-preview --pointcloud --voxel 0.1 --no-edge-cut --start 2 --format glb"
    seen = built(PredictSettings, *args.split(), "--intrinsics", "500,510,320,240", "--out", tmp_path)
    assert (seen.save, seen.batch, seen.preview, seen.start) == (("npz", "color"), 4, False, 2.0)
    assert (seen.cloud, seen.cloud_format) == (CloudSettings(voxel=0.1, edge_cut=False), "glb")
    assert (seen.intrinsics.camera.fy, seen.out) == (510.0, tmp_path)
    scored = built(EvalSettings, "--model", "a", "--model", "b", "--limit", 3, "--alignment", "midas")
    assert (scored.models, scored.limit, scored.alignment) == (("a", "b"), 3, "midas")
    assert scored.data_root == Path("elsewhere")
    assert built(PrepareSettings, "--from", "x").source == Path("x")


@pytest.mark.parametrize(
    ("settings", "args", "word"),
    [
        (PrepareSettings, (), "--from"),
        (EvalSettings, ("--limit", 0), "--limit"),
        (EvalSettings, ("--camera", "mine"), "--camera"),
        (PredictSettings, ("--batch", 0), "--batch"),
        (PredictSettings, ("--resolution", 13), "--resolution"),
        (ModelSettings, ("--resolution", 13), "--resolution"),
        (PointcloudSettings, ("--voxel", 0), "--voxel"),
        (DeviceSettings, ("--precision", "int8"), "--precision"),
    ],
)
def test_wrong_values_are_usage_errors(settings, args, word):
    result = built(settings, *args)
    assert result.exit_code == 2 and word in result.output


def test_contradictions_are_found_by_the_settings():
    for args, word in (
        (("--voxel", 1), "--voxel: for point clouds only"),
        (("--no-edge-cut", "--every", 3), "--every, --no-edge-cut: for point clouds only"),
        (("--start", 3, "--end", 2), "later than"),
        (("--ref-scale", 2, "--pointcloud"), "--align-to"),
        (("--fov", 300), "--fov"),
    ):
        with pytest.raises(UsageProblem) as caught:
            built(PredictSettings, *args)
        assert word in str(caught.value)
    with pytest.raises(UsageProblem, match="--camera mine"):
        EvalSettings(camera="mine")


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: float | None = option(None, "Size.", "Camera", above=0)


@dataclass(frozen=True, kw_only=True)
class Sample:
    must: str = option(REQUIRED, "Must.", "Input")
    way: Literal["a", "b"] = option("a", "Way.", "Camera", metavar="WAY")
    on: bool = option(True, "On.", "Camera")
    inner: Inner = Inner()
    hidden: int = 3


def test_changed_options_by_their_names():
    assert changed(Sample(must="x"), "Camera") == []
    assert changed(Sample(must="x", way="b", on=False, inner=Inner(size=1.0), hidden=4), "Camera") == [
        "--way",
        "--no-on",
        "--size",
    ]
    assert [each.name for each, _ in options_of(Sample)] == ["must", "way", "on", "size"]
    with pytest.raises(UsageProblem, match="--way c"):
        check_choices(Sample(must="x", way="c"))


def test_choices_behind_a_metavar_are_listed():
    command = click.command(cls=Command)(options_from(settings=Sample)(lambda settings: None))
    output = CliRunner().invoke(command, ["--help"]).output
    assert "--way WAY" in output and "One of: a, b." in output
    assert "[required]" in output and "--on / --no-on" in output and "hidden" not in output


def test_settings_with_annotations_as_text_are_refused():
    namespace = {}
    source = """
from __future__ import annotations
from dataclasses import dataclass
from ccd_cli.core.options import option
@dataclass
class Late:
    size: int = option(1, "Size.", "Other")
"""
    exec(compile(source, "late", "exec"), namespace)  # a module of its own, with postponed annotations
    with pytest.raises(TypeError, match="annotations"):
        options_from(settings=namespace["Late"])(lambda settings: None)


def test_options_are_typed_in_settings_alone():
    for path in sorted((ROOT / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.option":
                assert path.name == "options.py", f"{path.name}:{node.lineno}: make it a field of a settings class"
            if isinstance(node, ast.FunctionDef):
                count = len(node.args.args) + len(node.args.kwonlyargs)
                assert count <= 7, f"{path.name}:{node.lineno}: {node.name} has {count} parameters"


def test_settings_import_neither_click_nor_anything_heavy():
    names = [
        ".".join(("ccd_cli", *path.relative_to(ROOT).with_suffix("").parts)) for path in ROOT.glob("*/settings.py")
    ]
    assert len(names) >= 7
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
print([name for name in ("click", "torch", "numpy", "cv2", "rich") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_no_two_settings_of_a_command_share_a_name():
    for settings in ((PredictSettings, ModelSettings, DeviceSettings, JsonScreen), (EvalSettings, JsonScreen)):
        names = [each.name for one in settings for each, _ in options_of(one)]
        assert len(names) == len(set(names))
    assert {f.name for f in fields(DeviceSettings)} == {"device", "precision", "threads"}


@pytest.mark.parametrize("flag", ["--depth-scale", "--near", "--voxel"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_nan_and_infinity_are_no_numbers_of_a_range(flag, value):
    made = CliRunner().invoke(cli, ["pointcloud", "a.png", flag, value])
    assert made.exit_code == 2 and f"{value} is not a finite number" in made.output
