"""`log.wandb` and `log.mlflow`: the real packages, offline; and trackers that fail."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ccd_cli.config.distill import Log, MlflowLog, WandbLog
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError
from ccd_cli.core.report import Silent
from ccd_cli.distill.metrics_log import MetricsLog
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.step_lines import StepLines
from ccd_cli.distill.trackers import feeds
from ccd_cli.distill.trackers.feeds import mlflow_of, openers, wandb_of

EVALS = {"scenes": 2, "every": 2, "compare": False}


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_off_by_default_and_nothing_is_imported():
    assert wandb_of(Log()) is None and mlflow_of(Log()) is None and openers(Log()) == {}
    assert wandb_of(Log(wandb=True)) == WandbLog() and mlflow_of(Log(mlflow=MlflowLog(uri="x"))).uri == "x"
    code = "import sys, ccd_cli.distill.train; print([m for m in ('wandb', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_missing_package_and_a_missing_login_are_said_before_the_run(
    tiny_recipe, write_recipe, ccd_here, monkeypatch
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    refused = ccd_here("distill", write_recipe(tiny_recipe), "--out", "run", "--set", "log.mlflow=true")
    assert refused.exit_code == 1 and 'pip install "ccd-depth[mlflow]"' in refused.stderr
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    refused = ccd_here("distill", write_recipe(tiny_recipe), "--out", "run", "--set", "log.wandb.project=depth")
    assert refused.exit_code == 1 and "no login" in refused.stderr and "log.wandb.mode=offline" in refused.stderr
    wrong = ccd_here("distill", write_recipe(tiny_recipe), "--out", "run", "--set", "log.wandb.projekt=depth")
    assert wrong.exit_code == 2 and "projekt" in wrong.stderr


@pytest.fixture
def store(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    return uri, lambda: MlflowClient(tracking_uri=uri)


def test_mlflow_has_every_step_once_and_a_resume_goes_on_in_the_same_run(
    store, tiny_recipe, write_recipe, ccd_here, tmp_path
):
    uri, client = store
    tiny_recipe["eval"], tiny_recipe["optim"]["steps"] = EVALS, 4
    tiny_recipe["log"] = {"samples": 1, "samples_every": 2, "mlflow": {"uri": uri, "experiment": "depth"}}
    done = ccd_here("distill", write_recipe(tiny_recipe), "--out", "run", "--set", "optim.checkpoint_every=2")
    assert done.exit_code == 0, done.output
    found = client().search_runs([client().get_experiment_by_name("depth").experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"]
    run = found[0].info.run_id
    assert json.loads((tmp_path / "run/trackers.json").read_text()) == {"mlflow": run}
    history = {m.step: m.value for m in client().get_metric_history(run, "train/loss")}
    assert history == {line["step"]: pytest.approx(line["loss"]) for line in lines(tmp_path / "run")}
    scores = json.loads((tmp_path / "run/eval.json").read_text())["history"]
    logged = {m.step: m.value for m in client().get_metric_history(run, "eval/abs_rel")}
    assert logged == {int(each["step"]): pytest.approx(each["abs_rel"]) for each in scores} and sorted(logged) == [2, 4]
    params = client().get_run(run).data.params
    assert params["optim.steps"] == "4" and params["name"] == tiny_recipe["name"] and params["eval.every"] == "2"
    assert [each.path for each in client().list_artifacts(run)] == ["images"]

    (tmp_path / "run/card.md").unlink()  # as after a kill at the end
    again = ccd_here("distill", "run/recipe.yaml", "--out", "run", "--resume")
    assert again.exit_code == 0, again.output
    assert len(client().search_runs([client().get_experiment_by_name("depth").experiment_id])) == 1
    assert client().get_run(run).info.status == "FINISHED"


def test_a_stopped_run_is_killed_in_mlflow_and_then_continued(store, tmp_path):
    """Steps 1 and 2, an interruption, then from the checkpoint after step 1 again."""
    from ccd_cli.core.errors import Interrupted

    uri, client = store
    recipe = small_recipe(Log(samples=0, tensorboard=False, mlflow=MlflowLog(uri=uri)))
    with pytest.raises(Interrupted), log_of(tmp_path, recipe, 0) as log:
        for step in (1, 2):
            log.step(step, {"loss": 1.0 / step}, "a", 1e-3, 2.0, seconds=1.0)
        raise Interrupted("Stopped.", "")
    run = json.loads((tmp_path / "trackers.json").read_text())["mlflow"]
    assert client().get_run(run).info.status == "KILLED"
    with log_of(tmp_path, recipe, 1) as log:
        for step in (2, 3):
            log.step(step, {"loss": 1.0 / step}, "a", 1e-3, 2.0, seconds=1.0)
    assert client().get_run(run).info.status == "FINISHED"
    assert {(m.step, m.value) for m in client().get_metric_history(run, "train/loss")} == {
        (1, 1.0),
        (2, 0.5),
        (3, 1 / 3),
    }


def wandb_records(path):
    """The records of an offline run: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


