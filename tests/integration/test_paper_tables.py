"""The runner of the paper's small tables, and runs on noisy labels."""

import argparse
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ccd_cli.config.load import load_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Silent
from ccd_cli.distill import train as distill
from ccd_cli.models.files import sha256_file

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "benchmarks" / "paper_tables.py"
NOISY = (
    "student={arch: timm, encoder: mobilenetv4_conv_small, features: 16, init: scratch}",
    "teachers.0.noise={outliers: 0.2, blur: 1, scale_jitter: 0.7, shift_jitter: 0.5}",
    "loss.shared.normalization=none",
    "loss.local_global.weight=0.5",
    "images.scenes={count: 6, height: 64, width: 80}",
    "crops={size: 64, min_side: 48, patches: 2}",
    "optim={steps: 6, batch: 2, checkpoint_every: 3}",
    "eval.scenes=0",
    "log={samples: 1, tensorboard: false}",
)


def tables(*args, **kwargs):
    return subprocess.run(
        [sys.executable, str(RUNNER), *args], capture_output=True, text=True, cwd=ROOT, timeout=560, **kwargs
    )


@pytest.mark.slow
def test_labels_are_noisy_and_a_resumed_run_sees_the_same_noise(tmp_path):
    recipe = load_recipe("paper/tiny-table1", NOISY)

    def run(name, recipe, **how):
        return distill.run(recipe, DistillSettings(out=str(tmp_path / name), device="cpu", threads=1, **how), Silent())

    whole = run("whole", recipe)
    clean = run("clean", load_recipe("paper/tiny-table1", [*NOISY, "teachers.0.noise={}"]))
    assert whole.loss != clean.loss
    saved = distill.checkpoint.save

    class Killed(Exception):
        pass

    def save_and_die(run, state):
        saved(run, state)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill.checkpoint, "save", save_and_die)
        with pytest.raises(Killed):
            run("cut", recipe)
    assert len((tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()) == 3
    again = run("cut", recipe, resume=True)
    assert again.loss == whole.loss
    x, y = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(x[key], y[key]) for key in x)


def test_every_row_of_every_size_is_a_valid_recipe_of_its_own():
    spec = importlib.util.spec_from_file_location("paper_rows", RUNNER.with_name("paper_rows.py"))
    rows = sys.modules["paper_rows"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rows)
    sizes = ["tiny", *(f"{student}-{side}" for student in rows.STUDENTS for side in rows.SIDES)]
    for size in sizes:
        for table, found in rows.TABLES.items():
            recipes = [
                load_recipe(f"paper/tiny-{table}", [*rows.size_sets(size), *row.sets]) for row in found if not row.like
            ]
            assert len({str(recipe) for recipe in recipes}) == len(recipes)
            assert len({row.slug for row in found}) == len(found)
    assert len(sizes) == 10
    with pytest.raises(ValueError, match="unknown size"):
        rows.size_sets("2m-100")


def test_differences_are_paired_by_seed_and_the_verdict_follows_the_interval(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(RUNNER.parent))
    report = importlib.import_module("paper_report")
    assert report.interval(np.array([2.0, 2.0, 2.0])) == (2.0, 2.0)
    assert report.interval(np.array([-1.0, 0.0, 1.0])) == (-1.0, 1.0)  # of three, one resample in 27 is all the largest
    low, high = report.interval(np.linspace(-1, 1, 101))
    assert low == pytest.approx(-1.96 * np.sqrt(0.34 / 101), abs=0.01) and high == pytest.approx(-low, abs=0.01)
    scores = {  # by row: AbsRel of seeds 0 to 5; the seventh run of `hybrid` was stopped by a guard and pairs with none
        "shared, hybrid": [0.20, 0.22, 0.24, 0.20, 0.22, 0.24],
        "shared, global": [0.21, 0.24, 0.25, 0.21, 0.24, 0.25, 0.9],
        "shared, local": [0.1, 0.3, 0.1, 0.3, 0.1, 0.3],
        "shared, none": [0.5] * 5,
    }
    for name, values in scores.items():
        row = next(row for row in report.TABLES["claims"] if (row.group, row.name) == ("errors over 40 %", name))
        folder = tmp_path / "claims" / row.slug
        folder.mkdir(parents=True)
        for seed, value in enumerate(values):
            facts = {"abs_rel": value, "delta1": 0.9, "f1": 0.1, "cpu_per_step": 1.0, "wall_per_step": 1.0, "steps": 3}
            (folder / f"seed{seed}.json").write_text(json.dumps(facts))
            (folder / f"pairs-seed{seed}.json").write_text(json.dumps({"abs_rel": 1 - value}))
        if name == "shared, hybrid":
            stopped = {"stopped": "drift", "cpu_per_step": 1.0, "wall_per_step": 1.0, "steps": 3}
            (folder / "seed6.json").write_text(json.dumps(stopped))
    rows = report.collect("claims", 7, tmp_path)
    every = report.compare("claims", rows)
    by_claim = {each.claim: each for each in every}
    gross = by_claim["hybrid beats global where errors are gross"]
    assert gross.pairs == 6
    assert gross.found["abs_rel"] == pytest.approx([-0.01, -0.02, -0.01] * 2)
    assert gross.found["real"] == pytest.approx([0.01, 0.02, 0.01] * 2)
    recipe = load_recipe("paper/tiny-claims", ["student.init=scratch"])
    lines = report.markdown("claims", rows, every, [], 7, recipe).splitlines()
    shown = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    gross_line = shown["hybrid beats global where errors are gross"]
    assert "-0.0133 (-0.0167 to -0.0100)" in gross_line and "+0.0133 (" in gross_line and gross_line.endswith("| yes |")
    half = 2.5706 * np.std([1, 2, 1, 1, 2, 1], ddof=1) / 100 / np.sqrt(6)
    assert f"| {-0.04 / 3 - half:+.4f} to {-0.04 / 3 + half:+.4f} |" in gross_line, "the t interval"
    assert shown["hybrid beats local"].endswith("| not shown |")
    assert shown["hybrid beats none"].endswith("| too few runs |"), "5 seeds, and 6 were agreed on"
    assert any(line.startswith("| row | AbsRel | δ1 | boundary F1 | AbsRel, real pairs | steps |") for line in lines)
    row = next(line for line in lines if line.startswith("| shared, hybrid | 0.2200"))
    assert "| 0.9000 ± 0.0000 | 0.1000 ± 0.0000 | 0.7800 ±" in row and "6 (1 stopped)" in row
    compared = [each for each in every if each.pairs > 1]
    report.plot_differences("claims", compared, tmp_path / "differences.png")
    assert (tmp_path / "differences.png").stat().st_size > 5000


