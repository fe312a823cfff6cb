"""Mutated files and words never get more out of a reader than a value or an error of ccd."""

import os
import pickle
import random
import subprocess
from dataclasses import replace

import pytest

from tests.fuzz import campaign
from tests.fuzz.campaign import Reader, run
from tests.fuzz.mutate import mutate

CALLS = int(os.environ.get("CCD_FUZZ_CALLS", "600"))
SEED = int(os.environ.get("CCD_FUZZ_SEED", "0"))


@pytest.mark.slow
def test_readers_give_values_or_their_own_errors(tmp_path):
    from tests.fuzz.readers import all_readers

    counts = run(all_readers(tmp_path / "seeds"), CALLS, SEED, tmp_path / "work")
    print(campaign.table(counts))
    assert [failure for count in counts.values() for failure in count.failures] == []
    assert sum(count.calls for count in counts.values()) >= CALLS
    assert sum(count.refused for count in counts.values()) > CALLS // 5
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.slow
def test_every_reader_reads_every_file_that_was_not_changed(tmp_path, monkeypatch):
    """Where a seed were refused, its mutations would never get far into the reader."""
    from tests.fuzz.readers import all_readers

    monkeypatch.setattr(campaign, "mutate", lambda data, *_: data)
    refused = []
    for reader in all_readers(tmp_path / "seeds"):
        for name in sorted({*reader.styles} - {*reader.refused}):
            count = run([replace(reader, styles={name: "bytes"})], 1, SEED, tmp_path / "work")[reader.name]
            if not count.accepted:
                refused.append((reader.name, name, count.failures))
    assert refused == []


def test_the_campaign_sees_what_it_must_not_see(tmp_path, monkeypatch):
    """A reader that raises, hangs, starts a program or writes elsewhere is caught: the campaign can fail."""
    monkeypatch.setattr(campaign, "SECONDS", 0.3)
    elsewhere = tmp_path / "elsewhere"

    def hang(*_):
        while True:
            pass

    def calls(function):
        return run([Reader("r", function, {"a": b"abc"}, {"a": "bytes"})], 1, 0, tmp_path / "work")["r"].failures

    assert calls(lambda folder, name: (folder / name).read_bytes()) == []
    assert "ZeroDivisionError" in calls(lambda *_: 1 // 0)[0]
    assert "hangs" in calls(hang)[0]
    assert "subprocess.Popen" in calls(lambda *_: subprocess.run(["true"], check=True))[0]
    assert str(elsewhere) in calls(lambda *_: elsewhere.write_text("x"))[0]
    assert "os.system" in calls(lambda *_: pickle.loads(b"cos\nsystem\n(S'true'\ntR."))[0]


def test_mutations_follow_from_the_seed():
    for style, data in {
        "bytes": bytes(range(200)),
        "json": b'{"a": [1, {"b": 2}]}',
        "yaml": b"a: 1\nb: [x, y]\n",
    }.items():
        made = [mutate(data, data[::-1], style, random.Random(i)) for i in range(100)]
        assert made == [mutate(data, data[::-1], style, random.Random(i)) for i in range(100)]
        assert len(set(made)) > 70
