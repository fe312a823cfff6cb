"""`ccd.distill`, `ccd.label` and `ccd.teachers`: the commands' results, overrides as Python values."""

import json

import pytest
import yaml

import ccd_cli as ccd
from ccd_cli.config.load import load_recipe
from tests.tiny_labels import recipe_values


def test_a_run_is_the_commands(here, tiny_recipe, write_recipe, ccd_here):
    path = write_recipe(tiny_recipe)
    made = ccd.distill(path, set={"optim.steps": 2}, optim={"batch": 2}, seed=3, out=here / "mine", device="cpu")
    flags = (
        "--set",
        "optim.steps=2",
        "--set",
        "optim.batch=2",
        "--set",
        "seed=3",
        "--device",
        "cpu",
        "--out",
        "theirs",
    )
    result = ccd_here("distill", path, *flags, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (made.steps, made.loss) == (told["steps"], told["loss"]) == (2, told["loss"])
    theirs, mine = (yaml.safe_load((here / name / "recipe.yaml").read_text()) for name in ("theirs", "mine"))
    assert {**theirs, "out": None} == {**mine, "out": None}
    assert ccd.distill(path, optim__steps=2, optim__batch=2, seed=3, out="mine", resume=True).loss == made.loss
    with pytest.raises(ccd.CcdError, match="overwrite"):
        ccd.distill(path, optim__steps=2, out="mine")


def test_values_are_taken_as_they_are(here, tiny_recipe):
    made = load_recipe(tiny_recipe, [("optim.steps", 7), ("images.paths", ["a", "b"])])
    assert made.optim.steps == 7 and made.images.paths == ["a", "b"]
    assert tiny_recipe["optim"]["steps"] != 7, "the caller's dict stays as it is"


def test_labels_are_the_commands(here, photos, make_teacher, ccd_here, write_recipe):
    values = recipe_values(photos, make_teacher)
    made = ccd.label(values, out="mine", threads=1, device="cpu")
    path = write_recipe(values)
    result = ccd_here("label", path, "--out", "theirs", "--threads", "1", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (made.samples, made.shards, made.license) == (told["samples"], told["shards"], told["license"])
    shards = sorted(p.name for p in (here / "mine").glob("*.tar"))
    assert shards and all((here / "mine" / n).read_bytes() == (here / "theirs" / n).read_bytes() for n in shards)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ccd.distill("nothing"), "nothing"),
        (lambda: ccd.distill("quickstart", optim__stepz=3), "1 problem in the recipe"),
        (lambda: ccd.distill("quickstart", optim__steps="many"), "1 problem in the recipe"),
        (lambda: ccd.distill("quickstart", set=["optim.steps=3"]), "set is a dict"),
        (lambda: ccd.distill("quickstart", images="none"), "none"),
        (lambda: ccd.distill("quickstart", device=5), "device is a text"),
        (lambda: ccd.distill("quickstart", resume="yes"), "resume is True or False"),
        (lambda: ccd.distill({}), "in the recipe"),
        (lambda: ccd.distill(5), "recipe is a text or a path"),
        (lambda: ccd.label("quickstart"), "1 problem in the recipe"),
        (lambda: ccd.label("label/quickstart", engine="spark"), "engine 'spark'"),
        (lambda: ccd.label("label/quickstart", workers=2), "workers is for engine ray"),
        (lambda: ccd.teachers.info("nothing"), "Unknown model"),
        (lambda: ccd.teachers.pull("nothing"), "Unknown model"),
        (lambda: ccd.teachers.pull(["nothing", "neither"]), "2 of 2 models failed"),
        (lambda: ccd.teachers.pull("depth-anything-v2-base"), "CC-BY-NC-4.0"),
    ],
)
def test_mistakes_are_one_plain_error(here, call, words):
    with pytest.raises(ccd.CcdError, match=words):
        call()


def test_the_catalog(here, ccd_here):
    assert ccd.teachers.list() == json.loads(ccd_here("teachers", "list", "--json").stdout)
    assert {row["family"] for row in ccd.teachers.list(family="midas")} == {"midas"}
    assert all(row["commercial"] is True for row in ccd.teachers.list(commercial=True))
    assert [row["name"] for row in ccd.teachers.list(pulled=True)] == [
        "builtin:global",
        "builtin:sharp",
        "builtin:tiny",
    ]
    card = ccd.teachers.info("depth-anything-v2-small")
    assert (card["kind"], card["license"]) == ("disparity", "Apache-2.0")
    assert [one.status for one in ccd.teachers.pull("builtin:tiny")] == ["already there"]