def test_a_page_is_not_emptied_by_a_report_without_runs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(RUNNER.parent))
    report = importlib.import_module("paper_report")
    page = tmp_path / "RESULTS.md"
    page.write_text("<!-- table1:begin -->\nnumbers\n<!-- table1:end -->\n")
    with pytest.raises(UsageProblem, match=r"No run of table1 lies in .*RESULTS\.md stays as it is"):
        report.write_report(["table1"], 3, tmp_path / "out", page, lambda table: load_recipe(f"paper/tiny-{table}"))
    assert "numbers" in page.read_text()


def test_recorded_runs_come_back_as_they_were(tmp_path, monkeypatch):
    """Runs of hours outlive the machine that made them; a line that a kill cut off is no run, and is written over."""
    monkeypatch.syspath_prepend(str(RUNNER.parent))
    record = importlib.import_module("paper_record")
    out, kept = tmp_path / "out", tmp_path / "runs.jsonl"
    (out / "claims" / "row").mkdir(parents=True)
    for name in ("seed0.json", "seed1.json", "pairs-seed1.json"):
        (out / "claims" / "row" / name).write_text(json.dumps({"abs_rel": 0.1, "of": name}))
    (out / "claims" / "references.json").write_text(json.dumps([{"name": "mean map"}]))
    record.add_run(kept, out, out / "claims" / "row" / "seed0")
    kept.write_text(kept.read_text() + '{"table": "claims", "fil')
    record.add_run(kept, out, out / "claims" / "row" / "seed1")
    record.add_shared(kept, out, "claims")
    assert len([json.loads(line) for line in kept.read_text().splitlines()]) == 3
    again = tmp_path / "again"
    (again / "claims" / "row").mkdir(parents=True)
    (again / "claims" / "row" / "seed0.json").write_text("{}")
    record.restore(kept, again)
    found = {path.name: json.loads(path.read_text()) for path in again.rglob("*.json")}
    assert found.pop("seed0.json") == {}, "what is there stays"
    assert found.pop("references.json") == [{"name": "mean map"}]
    assert found == {name: {"abs_rel": 0.1, "of": name} for name in ("seed1.json", "pairs-seed1.json")}
    kept.write_text(json.dumps({"table": "..", "files": {"../../x.json": {}}}) + "\n")
    record.restore(kept, again)
    assert not (tmp_path.parent / "x.json").exists() and not (tmp_path / "x.json").exists()
    for foreign in ("my notes\n", '{"table": "claims", "files": 5}\n', '[1]\n{"table": "claims", "files": {}}\n'):
        kept.write_text(foreign)
        for use in (lambda: record.restore(kept, again), lambda: record.add_shared(kept, out, "claims")):
            with pytest.raises(CcdError, match=r"runs\.jsonl, line 1, is no run"):
                use()
        assert kept.read_text() == foreign, "a file of somebody else stays as it is"


