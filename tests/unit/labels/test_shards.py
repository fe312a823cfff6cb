"""Shards as tars, and the order in which a reader gives their samples."""

import itertools
import tarfile

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.labels.shards import ShardReader, StreamPosition, epoch_order, write_tar
from tests.tiny_shards import SIZE, ordered, sample


def test_bytes_are_the_same_every_time_and_headers_tell_nothing(tmp_path, labels):
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, ordered(sample(3)))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(labels / "shard-000000.tar") as tar:
        heads = tar.getmembers()
    assert [head.name for head in heads] == sorted(head.name for head in heads)
    assert {(head.mtime, head.uid, head.gid, head.uname, head.gname, head.mode) for head in heads} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_samples_hold_what_was_written(labels):
    reader = ShardReader(labels, verify=True)
    for number in range(12):
        got = reader.sample(number)
        assert got.key == f"{number:09d}"
        assert (got.photo() == number).all()
        ground_truth = np.random.default_rng(number)
        for t in range(2):
            for c in range(2):
                values, valid = got.label(t, c)
                assert valid.all()
                step = got.facts.labels[t].crops[c].scale
                assert np.abs(values - ground_truth.uniform(1, 5, (SIZE, SIZE))).max() <= step / 2 + 1e-6
    with pytest.raises(IndexError):
        reader.sample(12)
    assert [facts.position for facts, _ in reader.sidecars()] == list(range(12))


def test_every_epoch_visits_each_sample_once_in_an_order_of_its_own(labels):
    reader = ShardReader(labels, seed=5, buffer=4)
    epochs = [[s.facts.position for s in reader.epoch(e)] for e in range(4)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    again = ShardReader(labels, seed=5, buffer=4)
    assert [s.facts.position for s in again.epoch(2)] == epochs[2]
    assert [s.facts.position for s in ShardReader(labels, seed=6, buffer=4).epoch(2)] != epochs[2]


def test_the_buffer_decides_how_far_samples_move():
    counts = [100, 100]
    plain = epoch_order(counts, 0, 0, 1)
    assert (np.diff(plain[:, 1])[:99] == 1).all()
    near, far = epoch_order(counts, 0, 0, 10), epoch_order(counts, 0, 0, 1000)
    place = {tuple(row): i for i, row in enumerate(plain.tolist())}

    def prefetch(order):  # a sample can come out at most `buffer` places before its turn
        return max(place[tuple(row)] - i for i, row in enumerate(order.tolist()))

    assert 0 < prefetch(near) < 10 < prefetch(far)
    assert sorted(map(tuple, far.tolist())) == sorted(map(tuple, plain.tolist()))
    assert epoch_order([], 0, 0, 5).shape == epoch_order([0, 0], 0, 0, 1).shape == (0, 2)


def test_resume_is_exact_at_every_place(labels):
    reader = ShardReader(labels, seed=1, rank=1, world=2, buffer=5)
    whole = [(place, s.key) for place, s in itertools.islice(reader.stream(), 15)]
    assert [place for place, _ in whole[:7]] == [*(StreamPosition(0, i) for i in range(1, 7)), StreamPosition(1, 1)]
    for done in range(14):
        fresh = ShardReader(labels, seed=1, rank=1, world=2, buffer=5)
        place = whole[done][0]
        rest = [(p, s.key) for p, s in itertools.islice(fresh.stream(*place), 14 - done)]
        assert rest == whole[done + 1 :]


@pytest.mark.parametrize("world", [1, 2, 3, 5, 12, 20])
def test_ranks_share_nothing_and_miss_nothing(labels, world):
    readers = [ShardReader(labels, seed=3, rank=r, world=world, buffer=4) for r in range(world)]
    seen = [[s.facts.position for s in reader.epoch(1)] for reader in readers]
    assert [len(part) for part in seen] == [len(reader) for reader in readers]
    assert sorted(p for part in seen for p in part) == list(range(12))
    assert max(map(len, seen)) - min(map(len, seen)) <= 1
    if world == 20:
        with pytest.raises(CcdError, match="none for process 19"):
            next(readers[19].stream())


@pytest.mark.parametrize("wrong", [{"rank": 2, "world": 2}, {"rank": -1}, {"buffer": 0}])
def test_impossible_readers(labels, wrong):
    with pytest.raises(UsageProblem):
        ShardReader(labels, **wrong)
