"""A pool of Ray actors: how many, and what becomes of items whose workers die."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from ccd_cli.cluster.connection import Node
from ccd_cli.cluster.pool import MAX_DEATHS, Lost, Pool
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Silent
from tests.on_ray import gone, on_a_cluster


@pytest.mark.parametrize(
    ("wanted", "nodes", "threads", "expected"),
    [
        (None, [(8, 0)], 4, (2, 4.0, 0.0)),
        (None, [(2, 0)], 4, (1, 2.0, 0.0)),
        (5, [(2, 0)], 1, (5, 1.0, 0.0)),
        (None, [(16, 8), (16, 8)], 4, (16, 1.0, 1.0)),
        (3, [(16, 8)], 4, (3, 1.0, 1.0)),
        (16, [(16, 8)], 4, (16, 1.0, 0.5)),
        (9, [(16, 8)], 4, (9, 1.0, 0.5)),
    ],
)
def test_how_many_workers_and_what_they_claim(monkeypatch, wanted, nodes, threads, expected):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: object())
    pool = Pool(wanted, False, Silent())
    pool._allot([Node(float(cpus), float(gpus)) for cpus, gpus in nodes], threads)
    assert (pool.workers, pool._cpus, pool._gpus) == expected


def test_without_ray_and_with_one_gpu(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(CcdError, match=r"--engine ray needs Ray. .*\[ray\]"):
        Pool(2, False, Silent())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: object())
    with Pool(2, False, Silent()) as pool, pytest.raises(UsageProblem, match="CUDA_VISIBLE_DEVICES"):
        pool.ask("cuda:1", 1, lambda device: (device, None), lambda: None)


@dataclass(frozen=True)
class Numbers:
    """Numbers to square; a negative one kills whoever meets it."""

    values: tuple[int, ...]

    @property
    def title(self):
        return f"numbers-{self.values[0]}"

    @property
    def words(self):
        return f"numbers from {self.values[0]}"

    def split(self):
        return [Numbers((value,)) for value in self.values]


@dataclass
class Square:
    """The task: squares, and a line in a file for every number that it has met."""

    book: Path

    def run(self, item):
        for value in item.values:
            with self.book.open("a") as file:
                file.write(f"{value}\n")
            if value < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if value == 0:
                raise CcdError("Zero.", "Give another number.")
        return [value**2 for value in item.values]

    def release(self):
        with self.book.open("a") as file:
            file.write("released\n")


@on_a_cluster
def test_an_item_that_kills_is_found_and_lost_and_all_others_are_done(tmp_path):
    report, book = Silent(), tmp_path / "book"
    items = [Numbers((1, 2)), Numbers((3, -4, 5)), Numbers((6,))]
    with Pool(2, False, report) as pool:
        assert pool.ask("cpu", 1, lambda device: (device, "yes"), lambda: None) == ("cpu", "yes")
        answers = dict(pool.run(Square(book), items, lambda: None))
        lost = answers.pop(Numbers((-4,)))
        assert isinstance(lost, Lost) and "3 workers died over it" in str(lost.problem("It"))
        assert answers == {Numbers((1, 2)): [1, 4], Numbers((3,)): [9], Numbers((5,)): [25], Numbers((6,)): [36]}
        assert Counter(book.read_text().split())["-4"] == MAX_DEATHS
        assert len(report.warnings) == MAX_DEATHS - 1
        assert report.warnings[0] == "numbers from 3 is computed again: the worker that had it died."
        second = tmp_path / "second"
        assert [answer for _, answer in pool.run(Square(second), [Numbers((7,))], lambda: None)] == [[49]]
        assert "released" in book.read_text(), "what the task before it had loaded is gone"
        with pytest.raises(CcdError, match=r"Zero\. Give another number\."):
            list(pool.run(Square(second), [Numbers((0,))], lambda: None))
    assert gone()