def test_rows_of_equal_time_wait_for_the_costs_of_all_seeds(tmp_path, monkeypatch):
    """Several processes share the runs: one of them must not begin such a row while another makes what its steps follow from."""
    monkeypatch.syspath_prepend(str(RUNNER.parent))
    tables_of = importlib.import_module("paper_tables")
    args = argparse.Namespace(
        out=tmp_path,
        seeds=2,
        size="tiny",
        quick=False,
        steps=None,
        weights=None,
        device="cpu",
        record=tmp_path / "r.jsonl",
    )
    (row, _) = later = [row for row in tables_of.TABLES["table2"] if row.like]
    rows = {row.slug: row for row in tables_of.TABLES["table2"]}
    twin = next(r for r in rows.values() if r.name == row.name and not r.like)

    def finish(slug, seed, cost):
        file = tmp_path / "table2" / slug / f"seed{seed}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"cpu_per_step": cost, "wall_per_step": 9.0}))

    finish(row.like, 0, 3.0), finish(row.like, 1, 5.0), finish(twin.slug, 0, 2.0)
    assert tables_of.cost_ratio("table2", row, args) is None
    assert not any(task.row in later for task in tables_of.tasks("table2", args))
    finish(twin.slug, 1, 2.0)
    made = [task for task in tables_of.tasks("table2", args) if task.row == row]
    assert [task.recipe.optim.steps for task in made] == [400, 400]
    assert json.loads((tmp_path / "r.jsonl").read_text())["files"]["ratios.json"] == {row.slug: 2.0}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Table 4 by two steps a row: what the command said, and where page and results are."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "page.md").write_text("Before\n<!-- table4:begin -->\nold\n<!-- table4:end -->\nAfter\n")
    made = tables("table4", "--quick", "--out", str(folder / "out"), "--into", str(folder / "page.md"))
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.slow
def test_quick_makes_a_table_and_a_plot(quick):
    text = (quick / "page.md").read_text()
    assert text.startswith("Before\n")
    assert text.endswith("After\n")
    assert "old" not in text
    assert "| both, select 7:3 | 0." in text
    assert "teacher builtin:sharp" in text
    assert f"builtin:sharp `{sha256_file(ROOT / 'assets' / 'sharp.safetensors')[:8]}`" in text
    assert (quick / "tiny-table4.png").stat().st_size > 5000
    rows = json.loads((quick / "out" / "results.json").read_text())["table4"]["rows"]
    assert [row["seeds"] for row in rows] == [1] * 4
    assert all(row["abs_rel"] > 0 and row["cpu_per_step"] > 0 and row["wall_per_step"] > 0 for row in rows)


@pytest.mark.slow
def test_finished_runs_are_not_made_again_and_never_mixed_with_others(quick):
    out = quick / "out"
    shutil.rmtree(out / "table4" / "teachers-both-average" / "seed0")
    (out / "table4" / "teachers-both-average" / "seed0.json").unlink()
    again = tables("table4", "--quick", "--out", str(out))
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(", seed 0: ") == 1
    before = (out / "results.json").read_text()
    report = tables("table4", "--quick", "--report", "--out", str(out))
    assert ", seed 0: " not in report.stdout
    assert (out / "results.json").read_text() == before
    other = tables("table4", "--quick", "--steps", "3", "--out", str(out))
    assert other.returncode != 0
    assert "another recipe" in other.stderr
    file = out / "table4" / "teachers-both-average" / "seed0.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"weights": {"builtin:global": "0" * 8}}))
    older = tables("table4", "--quick", "--out", str(out))
    assert older.returncode != 0
    assert "other built-in models" in older.stderr


@pytest.mark.slow
def test_quick_makes_all_tables_and_gives_the_cheaper_rows_the_same_time(tmp_path):
    made = tables("table1", "table2", "--quick", "--steps", "8", "--out", str(tmp_path))
    assert made.returncode == 0, made.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert all(row["seeds"] == 1 for table in results.values() for row in table["rows"])
    ratios = json.loads((tmp_path / "table2" / "ratios.json").read_text())
    rows = {(row["group"], row["name"]): row["steps"] for row in results["table2"]["rows"]}
    for (group, name), steps in rows.items():
        ratio = 1 if group == "equal steps" else next(v for k, v in ratios.items() if name.split()[0] in k)
        assert steps == round(8 * ratio)


@pytest.mark.slow
def test_a_budget_ends_cleanly_and_the_next_call_goes_on(tmp_path):
    args = ["table4", "--quick", "--steps", "60", "--out", str(tmp_path), "--budget"]
    first = tables(*args, "12")
    assert first.returncode == 3, first.stderr
    whole = tables(*args, "600")
    assert whole.returncode == 0, whole.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["table4"]["rows"]
    assert [row["seeds"] for row in rows] == [1] * 4


@pytest.mark.slow
def test_killed_in_a_run_it_goes_on(tmp_path):
    args = [sys.executable, str(RUNNER), "table4", "--quick", "--steps", "30", "--out", str(tmp_path)]
    process = subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    metrics = tmp_path / "table4" / "teachers-a-alone-builtin-global" / "seed0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 5):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert tables(*args[2:]).returncode == 0
