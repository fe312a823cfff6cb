"""`ccd bench distill` and `ccd bench label` from end to end, and the plain ways that they are compared with."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from ccd_cli.bench import distill as bench_distill
from ccd_cli.bench.distill import plain_run, plain_step
from ccd_cli.bench.plain_losses import plain_loss
from ccd_cli.bench.work import OURS, PLAIN, Way, document, markdown, matmul_peak, table
from ccd_cli.config.load import check_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.compute import Compute
from ccd_cli.core.report import Silent
from ccd_cli.distill.train import PARTS
from ccd_cli.labels.shards import ShardReader
from ccd_cli.losses.distillation import distillation_loss
from ccd_cli.rehearsal.profile import Clock
from ccd_cli.rehearsal.steps import rehearsal, walk

COMMON = (
    "--teacher",
    "builtin:tiny",
    "--size",
    "64",
    "--patches",
    "1",
    "--batch",
    "2",
    "--rounds",
    "2",
    "--threads",
    "1",
)
DISTILL = ("bench", "distill", "--student", "builtin:tiny", "--steps", "1", *COMMON)
LABEL = ("bench", "label", "--photos", "2", *COMMON)


@pytest.mark.parametrize(
    ("command", "parts"), [(DISTILL, PARTS), (LABEL, ("teacher", "waiting", "comparing", "writing"))]
)
def test_both_ways_are_measured(ccd_here, tmp_path, command, parts):
    done = ccd_here(*command, "--json", "--out", "found")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "found" / "bench.json").read_text())
    assert (found["teacher"], found["size"], found["rounds_done"], found["interrupted"]) == (
        "builtin:tiny",
        64,
        2,
        False,
    )
    assert [row["name"] for row in found["rows"]] == [OURS, PLAIN]
    for row in found["rows"]:
        assert set(row["shares"]) == set(parts)
        assert sum(row["shares"].values()) == pytest.approx(1)
        assert len(row["seconds"]) == len(row["cpu_seconds"]) == 2
        assert row["model_flops_per_second"] == pytest.approx(found["model_flops_per_image"] * row["images_per_second"])
        assert row["share_of_matmul_peak"] == pytest.approx(row["model_flops_per_second"] / found["matmul_peak_flops"])
    ours, plain = found["rows"]
    assert plain["speed_over_plain"] == {"median": 1, "min": 1, "max": 1}
    ratios = [b / a for a, b in zip(ours["seconds"], plain["seconds"], strict=True)]
    assert ours["speed_over_plain"]["min"] == pytest.approx(min(ratios))
    assert ours["peak_bytes"] > 50e6 and plain["peak_bytes"] is None, "a process has one peak"
    page = (tmp_path / "found" / "bench.md").read_text()
    assert "| ccd fp32 |" in page and "2 rounds" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found"]


def test_architectures_get_random_weights_and_a_size_that_fits(ccd_here):
    done = ccd_here("bench", "label", "--photos", "1", "--rounds", "1", "--patches", "1", "--size", "28", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["teacher"] == "depth-anything-v2-small"
    assert bench_distill.crop_size(None, 14) == 252
    assert bench_distill.crop_size(None, 32) == 256


@pytest.mark.slow
def test_ctrl_c_prints_what_there_is(ccd_here, monkeypatch):
    steps = []

    def stop(run, state, signals, clock):
        steps.append(1)
        if len(steps) == 3:  # in the second round
            os.kill(os.getpid(), signal.SIGINT)
        plain_step(run, state, signals, clock)

    monkeypatch.setattr(bench_distill, "plain_step", stop)
    done = ccd_here(*DISTILL, "--json")
    assert done.exit_code == 130
    found = json.loads(done.stdout)
    assert found["interrupted"] and found["rounds_done"] == 1
    assert [len(row["seconds"]) for row in found["rows"]] == [2, 1]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--teacher", "builtin:tiney"), 2, "builtin:tiny"),
        (("--size", "65"), 2, "multiple"),
        (("--size", "1"), 2, "--size"),
        (("--device", "gpu"), 2, "--device"),
        (("--rounds", "0"), 2, "--rounds"),
        (("--images", "nowhere"), 2, "nowhere"),
        (("--teacher", "x.onnx"), 2, "x.onnx"),
    ],
)
def test_bad_values_are_one_line(ccd_here, options, code, words):
    done = ccd_here(*DISTILL, *options)
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_plain_loss_is_the_loss(tiny_recipe, tmp_path):
    """Of a whole batch; contexts by whole-map masks and by sorting round differently."""
    tiny_recipe["loss"] = {"anchor": {"weight": 0.1}, "local_global": {"weight": 0.5, "normalization": "none"}}
    tiny_recipe["optim"]["batch"] = 1
    recipe = check_recipe(tiny_recipe, "test")
    with rehearsal(recipe, DistillSettings(device="cpu", threads=1), tmp_path / "none", Silent()) as (
        run,
        state,
        signals,
    ):
        found = []

        def loss(prediction, labels, boxes, config, whole):
            found.append(float(plain_loss(prediction, labels, boxes, config).detach()))
            made = distillation_loss(prediction, labels, boxes, config, whole)
            found.append(float(made["loss"].detach()))
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ccd_cli.distill.train.distillation_loss", loss)
            walk(run, state, signals, 3, lambda part: None)
    assert found[::2] == pytest.approx(found[1::2], rel=1e-4)


def test_a_plain_step_trains_as_a_step_does(tiny_recipe, tmp_path):
    """With one image a step both give the same weights, up to rounding."""
    tiny_recipe["optim"] |= {"batch": 1, "ema": 0, "schedule": "constant", "warmup": 0}
    tiny_recipe["student"] |= {"encoder": "test_vit"}
    recipe = check_recipe(tiny_recipe, "test")
    made = []
    for plain in (False, True):
        with rehearsal(recipe, DistillSettings(device="cpu", threads=1), tmp_path / "none", Silent()) as (
            run,
            state,
            signals,
        ):
            before = torch.cat([p.detach().flatten() for p in state.student.parameters()])
            if plain:
                plain_step(plain_run(run), state, signals, Clock(run))
            else:
                walk(run, state, signals, 1, lambda part: None)
            made.append(torch.cat([p.detach().flatten() for p in state.student.parameters()]) - before)
    assert made[0].abs().max() > 1e-4
    agree = torch.nn.functional.cosine_similarity(made[0], made[1], dim=0)
    assert agree > 0.99, "AdamW's first step is the sign of the gradient, of which rounding turns a few"


def test_labels_of_the_benchmark_are_labels(tmp_path, monkeypatch):
    from ccd_cli.bench import label as bench_label
    from ccd_cli.bench.settings import LabelSettings

    kept = []
    whole = bench_label.label

    def keep(recipe, **more):
        result = whole(recipe, **(more | {"out": str(tmp_path / "kept")}))
        kept.append(result)
        return result

    monkeypatch.setattr(bench_label, "label", keep)
    settings = LabelSettings(
        teacher="builtin:tiny", size=64, patches=1, batch=2, photos=2, rounds=1, device="cpu", threads=1
    )
    bench_label.run(settings, Silent())
    assert kept[0].samples == 2
    assert len(ShardReader(tmp_path / "kept", 0)) == 2


def test_numbers_of_the_table():
    ours, plain = Way(OURS, "bf16"), Way(PLAIN, "fp32")
    for slow, fast in ((8.0, 2.0), (9.0, 3.0)):
        ours.add(2, {"teacher": 0.75 * fast, "data": 0.25 * fast}, fast)
        plain.add(2, {"teacher": slow, "data": 0.0}, slow)
    about = {"student": "s", "teacher": "t", "size": 64, "patches": 2, "rounds_done": 2}
    found = document([ours, plain], about, Compute("cpu", "fp32"), 3e9, [9e9, 1e10, 8e9])
    row = found["rows"][0]
    assert row["images_per_second"] == pytest.approx(0.8), "the median of 1 and 1.5 seconds an image"
    assert row["speed_over_plain"] == {"median": 3.5, "min": 3.0, "max": 4.0}
    assert row["shares"] == pytest.approx({"teacher": 0.75, "data": 0.25})
    assert row["share_of_matmul_peak"] == pytest.approx(0.24)
    first = table(found)[0]
    assert (first["way"], first["vs plain"], first["teacher"], first["of peak"]) == (
        "ccd bf16",
        "3.50",
        "75.0%",
        "24.0%",
    )
    assert "3.50 (3.00 to 4.00)" in markdown(found)
    assert table(document([Way(PLAIN, "fp32")], about, Compute("cpu", "fp32"), 0.0, [])) == []


def test_the_peak_is_that_of_a_matrix_product():
    assert 1e8 < matmul_peak(Compute("cpu", "fp32", threads=1)) < 1e13
