"""JSON, text and homes of nobody: what cannot be used is a ValueError or a CcdError, whatever is wrong with it."""

import json
from pathlib import Path

import pytest

from ccd_cli.core.errors import CcdError
from ccd_cli.core.parse import MAX_DEPTH, parse_json, read_text
from ccd_cli.core.paths import exists, expand_home


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 900 + "1" + "}" * 900,
        "1" * 400,
        "",
        "{",
        b"\xff\xfe\x00",
    ],
)
def test_bad_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_good_json_is_read_as_by_the_standard_library():
    value = {"a": [1, -2, 1.5, None, True, "²"], "b": {"c": []}}
    assert parse_json(json.dumps(value)) == value
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(deep) == json.loads(deep)
    assert parse_json(str(2**63)) == 2**63
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json(f"[{deep}]")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_files_of_other_systems(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("näme: x".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "näme: x"


def test_text_that_is_none(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xe4\xf6")
    with pytest.raises(CcdError, match="not UTF-8"):
        read_text(tmp_path / "a.txt")
    with pytest.raises(CcdError, match="larger than 1 bytes"):
        read_text(tmp_path / "a.txt", limit=1)
    with pytest.raises(CcdError, match="No such file"):
        read_text(tmp_path / "b.txt")


def test_the_home_of_nobody_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home("~/a") == Path("/home/me/a")
    assert expand_home("~nosuchuser/a.png") == Path("~nosuchuser/a.png")
    assert expand_home("~\0") == Path("~\0")
    assert not exists(Path("a" * 5000))
    assert not exists(Path("a\0b"))
