"""The table of costs in docs/scale.md is what its command prints, and its FLOPs are those of the networks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scale():
    about = importlib.util.spec_from_file_location("scale_table", ROOT / "tests/benchmarks/scale_table.py")
    module = importlib.util.module_from_spec(about)
    sys.modules["scale_table"] = module  # dataclasses look their module up
    about.loader.exec_module(module)
    yield module
    del sys.modules["scale_table"]


@pytest.fixture(scope="module")
def step(scale):
    """What the smallest pair takes: seconds to count, where large networks take a minute."""
    return scale.count_step("S", "S", 560, 4)


def test_a_teacher_sees_five_crops_and_a_backward_pass_is_two_forward_passes(step, scale):
    assert step["teacher"].flops == pytest.approx(5 * step["student"].flops, rel=1e-6)
    assert step["backward"].flops == pytest.approx(2 * step["student"].flops, rel=0.02)
    assert step["loss"].flops == 0 < step["loss"].operations
    # a ViT-S block: 12 x width^2 multiply-adds a token and 2 x width a pair of tokens; 1600 patches and a class token
    width, tokens = 384, 1601
    encoder = 2 * 12 * (12 * width**2 * tokens + 2 * width * tokens**2)
    assert encoder < step["student"].flops / scale.BATCH < 3 * encoder  # the head is the rest


def test_the_page_shows_what_the_command_prints(step, scale):
    page = (ROOT / "docs/scale.md").read_text()
    *_, counted = scale.counted_table({"ViT-S, ViT-S": step})
    assert counted in page
    whole = sum(count.flops for count in step.values()) / scale.BATCH
    costs = scale.cost_table(
        [scale.Work("distill, ViT-S, ViT-S", whole, scale.MEASURED["read"])], scale.PEAK, scale.UTILIZATION
    )
    assert len(costs) == 4 and all(line in page for line in costs)


def test_hours_follow_from_flops_peak_and_utilization(scale):
    work = scale.labeling([4e12], 5, scale.MEASURED, "label")  # 0.01 s on 1000 TFLOP/s of which 40 % are reached
    head, _, million, _ = scale.cost_table([work], 1000.0, 0.4)
    cells = dict(zip(head.split(" | "), million.split(" | "), strict=True))
    assert (cells["1 GPU"], cells["8 GPUs"], cells["64 GPUs"]) == ("2.8 h", "0.3 h", "0.0 h")
    assert work.stored == 5 * 440e3 + 500e3
    assert work.cpu == pytest.approx(0.012 + 5 * 0.046 + 2.7 * 0.010)
    assert cells["cores a GPU"] == f"{work.cpu / 0.01:.1f}"
    assert scale.in_words(48) == "2.0 days" and scale.in_words(47.96) == "48.0 h"
