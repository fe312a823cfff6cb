"""`ccd recipes` and `--dry-run`."""

import json

import pytest
import yaml


def test_list_show_check_schema(ccd_here, tmp_path):
    names = [row["name"] for row in json.loads(ccd_here("recipes", "list", "--json").stdout)]
    assert {"indoor", "outdoor", "indoor-diffusion", "paper/table1", "paper/table5"} <= set(names)
    assert "name: indoor" in ccd_here("recipes", "show", "indoor").stdout
    assert ccd_here("recipes", "check", "indoor").exit_code == 0
    schema = json.loads(ccd_here("recipes", "schema").stdout)
    assert "Optimizer steps" in schema["$defs"]["Optim"]["properties"]["steps"]["description"]
    assert "optim" in schema["properties"]
    (tmp_path / "bad.yaml").write_text("name: x\nimages: p\nteachers: [a]\nseeed: 3\noptim: {steps: many}\n")
    bad = ccd_here("recipes", "check", "bad.yaml")
    assert bad.exit_code == 2
    assert "seeed: unknown key; did you mean 'seed'?" in bad.stderr
    assert "optim.steps" in bad.stderr
    as_json = ccd_here("recipes", "check", "bad.yaml", "--json")
    assert as_json.exit_code == 2
    assert {p["key"] for p in json.loads(as_json.stdout)["problems"]} == {"seeed", "optim.steps"}


def test_label_recipes_are_known(ccd_here, tmp_path):
    names = [row["name"] for row in json.loads(ccd_here("recipes", "list", "--json").stdout)]
    assert {"label/quickstart", "label/indoor"} <= set(names)
    assert "task: label" in ccd_here("recipes", "show", "label/indoor").stdout
    done = ccd_here("recipes", "check", "label/indoor", "--set", "shard=7")
    assert (done.exit_code, done.stdout) == (0, "label/indoor: valid (label recipe 'label-indoor')\n")
    document = json.loads(ccd_here("recipes", "check", "label/indoor", "--json").stdout)
    assert (document["valid"], document["recipe"]["shard"]) == (True, 100)
    bad = "task: label\nname: x\nimages: p\nteachers: [a, a]\n"
    (tmp_path / "bad.yaml").write_text(bad)
    assert "listed twice" in ccd_here("recipes", "check", "bad.yaml").stderr
    (tmp_path / "bad.yaml").write_text(bad + "shrad: 3\ndrop: {worst: 2}\n")
    found = json.loads(ccd_here("recipes", "check", "bad.yaml", "--json").stdout)["problems"]
    assert {problem["key"] for problem in found} == {"shrad", "drop.worst"}
    (tmp_path / "bad.yaml").write_text("task: lable\nname: x\nimages: p\nteachers: [a]\n")
    assert "task: must be one of" in ccd_here("recipes", "check", "bad.yaml").stderr
    schema = json.loads(ccd_here("recipes", "schema", "--task", "label").stdout)
    assert {"shard", "drop", "epochs"} <= set(schema["properties"])
    assert "optim" not in schema["properties"]


def test_new_writes_a_recipe_and_its_schema(ccd_here, tmp_path):
    done = ccd_here("recipes", "new", "mine", "--from", "quickstart", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "name": "mine",
        "from": "quickstart",
        "path": "mine.yaml",
        "schema": "ccd-distill.schema.json",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ccd-distill.schema.json", "mine.yaml"]
    assert ccd_here("recipes", "check", "mine.yaml").exit_code == 0
    resolved = [
        yaml.safe_load(
            ccd_here("distill", name, "--set", "images.paths=[none]", "--dry-run").stdout
        )  # no costs: in no time
        for name in ("quickstart", "mine.yaml")
    ]
    assert resolved[1] == resolved[0] | {"name": "mine"}
    again = ccd_here("recipes", "new", "mine")
    assert again.exit_code == 1
    assert "not overwritten" in again.stderr
    assert "Training" not in (tmp_path / "mine.yaml").read_text().partition("images:")[0], "a section is explained once"
    ending = ccd_here("distill", "mine")
    assert (ending.exit_code, "did you mean mine.yaml?" in ending.stderr) == (2, True), ending.stderr


@pytest.mark.parametrize("base", ["quickstart", "indoor"])
def test_check_knows_what_the_student_needs(ccd_here, base):
    """A size that a run would refuse: of a timm encoder, and of a published architecture."""
    done = ccd_here("recipes", "check", base, "--set", "crops.size=100")
    assert done.exit_code == 2, done.output
    assert "crops.size 100 is not a multiple of" in done.stderr


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_explain_is_as_wide_as_the_terminal(ccd_here, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    text = ccd_here("recipes", "explain", "optim.lr").stdout
    for word in (
        "number, above 0",
        "5e-5",
        "Learning rate of the depth head",
        "arXiv 2502.19204",
        "--set optim.lr=VALUE",
    ):
        assert word in " ".join(text.split()), word
    assert max(map(len, text.splitlines())) <= int(columns)
    section = ccd_here("recipes", "explain", "loss").stdout
    assert "loss.local_global" in section
    assert "loss.shared.levels" not in section, "one floor down"


def test_explain_as_json(ccd_here):
    (about,) = json.loads(ccd_here("recipes", "explain", "optim.steps", "--json").stdout)
    assert (about["key"], about["default"], about["tasks"]) == ("optim.steps", 20_000, ["distill"])
    assert about["shipped"]["indoor"] == 20_000
    wrong = ccd_here("recipes", "explain", "optim.stepz", "--json")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "Did you mean optim.steps?" in wrong.stderr


def test_dry_run_prints_the_resolved_recipe_and_then_what_a_run_would_lack(ccd_here, tmp_path):
    done = ccd_here("distill", "indoor", "--set", "optim.steps=5", "--set", "images=here", "--dry-run")
    assert done.exit_code == 0, "the recipe is what was asked for"
    assert "A run would not start" in done.stderr and "here" in done.stderr
    values = yaml.safe_load(done.stdout)
    assert (values["optim"]["steps"], values["images"]["paths"]) == (5, ["here"])
    assert list(tmp_path.iterdir()) == []


def test_hostile_recipes_run_nothing(ccd_here, tmp_path):
    (tmp_path / "tag.yaml").write_text("student: !!python/object/apply:os.system ['touch PWNED']\n")
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n")
    (tmp_path / "escape.yaml").write_text("name: ../../etc/x\nimages: p\nteachers: [a]\n")
    for name in ("tag.yaml", "twice.yaml", "escape.yaml", "missing.yaml"):
        done = ccd_here("distill", name)
        assert done.exit_code == 2, name
        assert name in done.stderr
    assert not (tmp_path / "PWNED").exists()


def test_doctor_tells_versions_devices_and_folders(ccd_here, tmp_path):
    facts = json.loads(ccd_here("doctor", "--json").stdout)
    assert {"ccd", "packages", "extras", "devices", "cache", "hub"} <= set(facts)
    assert facts["cache"]["folder"] == str(tmp_path / "home")
    assert facts["packages"]["torch"] != "missing"
    assert "offline" in ccd_here("doctor").stdout
