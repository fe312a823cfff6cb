"""The paper's claims, and its Tables 1, 2 and 4, with seeds and controls, on generated scenes: every row through `ccd distill`.

    python tests/benchmarks/paper_tables.py claims --seeds 6 --weights lite0.safetensors     # trains what is missing
    python tests/benchmarks/paper_tables.py teachers --seeds 6 --weights lite0.safetensors   # after training the two
    python tests/benchmarks/paper_tables.py table1 table2 table4 --out runs/paper-tables
    python tests/benchmarks/paper_tables.py claims --seeds 6 --report --record recipes/paper/runs.jsonl  # tables and plots alone
    python tests/benchmarks/paper_tables.py table2 --quick --out /tmp/quick                  # two steps a row
    python tests/benchmarks/paper_tables.py table1 --size 25m-224 --device cuda --budget 540 --out runs/gpu

Rows are overrides (paper_rows.py) of recipes/paper/tiny-TABLE.yaml. A second call resumes: finished runs are
skipped, a stopped one resumes from its checkpoint, a killed one loses its steps since then. Processes may share --out: each
makes runs that no other is making. --budget stops with a checkpoint. Exit code 3 says that runs remain: repeat until 0.
With --record FILE what finished runs left is kept as JSON lines, and a later call, on another machine too, takes it from there.
Tables go to OUT/RESULTS.md, OUT/results.json and OUT/tiny-TABLE.png; with --into FILE also between the markers of that file. With
--pairs INDEX.json (see score_index.py) the students of finished runs are scored on real pairs as well.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paper_record import add_run, add_shared, restore
from paper_report import markers, write_report
from paper_rows import TABLES, Row, size_sets
from paper_runs import Machine, references, remember_scenes, result, row_recipe, run_row, score_on_pairs

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.errors import CcdError, Interrupted
from ccd_cli.core.files import write_json
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.core.signals import Signals

QUICK = ["optim.steps=2", "optim.batch=2", "images.scenes.count=4", "eval.scenes=3"]
SMALL = ["crops.size=64", "crops.min_side=48", "images.scenes.height=64", "images.scenes.width=80"]
BASE = Row("", "", ())
"""The recipe as it ships."""
BUSY = "Another process makes this run"
LEFT = 3
"""Exit code while runs are left."""


@dataclass(frozen=True)
class Task:
    """One run."""

    table: str
    row: Row
    seed: int
    recipe: DistillRecipe
    folder: Path


def tasks(table: str, args: argparse.Namespace) -> Iterator[Task]:
    """Yield the runs of a table: seed by seed, then rows whose steps follow from the cost of others, once that is known."""
    for later in (False, True):
        for seed in range(args.seeds):
            for row in TABLES[table]:
                if bool(row.like) == later and (not later or cost_ratio(table, row, args) is not None):
                    folder = args.out / table / row.slug / f"seed{seed}"
                    yield Task(table, row, seed, recipe_of(table, row, seed, args), folder)


def recipe_of(table: str, row: Row, seed: int, args: argparse.Namespace) -> DistillRecipe:
    """Return the recipe of a row; --size, QUICK and --steps come before the row's own overrides."""
    base = size_sets(args.size)
    if args.quick:
        base += [*QUICK, *(SMALL if args.size == "tiny" else [])]
    if args.steps:
        base.append(f"optim.steps={args.steps}")
    weights = [f"student.weights={args.weights}"] if args.weights and table in ("claims", "teachers") else []
    sets = [*base, *weights, *row.sets, f"seed={seed}", "eval.compare=false"]
    if row.like:
        steps, ratio = row_recipe(table, sets).optim.steps, cost_ratio(table, row, args)
        assert ratio is not None, "`tasks` waits for it"
        sets.append(f"optim.steps={round(steps * ratio)}")
    return row_recipe(table, sets)


def cost_ratio(table: str, row: Row, args: argparse.Namespace) -> float | None:
    """Return how many times the steps of `row` go into the time of the row it is `like`; measured once, then stored.

    Cost: seconds a step of the cores on a CPU (other work changes it less than the wall's), of the wall elsewhere; the median over
    all seeds of the row of the same name at equal steps. None until all of them are finished.
    """
    file = args.out / table / "ratios.json"
    ratios = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if row.slug not in ratios:
        twin = next(r.slug for r in TABLES[table] if r.name == row.name and not r.like)
        costs = [
            [_cost(path, args) for path in (args.out / table / slug).glob("seed*.json")] for slug in (row.like, twin)
        ]
        if min(map(len, costs)) < args.seeds:
            return None
        both, own = map(statistics.median, costs)
        ratios[row.slug] = both / own
        write_json(file, ratios)
        if args.record:
            add_shared(args.record, args.out, table)
    return float(ratios[row.slug])


