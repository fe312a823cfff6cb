"""Shards as tars, and the order in which a reader gives their samples."""

import itertools
import tarfile

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.labels.format import FORMAT, OLD_FORMAT, old_format_note
from ccd_cli.labels.shards import Shard, ShardReader, StreamPosition, epoch_order, write_tar
from tests.tiny_shards import SIZE, index_for, ordered, sample


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
                step, true = got.facts.labels[t].crops[c].scale, ground_truth.uniform(1, 5, (SIZE, SIZE))
                error = values - true if t == 0 else 1 / values - 1 / true
                assert np.abs(error).max() <= step / 2 + 1e-6
    with pytest.raises(IndexError):
        reader.sample(12)
    assert [facts.position for facts, _ in reader.sidecars()] == list(range(12))


def test_a_folder_of_version_1_is_read_as_it_was_written(tmp_path):
    write_tar(tmp_path / "shard-000000.tar", [item for i in range(3) for item in ordered(sample(i, form=OLD_FORMAT))])
    index_for(tmp_path, [3], form=OLD_FORMAT)
    reader = ShardReader(tmp_path)
    assert reader.files == 3 and "linear" in old_format_note(reader.index)
    for number in range(3):
        ground_truth, got = np.random.default_rng(number), reader.sample(number)
        for t in range(2):
            for c in range(2):
                values, valid = got.label(t, c)
                step = got.facts.labels[t].crops[c].scale
                assert valid.all()
                assert np.abs(values - ground_truth.uniform(1, 5, (SIZE, SIZE))).max() <= step / 2 + 1e-6
    assert got.facts.labels[1].crops[0].scale == 0.001, "millimeters, as version 1 had them"


def test_versions_do_not_mix_and_unknown_ones_are_named(tmp_path):
    write_tar(tmp_path / "shard-000000.tar", ordered(sample(0, form=OLD_FORMAT)))
    index_for(tmp_path, [1])
    with pytest.raises(CcdError, match="does not match"):
        ShardReader(tmp_path).sample(0)
    text = (tmp_path / "index.json").read_text()
    (tmp_path / "index.json").write_text(text.replace(FORMAT, "ccd-labels/3"))
    with pytest.raises(CcdError, match="says ccd-labels/3; this ccd reads ccd-labels/1 and ccd-labels/2") as caught:
        ShardReader(tmp_path)
    assert "Update ccd" in caught.value.hint
    (tmp_path / "index.json").write_text(text.replace('"license":"MIT"', '"license":"MIX"'))
    with pytest.raises(CcdError, match="checksum"):
        ShardReader(tmp_path)


def test_a_shard_is_hashed_once_before_its_first_use(tmp_path, monkeypatch):
    for i in range(2):
        write_tar(tmp_path / f"shard-{i:06d}.tar", ordered(sample(i)))
    index_for(tmp_path, [1, 1])
    hashed = []
    real = Shard._compare_hash
    monkeypatch.setattr(Shard, "_compare_hash", lambda self, facts: (hashed.append(facts.file), real(self, facts)))
    monkeypatch.setattr("ccd_cli.labels.shards._MAX_OPEN", 1)
    reader = ShardReader(tmp_path)
    assert hashed == []
    for number in (1, 0, 1, 0):
        reader.sample(number)
    assert hashed == ["shard-000001.tar", "shard-000000.tar"]
    ShardReader(tmp_path, verify=False).sample(0)
    assert len(hashed) == 2


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