@pytest.mark.slow
def test_wandb_offline_holds_the_run_and_a_resume_has_its_id(
    tiny_recipe, write_recipe, ccd_here, tmp_path, monkeypatch
):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tiny_recipe["eval"], tiny_recipe["optim"]["steps"] = EVALS, 3
    tiny_recipe["log"] = {
        "samples": 1,
        "samples_every": 100,
        "wandb": {"project": "depth", "tags": ["x"], "mode": "offline"},
    }
    done = ccd_here("distill", write_recipe(tiny_recipe), "--out", "run")
    assert done.exit_code == 0, done.output
    assert "wandb" not in done.stderr, "its own messages stay away"
    identity = json.loads((tmp_path / "run/trackers.json").read_text())["wandb"]
    (path,) = (tmp_path / "run/wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb")
    history: dict[int, dict] = {}
    for record in wandb_records(path):
        if record.WhichOneof("record_type") == "run":
            run = record.run
            assert (run.project, run.display_name, list(run.tags)) == ("depth", tiny_recipe["name"], ["x"])
            config = {item.key: json.loads(item.value_json) for item in run.config.update}
            assert config["optim"]["steps"] == 3
        if record.WhichOneof("record_type") == "history":
            values = {(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item}
            history.setdefault(int(values["_step"]), {}).update(values)
    for line in lines(tmp_path / "run"):
        assert history[line["step"]]["train/loss"] == pytest.approx(line["loss"], rel=1e-6)
    assert history[3]["samples/_type"] == "image-file" and history[2]["eval/abs_rel"] > 0
    kept = " ".join(str(p.relative_to(tmp_path / "run/wandb")) for p in (tmp_path / "run/wandb").rglob("*"))
    for private in ("wandb-metadata", "requirements.txt", "diff.patch", "output.log", ".py"):
        assert private not in kept, kept

    (tmp_path / "run/card.md").unlink()
    again = ccd_here("distill", "run/recipe.yaml", "--out", "run", "--resume")
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "run/trackers.json").read_text()) == {"wandb": identity}
    time.sleep(1.1)
    over = ccd_here("distill", "run/recipe.yaml", "--out", "run", "--overwrite")
    assert over.exit_code == 0 and not list((tmp_path / "run/wandb").glob(f"*{identity}*"))


class Broken:
    """A tracker that fails at a step."""

    identity = "b"

    def __init__(self, at):
        self.at, self.seen, self.status = at, [], None

    def log(self, values, step):
        if step == self.at:
            raise ConnectionError("the server is gone")
        self.seen.append((step, values))

    def close(self, status):
        self.status = status


def small_recipe(log=None):
    log = log or SimpleNamespace(tensorboard=False, wandb=False, mlflow=False)
    optim = SimpleNamespace(batch=4, accumulate=2, steps=3)
    return SimpleNamespace(
        student=SimpleNamespace(kind="disparity"),
        optim=optim,
        log=log,
        name="mine",
        model_dump=lambda **_: {"name": "mine", "optim": {"steps": 3}},
    )


def log_of(folder, recipe, step, report=None):
    run = SimpleNamespace(folder=RunFolder(folder), recipe=recipe, compute=Compute("cpu", "fp32"))
    return MetricsLog(run, SimpleNamespace(step=step, lines=StepLines()), report or Silent())


def kept(monkeypatch, **trackers):
    def opener(tracker):
        def make(subject):
            if isinstance(tracker, Exception):
                raise tracker
            return tracker

        return make

    monkeypatch.setattr(feeds, "openers", lambda log: {name: opener(each) for name, each in trackers.items()})


def wait(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_what_fails_is_warned_about_once_and_the_rest_goes_on(tmp_path, monkeypatch):
    good, bad, report = Broken(0), Broken(2), Silent()
    kept(monkeypatch, good=good, bad=bad, closed=CcdError("no such server"))
    with log_of(tmp_path, small_recipe(), 0, report) as log:
        for step in (1, 2, 3, 4):
            log.step(step, {"loss": 0.5}, "a", 1e-3, 2.0, seconds=1.0)
        log.events({"samples": np.zeros((2, 2, 3), np.uint8)}, 4)
        wait(lambda: len(good.seen) == 5)
    assert [step for step, _ in good.seen] == [1, 2, 3, 4, 4] and good.status == "finished" and bad.status is None
    warnings = [text for text in report.warnings if "Logging to" in text]
    assert (
        len(warnings) == 2 and sum("bad stops here (ConnectionError: the server is gone)" in w for w in warnings) == 1
    )
    assert sum("no such server" in w for w in warnings) == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_tracker_that_hangs_does_not_stop_the_steps(tmp_path, monkeypatch):
    hangs, report, free = Broken(0), Silent(), threading.Event()
    hangs.log = lambda values, step: free.wait(20)
    kept(monkeypatch, hangs=hangs)
    monkeypatch.setattr(feeds, "QUEUED", 10)
    monkeypatch.setattr(feeds, "PATIENCE_S", 0.5)
    began = time.monotonic()
    with log_of(tmp_path, small_recipe(), 0, report) as log:
        for step in range(1, 30):
            log.step(step, {"loss": 0.5}, "a", 1e-3, 2.0, seconds=1.0)
    assert time.monotonic() - began < 5
    assert [text for text in report.warnings if "hangs" in text] == [
        "Logging to hangs stops here (10 entries wait to be sent); the run continues without it."
    ]
    free.set()