def _cost(path: Path, args: argparse.Namespace) -> float:
    facts = json.loads(path.read_text(encoding="utf-8"))
    return float((args.device == "cpu" and facts["cpu_per_step"]) or facts["wall_per_step"])


def train(args: argparse.Namespace, machine: Machine) -> bool:
    """Make all runs that are missing and that no other process works on; returns whether none is left."""
    remember_scenes()
    left = False
    with Signals() as signals:
        if args.budget:
            timer = threading.Timer(args.budget, os.kill, (os.getpid(), signal.SIGTERM))
            timer.daemon = True
            timer.start()
        for table in args.tables:
            for task in tasks(table, args):
                if signals.received is not None:
                    return False
                lock = exclusive_lock(task.folder.with_suffix(".lock"), BUSY)
                try:
                    with lock:
                        make(task, args, machine)
                except Interrupted:
                    return False
                except CcdError as error:
                    if not error.message.startswith(BUSY):
                        raise
                    left = True
            left |= any(row.like and cost_ratio(table, row, args) is None for row in TABLES[table])
            file = args.out / table / "references.json"
            if not file.exists():
                write_json(file, references(recipe_of(table, BASE, 0, args), machine))
                if args.record:
                    add_shared(args.record, args.out, table)
    return not left


def make(task: Task, args: argparse.Namespace, machine: Machine) -> None:
    """Make a run unless it is finished, score and record it, and say what came of it; raises Interrupted, with its state saved."""
    if result(task.recipe, task.folder) is not None:
        return
    facts = run_row(task.recipe, task.folder, machine)
    if args.pairs:
        score_on_pairs(task.folder, args.pairs, task.recipe.crops.size)
    if args.record:
        add_run(args.record, args.out, task.folder)
    shown = facts.get("stopped") or f"AbsRel {facts['abs_rel']:.4f}, F1 {facts['f1']:.4f}"
    print(f"{task.table}: {task.row.group}: {task.row.name}, seed {task.seed}: {shown}", flush=True)
    print(f"    {facts['steps']} steps, {facts['wall_per_step']:.3f} s each, {facts['seconds']:.0f} s", flush=True)


def main() -> int:
    """Train and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=[*TABLES])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/paper-tables"))
    parser.add_argument(
        "--weights", type=Path, help="of the encoder that students of `claims` and `teachers` begin from"
    )
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    parser.add_argument("--size", default="tiny", help="tiny, or STUDENT-SIDE: 2m, 6m or 25m with 112, 224 or 336")
    parser.add_argument("--quick", action="store_true", help="two steps of few scenes a row, one seed")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument(
        "--pairs", type=Path, help="an index file of real pairs (score_index.py) to score students on too"
    )
    parser.add_argument("--record", type=Path, help="a JSON-lines file of finished runs, to take from and add to")
    parser.add_argument("--into", type=Path, help="also write between the markers of this file")
    parser.add_argument("--budget", type=float, help="seconds after which to stop cleanly")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.seeds = 1 if args.quick else args.seeds
    try:
        size_sets(args.size)
        for table in args.tables if args.into else ():
            markers(args.into.read_text(encoding="utf-8"), table)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    machine = Machine(args.device, args.precision, args.threads)
    for teacher in (
        recipe_of("teachers", BASE, 0, args).teachers if "teachers" in args.tables and not args.report else ()
    ):
        if not (file := Path(teacher.model)).is_file():
            parser.error(f"there is no {file} here, the student of recipes/paper/teacher-{file.stem}.yaml")
    try:
        if args.record:
            restore(args.record, args.out)
        done = True if args.report else train(args, machine)
        for task in (task for table in args.tables if args.pairs for task in tasks(table, args)):
            score_on_pairs(task.folder, args.pairs, task.recipe.crops.size)
        write_report(args.tables, args.seeds, args.out, args.into, lambda table: recipe_of(table, BASE, 0, args))
    except CcdError as error:
        print(f"{error.message} {error.hint}", file=sys.stderr)
        return 1
    return 0 if done else LEFT


if __name__ == "__main__":
    sys.exit(main())
