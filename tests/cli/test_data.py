"""`ccd data`, as a user types it."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ccd_cli.benchmarks.layouts import ZERO_SHOT
from ccd_cli.cli import data
from ccd_cli.prepare.run import ZERO_SHOT as PREPARED
from tests.tiny_sets import WRITERS, pack, write_diode


def test_the_sets_of_the_help_are_those_of_the_package():
    assert data.SETS == ZERO_SHOT == PREPARED


def test_list_says_where_sets_come_from_and_what_is_here(ccd_here, tmp_path):
    WRITERS["scannet"](tmp_path / "data/scannet")
    result = ccd_here("data", "list")
    assert result.exit_code == 0
    for name in (*ZERO_SHOT, "moge", "builtin"):
        assert f"\n{name} (suite " in result.output
    assert "installed, 2 of 800 samples" in result.output and "not installed" in result.output
    assert "terms-of-use" in result.output and "https://" in result.output


def test_list_as_json(ccd_here, tmp_path):
    WRITERS["diode"](tmp_path / "elsewhere/diode")
    rows = json.loads(ccd_here("data", "list", "--json", "--data-root", tmp_path / "elsewhere").output)["sets"]
    found = {row["name"]: row["found"] for row in rows}
    assert found["diode"] == ["diode"] and found["nyuv2"] == []
    assert all(row["terms"] and row["size"] for row in rows)


def test_the_data_root_is_taken_from_the_environment(ccd_here, tmp_path, monkeypatch):
    WRITERS["diode"](tmp_path / "env/diode")
    monkeypatch.setenv("CCD_DATA", str(tmp_path / "env"))
    assert "diode: 2 of 771" in ccd_here("data", "check", "diode").output
    assert "missing" in ccd_here("data", "check", "diode", "--data-root", "other").output


@pytest.mark.parametrize("suite", ["diode", "zero-shot"])
def test_check_fails_where_a_set_is_not_the_published_one(ccd_here, tmp_path, suite):
    WRITERS["diode"](tmp_path / "data/diode")
    result = ccd_here("data", "check", suite)
    assert result.exit_code == 1
    assert "diode: 2 of 771 samples, NOT the published split" in result.output
    assert ("nyuv2: missing" in result.output) is (suite == "zero-shot")


def test_check_of_good_sets(ccd_here, tmp_path):
    assert ccd_here("data", "check", "builtin").exit_code == 0
    (tmp_path / "own").mkdir()
    WRITERS["scannet"](tmp_path / "own")
    text = 'name: own\nroot: own/scene0011_00\nimage: "color/*"\ndepth: "depth/*"\ndivisor: 1000\n'
    (tmp_path / "own.yaml").write_text(text)
    result = ccd_here("data", "check", "own.yaml", "--read", "--json")
    facts = json.loads(result.stdout)
    assert result.exit_code == 0 and facts["good"] and facts["sets"][0]["found"] == 2
    (tmp_path / "own/scene0011_00/depth/000100.png").write_bytes(b"")
    result = ccd_here("data", "check", "own.yaml", "--read", "--json")
    assert result.exit_code == 1 and "000100.png" in json.loads(result.stdout)["sets"][0]["problems"][0]


def test_mistakes_are_one_line(ccd_here, tmp_path):
    for args, code, word in (
        (("check", "nyu"), 2, "There is no suite 'nyu'"),
        (("check", "nothing.yaml"), 2, "nothing.yaml"),
        (("prepare", "builtin", "--from", "x"), 2, "builtin"),
        (("prepare", "diode", "--from", "nowhere"), 1, "does not exist"),
        (("prepare", "diode"), 2, "--from"),
    ):
        result = ccd_here("data", *args)
        assert (result.exit_code, word in result.output) == (code, True), result.output
        assert "Traceback" not in result.output


def test_prepare_then_check(ccd_here, tmp_path):
    write_diode(tmp_path / "x", "val")
    pack(tmp_path / "x", tmp_path / "downloads/val.tar.gz", "", "w:gz")
    result = ccd_here("data", "prepare", "diode", "--from", "downloads")
    assert result.exit_code == 0 and "6 files written, 0 skipped" in result.output
    assert "NOT the published split" in result.output, "two of 771"
    facts = json.loads(ccd_here("data", "prepare", "diode", "--from", "downloads", "--json").stdout)
    assert (facts["written"], facts["kept"], facts["published"]) == (0, 6, False)
    assert ccd_here("data", "check", "diode").exit_code == 1


def test_listing_and_checking_load_no_torch(tmp_path):
    code = """
import sys
from click.testing import CliRunner
from ccd_cli.cli.data import command
for args in ([], ["list"], ["check"], ["prepare"]):
    assert CliRunner().invoke(command, [*args, "--help"]).exit_code == 0
print("numpy" in sys.modules)
for args in (["list"], ["check", "nyuv2"], ["check", "moge"]):
    CliRunner().invoke(command, args)
print("torch" in sys.modules, "numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "False", "True"], done.stdout + done.stderr


def test_help_shows_the_default_root():
    for name in ("list", "check", "prepare"):
        assert "CCD_DATA" in CliRunner().invoke(data.command, [name, "--help"]).output
