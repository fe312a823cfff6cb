"""Which licenses allow commercial use; what is not understood is unknown, and not no."""

import pytest

from ccd_cli.teachers.catalog import BUILTINS, CARDS
from ccd_cli.teachers.licenses import commercial_use, is_commercial, license_rank, strictest
from ccd_cli.teachers.listing import SETTLED, commercial_words, rows

YES = [
    "MIT",
    "Apache-2.0",
    "apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "bsd-3-clause-clear",
    "ISC",
    "Zlib",
    "0BSD",
]
YES += [
    "Unlicense",
    "CC0-1.0",
    "CC-BY-4.0",
    "cc-by-4.0",
    "CC-BY-3.0",
    "CC-BY-SA-4.0",
    "cc-by-sa-3.0",
    "MPL-2.0",
    "EPL-2.0",
]
YES += [
    "LGPL-3.0-or-later",
    "GPL-3.0-only",
    "AGPL-3.0",
    "EUPL-1.2",
    "OpenRAIL++-M",
    "creativeml-openrail-m",
    "BSL-1.0",
    "NCSA",
]
YES += [
    "Apache License, Version 2.0",
    "MIT License",
    "BSD 3-Clause License",
    "MIT OR CC-BY-NC-4.0",
    "MIT AND Apache-2.0",
]
NO = ["CC-BY-NC-4.0", "cc-by-nc-sa-3.0", "CC-BY-NC-ND-4.0", "LicenseRef-Apple-AMLR", "apple-amlr"]
NO += ["LicenseRef-GenPercept-noncommercial"]
NO += ["non-commercial use only", "research only", "MIT AND CC-BY-NC-4.0", "CC BY NC 4.0"]
UNKNOWN = ["", "unknown", "other", "llama3", "BUSL-1.1", "Some-New-License", "MITx", "LicenseRef-mine", "cc"]


@pytest.mark.parametrize("word", YES)
def test_allowed(word):
    assert commercial_use(word) == "yes"
    assert is_commercial(word)


@pytest.mark.parametrize("word", NO)
def test_forbidden(word):
    assert commercial_use(word) == "no"
    assert not is_commercial(word)


@pytest.mark.parametrize("word", UNKNOWN)
def test_not_understood(word):
    assert commercial_use(word) == "unknown"
    assert not is_commercial(word)


def test_share_alike_is_stricter_than_attribution():
    order = ["MIT", "CC-BY-4.0", "MPL-2.0", "CC-BY-SA-4.0", "unknown", "CC-BY-NC-4.0"]
    ranks = [license_rank(word) for word in order]
    assert ranks == sorted(set(ranks))
    assert strictest(["Apache-2.0", "CC-BY-SA-4.0", "MIT"]) == "CC-BY-SA-4.0"


def test_list_json_and_readme_agree(tmp_path, monkeypatch):
    monkeypatch.setenv("CCD_HOME", str(tmp_path))
    (tmp_path / "cards").mkdir()
    card = "arch: depth-anything-v2-small\nfile: w.pth\n"
    for name, license_id in (("open", "CC-BY-4.0"), ("odd", "My-License")):
        (tmp_path / f"cards/{name}.yaml").write_text(f"name: {name}\nlicense: {license_id}\n{card}")
    words = commercial_words()
    assert (words["open"], words["odd"]) == ("yes", "unknown")
    for row in rows():
        assert row["commercial"] is SETTLED[words[row["name"]]]
        assert (words[row["name"]] == "disputed") == ("disputed" in row["license"])
    for one in (*CARDS.values(), *BUILTINS.values()):
        assert one.commercial == (words[one.name] == "yes")
        assert bool(one.disputed) == (words[one.name] == "disputed")
