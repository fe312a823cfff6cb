"""Shards of work: disjoint, complete, the same every time; and who may hold a folder together with whom."""

import fcntl
import os

import pytest

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.lock import exclusive_lock, lock_for
from ccd_cli.core.shard import MAX_SHARDS, Shard, part_of, refuse_overwrite, shard_from

WRONG = ["0/4", "5/4", "4", "a/b", "1/100000", "", "1/0", "-1/4", "1/-4", "1/4/2", "1.0/4", "٣/٤", "1/4x"]
"""What `--shard` is not."""


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_shards_are_disjoint_and_together_all(count):
    items = [f"i{n}" for n in range(10)]
    shards = [Shard(number, count).of(items) for number in range(1, count + 1)]
    assert sorted(item for shard in shards for item in shard) == items
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert Shard(2, 3).of(range(7)) == [1, 4]
    assert part_of(range(3), None) == [0, 1, 2]


def test_texts():
    assert shard_from("2/8") == Shard(2, 8) and str(Shard(2, 8)) == "2/8"
    assert shard_from(f"{MAX_SHARDS}/{MAX_SHARDS}").number == MAX_SHARDS
    for text in WRONG:
        with pytest.raises(UsageProblem, match="unknown shard"):
            shard_from(text)
    refuse_overwrite(None, True)
    with pytest.raises(UsageProblem, match="contradicts --overwrite"):
        refuse_overwrite(Shard(1, 1), True)


def test_shards_hold_a_folder_together_each_once_and_a_whole_run_alone(tmp_path):
    path = tmp_path / ".lock"
    with lock_for(path, Shard(1, 3), "busy."), lock_for(path, Shard(2, 3), "busy."):
        with pytest.raises(CcdError, match="busy"), lock_for(path, None, "busy."):
            pytest.fail("a whole run beside shards")
        with (
            pytest.raises(CcdError, match=f"works on shard 2/3.*process {os.getpid()}"),
            lock_for(path, Shard(2, 3), ""),
        ):
            pytest.fail("one shard twice")
    with lock_for(path, None, "busy."):
        assert [p.name for p in tmp_path.iterdir()] == [".lock"], "locks of shards go"
        with pytest.raises(CcdError, match=f"busy.*process {os.getpid()}"), lock_for(path, Shard(1, 3), "busy."):
            pytest.fail("a shard beside a whole run")
    with lock_for(path, Shard(1, 3), "busy."), pytest.raises(CcdError) as refused, exclusive_lock(path, "busy."):
        pytest.fail("both")
    assert "process" not in refused.value.message, "who held it alone is gone"


def test_a_disk_without_locks_refuses_no_shard(tmp_path, monkeypatch):
    def flock(handle, how):
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock_for(tmp_path / ".lock", Shard(1, 2), "busy."), lock_for(tmp_path / ".lock", None, "busy."):
        assert (tmp_path / ".lock").exists()
