"""What is public: listed, described, light to import, and as it was."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ccd_cli as ccd

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("public.txt")
PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")


def members(name, value):
    """Lines with the signature of a public name and of the public members of a class."""
    if isinstance(value, str):
        return [f"{name}: str"]
    if not isinstance(value, type):
        return [f"{name}{inspect.signature(value)}"]
    if issubclass(value, Exception):
        return [f"{name}({', '.join(base.__name__ for base in value.__bases__)})"]
    lines = [f"{name}{inspect.signature(value)}"]
    for key, member in sorted(vars(value).items()):
        if key.startswith("_"):
            continue
        if isinstance(member, property):
            lines.append(f"{name}.{key}: {inspect.signature(member.fget).return_annotation}")
        elif callable(member):
            lines.append(f"{name}.{key}{inspect.signature(member)}")
    return lines


def public():
    """The signatures of everything that is public, one a line."""
    lines = []
    for name in sorted(ccd.__all__):
        value = getattr(ccd, name)
        if name == "teachers":
            for each in ("info", "list", "pull"):
                lines += members(f"teachers.{each}", getattr(value, each))
        else:
            lines += members(name, value)
    return "\n".join(lines) + "\n"


def test_what_is_public_is_as_it_was():
    """A change is either a mistake, or goes into public.txt, docs/python.md and CHANGELOG.md together."""
    assert public() == GOLDEN.read_text(encoding="utf-8")


def test_every_public_name_is_described():
    text = PAGE[PAGE.index("Public are the names") :]
    assert set(re.findall(r"`(\w+)`", text)) == set(ccd.__all__)
    assert set(ccd.__all__) <= set(dir(ccd)) and len(set(ccd.__all__)) == len(ccd.__all__)


@pytest.mark.parametrize("name", [name for name in ccd.__all__ if name not in ("__version__", "teachers")])
def test_every_public_name_has_a_docstring(name):
    assert len(getattr(ccd, name).__doc__) > 60


def test_the_import_is_light():
    heavy = "{'torch', 'timm', 'numpy', 'cv2', 'open3d', 'pydantic', 'PIL', 'click', 'rich', 'yaml'}"
    code = f"import sys, ccd_cli as ccd; dir(ccd); print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_maps_clouds_and_metrics_need_no_torch():
    code = (
        "import sys, numpy as np, ccd_cli as ccd\n"
        "d = np.linspace(1, 2, 1200).reshape(30, 40); ccd.metrics(d, d, kind='metric');"
        "ccd.DepthMap(d, 'metric').point_cloud(edge_cut=False); ccd.teachers.list()\n"
        "print('torch' in sys.modules, 'click' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True).stdout == (
        "False False\n"
    )


def test_folders_of_the_package_are_still_modules():
    import ccd_cli.distill.train
    from ccd_cli import metrics
    from ccd_cli.metrics.depth import METRICS

    assert ccd.distill.train is ccd_cli.distill.train and metrics.depth.METRICS is METRICS
    assert callable(ccd.distill) and "recipe" in inspect.signature(ccd.distill).parameters
    with pytest.raises(AttributeError, match="nothing"):
        ccd.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        ccd.teachers.nothing  # noqa: B018


def test_keyword_types_name_the_options_of_the_settings():
    from ccd_cli.analyze.settings import Settings as AnalyzeSettings
    from ccd_cli.api.clouds import CloudOptions
    from ccd_cli.api.scores import AnalyzeOptions, EvalOptions
    from ccd_cli.api.video import VideoOptions
    from ccd_cli.core.options import options_of
    from ccd_cli.evaluate.settings import Settings as EvalSettings
    from ccd_cli.pointcloud.settings import CloudSettings
    from ccd_cli.predict.settings import Settings as PredictSettings

    for typed, settings, others in (
        (CloudOptions, CloudSettings, {"reference"}),
        (EvalOptions, EvalSettings, {"models", "suite", "out"}),
        (AnalyzeOptions, AnalyzeSettings, {"suite", "models", "out"}),
        (VideoOptions, PredictSettings, {"out", "full_size", "shard"}),
    ):
        names = {each.name for each, _ in options_of(settings)}
        assert set(typed.__annotations__) ^ names == others, typed.__name__


if __name__ == "__main__":
    GOLDEN.write_text(public(), encoding="utf-8")
