"""The numbers of a step, over micro-steps and processes."""

import json
from types import SimpleNamespace

import pytest
import torch

from ccd_cli.core.compute import Compute
from ccd_cli.core.report import Silent
from ccd_cli.distill.metrics_log import Events, MetricsLog, StepMetrics
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.step_lines import StepLines

NORM = torch.tensor(0.5)


def test_metrics_are_the_mean_over_micro_steps_and_start_over_at_every_step():
    metrics = StepMetrics(Compute("cpu", "fp32"), 4)
    weight = torch.tensor(1.0, requires_grad=True)
    for value in (1.0, 2.0, 3.0, 6.0):
        metrics.add({"loss": weight * value, "drift": torch.tensor(-value)})
    assert metrics.reduce(NORM, False, 0) == ({"loss": 3.0, "drift": -3.0}, Events(0.5, False, False))
    for _ in range(4):
        metrics.add({"loss": torch.tensor(8.0)})
    assert metrics.reduce(NORM, True, 2) == ({"loss": 8.0}, Events(0.5, True, True))
    assert metrics.reduce(NORM, False, 2)[1] == Events(0.5, False, False)  # they are known by now


def test_one_value_that_is_not_finite_shows():
    metrics = StepMetrics(Compute("cpu", "fp32"), 2)
    metrics.add({"loss": torch.tensor(1.0)})
    metrics.add({"loss": torch.tensor(float("nan"))})
    values, _ = metrics.reduce(NORM, False, 0)
    assert values["loss"] != values["loss"]


def test_the_error_of_fits_is_the_mean_over_micro_steps_that_had_one():
    metrics = StepMetrics(Compute("cpu", "fp32"), 3)
    for error in (0.1, float("nan"), 0.3):
        metrics.add({"fit_error": torch.tensor(error)})
    values, _ = metrics.reduce(NORM, False, 0)
    assert values == {"fit_error": pytest.approx(0.2)}
    for _ in range(3):
        metrics.add({"fit_error": torch.tensor(float("nan"))})
    values, _ = metrics.reduce(NORM, False, 0)
    assert [*values] == ["fit_error"] and values["fit_error"] != values["fit_error"]


def test_processes_agree_on_metrics_and_on_when_to_stop(monkeypatch):
    """Two processes of which one was asked to stop; `all_reduce` is played by adding the other one's values."""

    def reduced(rank, others=None):
        sent = []

        def all_reduce(values):
            sent.append(values.clone())
            if others is not None:
                values += others

        monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
        metrics = StepMetrics(Compute("cpu", "fp32", rank, 2), 1)
        metrics.add({"loss": torch.tensor(1.0 + 2 * rank)})
        result = metrics.reduce(NORM, rank == 1, 0)
        assert len(sent) == 1, "one exchange for everything"
        return result, sent[0]

    sent = [reduced(rank)[1] for rank in (0, 1)]
    first, second = reduced(0, sent[1])[0], reduced(1, sent[0])[0]
    assert first == second == ({"loss": 2.0}, Events(0.5, True, False))


@pytest.fixture
def run(tmp_path):
    """What the log needs of a run."""
    optim = SimpleNamespace(batch=4, accumulate=2, steps=3)
    student = SimpleNamespace(kind="disparity")
    recipe = SimpleNamespace(
        student=student, optim=optim, log=SimpleNamespace(tensorboard=False, wandb=False, mlflow=False)
    )
    return SimpleNamespace(folder=RunFolder(tmp_path), recipe=recipe, compute=Compute("cpu", "fp32"))


def test_lines_are_whole_and_a_skipped_step_says_so(run):
    state = SimpleNamespace(step=0, lines=StepLines())
    with MetricsLog(run, state, Silent()) as log:
        log.step(1, {"loss": 0.5}, "a", 1e-3, 2.0, seconds=4.0)
        log.step(2, {"loss": float("nan")}, "b", 1e-3, None, seconds=4.0)
        written = run.folder.metrics.read_text().splitlines()  # flushed: a kill now loses nothing
    first, second = map(json.loads, written)
    assert first == {
        "step": 1,
        "loss": 0.5,
        "lr": 1e-3,
        "teacher": "a",
        "gradient_norm": 2.0,
        "images_per_second": 2.0,
    }
    assert (second["loss"], second["gradient_norm"], second["skipped"]) == (None, None, True)
    assert state.lines.content() == run.folder.metrics.read_bytes()
    with MetricsLog(run, state, Silent()) as again:
        assert again.last_loss != again.last_loss  # the last line's is not finite


def test_other_processes_write_nothing(run, tmp_path):
    run.compute = Compute("cpu", "fp32", 1, 2)
    with MetricsLog(run, SimpleNamespace(step=0, lines=StepLines()), Silent()) as log:
        log.step(1, {"loss": 0.25}, "a", 1e-3, 2.0, seconds=1.0)
    assert log.last_loss == 0.25
    assert not list(tmp_path.iterdir())
