"""torch.compile of both sides of a step: the same training up to rounding, and nothing of it in what is saved."""

from __future__ import annotations

import pytest
import torch

from ccd_cli.config.load import check_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.report import Silent
from ccd_cli.rehearsal.steps import rehearsal, walk

SETTINGS = DistillSettings(device="cpu", threads=1)


def recipe(values, compiled):
    (teacher,) = values["teachers"][1:]
    small = {
        "student": {"arch": "timm", "encoder": "test_vit", "features": 16, "init": "scratch"},
        "teachers": [teacher],
    }
    optim = values["optim"] | {"schedule": "constant", "warmup": 0, "batch": 3}
    return check_recipe(values | small | {"optim": optim, "compute": {"compile": compiled}}, "test")


@pytest.mark.slow
def test_a_compiled_run_trains_as_a_plain_one_and_compiles_once(tiny_recipe, tmp_path):
    left = {}
    for compiled in ("none", "both"):
        with rehearsal(recipe(tiny_recipe, compiled), SETTINGS, tmp_path / "none", Silent()) as (run, state, signals):
            plain = state.network.outputs == state.student.forward_all
            assert plain == (compiled == "none")
            made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
            walk(run, state, signals, 3, lambda part: None)
            for view in (torch.rand(1, 3, 64, 64), torch.rand(2, 3, 96, 96)):  # validation and samples see other shapes
                run.ensemble.label_views(view, 0)
                state.evaluated(view)
            walk(run, state, signals, 2, lambda part: None)
            assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == made, (
                "nothing is compiled after the first step"
            )
            left[compiled] = state.state_dict()
    assert (torch._dynamo.utils.counters["stats"]["unique_graphs"]) > 0
    for name in ("student", "ema"):
        plain, other = left["none"][name], left["both"][name]
        assert list(plain) == list(other)
        for key, value in plain.items():
            torch.testing.assert_close(other[key], value, rtol=1e-2, atol=2e-3, msg=key)


@pytest.mark.slow
def test_without_a_compiler_a_run_says_so_before_its_first_step(tiny_recipe, write_recipe, ccd, tmp_path):
    path = write_recipe(recipe(tiny_recipe, "student").model_dump(mode="json"))
    done = ccd("distill", path, PATH="/nonexistent", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 1, done.stderr
    assert "cannot be compiled here" in done.stderr
    assert "compute.compile" in done.stderr
    assert "Traceback" not in done.stderr
