import subprocess
import sys

import pytest

from ccd_cli.core.errors import TeacherError
from ccd_cli.core.kinds import KINDS
from ccd_cli.models.arch import ARCHS
from ccd_cli.teachers.cards import CARDS, card, license_rank, strictest_license
from ccd_cli.teachers.licenses import is_commercial

OTHERS = {
    "marigold-lcm", "genpercept-disparity", "genpercept-depth", "midas-3.1-beit-large-512", "midas-3.1-swin2-tiny",
}  # fmt: skip


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
    assert (found.adapter == "native") == (not found.requires)


def test_licences_of_the_families():
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


def test_an_unknown_name_brings_the_nearest():
    with pytest.raises(TeacherError, match="depth-anything-v2-small"):
        card("depth-anything-v2-smal")
    with pytest.raises(TeacherError, match="ccd teachers list"):
        card("q")


def test_strictest_licence():
    assert strictest_license(["depth-anything-v2-small", "MIT"]) == "Apache-2.0"
    assert strictest_license(["depth-anything-v2-small", "depth-anything-v2-large"]) == "CC-BY-NC-4.0"
    disputed = strictest_license(["distill-any-depth-large", "depth-anything-v1-small"])
    assert "disputed" in disputed
    assert not is_commercial(disputed)
    assert strictest_license([disputed, "MIT"]) == disputed  # what a student's file carries can be compared again
    assert strictest_license(["Some-New-License", "Apache-2.0"]) == "Some-New-License"
    with pytest.raises(ValueError, match="no licences"):
        strictest_license([])


def test_ranks_are_ordered():
    order = ["MIT", "BSD-2-Clause", "Apache-2.0", "OpenRAIL++-M", "AGPL-3.0", "unknown", "CC-BY-NC-4.0"]
    ranks = [license_rank(name) for name in order]
    assert ranks == sorted(set(ranks))
    assert license_rank("apple-amlr") == license_rank("CC-BY-NC-4.0")


def test_the_catalogue_and_the_resolver_import_nothing_heavy():
    code = "import sys, ccd_cli.teachers.cards, ccd_cli.teachers.load; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "timm", "cv2", "numpy", "transformers", "diffusers"} & set(loaded)
