"""Recipe keys as data, the schema for editors, and new recipes from others."""

import json

import jsonschema
import pytest

from ccd_cli.config.find import shipped
from ccd_cli.config.keys import all_keys, explain, find_key, keys_of, shipped_values
from ccd_cli.config.load import TASKS, check_recipe, load_any_recipe
from ccd_cli.config.new import COMMON, write_recipe
from ccd_cli.config.schema import json_schema
from ccd_cli.config.yaml_loader import comments_of, dump_flow, parse_yaml, read_yaml
from ccd_cli.core.errors import CcdError, RecipeError, UsageProblem

RECIPES = {recipe.name: recipe.path for recipe in shipped()}


def test_every_key_has_a_reason_and_a_type():
    assert len(all_keys()) > 100
    for key in all_keys():
        assert key.type and len(key.about) > 8, key.path


def test_defaults_are_those_of_a_recipe_that_sets_nothing():
    recipe = check_recipe({"name": "x", "images": "p", "teachers": ["a"]}, "x").model_dump(mode="json")
    for key in keys_of("distill").values():
        parts = key.path.split(".")
        if key.keys or parts[0] in ("name", "images", "teachers") or "labels" in parts:
            continue
        value = recipe
        for part in parts[:-1]:
            value = value[part] if isinstance(value, dict) else None
        if isinstance(value, dict):  # else a section that is not there by default, as `log.wandb`
            assert value[parts[-1]] == key.default, key.path
    assert keys_of("distill")["loss.local_global.weight"].default == 0.5, (
        "its section's own, not the 1.0 of all contexts"
    )
    assert keys_of("distill")["loss.shared.weight"].default == 1.0


@pytest.mark.parametrize(
    ("path", "type", "default", "source"),
    [
        ("optim.steps", "whole number, at least 1", 20_000, "the paper: Distill Any Depth (arXiv 2502.19204)"),
        ("optim.ema", "number, at least 0, below 1", 0.0, None),
        ("seed", "whole number, at least 0, below 2^32", 0, None),
        ("optim.schedule", "one of cosine, linear, constant", "cosine", None),
        ("crops.patches", "whole number, at least 1, at most 64", 4, "a choice that the paper leaves open"),
        ("loss.shared.levels", "list of whole numbers, at least 1, at most 32", [1, 2, 4], None),
        ("loss.drop_worst", "number, at least 0, below 1", 0.0, "Depth Anything V2 (arXiv 2406.09414)"),
        ("teachers.N.fit_to", "text, or nothing", None, None),
        ("masks.flat", "true or false", True, None),
    ],
)
def test_explain(path, type, default, source):
    about = explain(path)[0]
    assert (about["type"], about["default"], about["required"]) == (type, default, False)
    assert source is None or source in about["sources"]


def test_keys_by_other_spellings():
    assert [key.path for key in find_key("teachers.0.weight")] == ["teachers.N.weight"]
    assert [key.path for key in find_key("teachers.weight")] == ["teachers.N.weight"]
    assert [key.task for key in find_key("crops.size")] == ["distill", "label"]
    (same,) = explain("crops.size")
    assert same["tasks"] == ["distill", "label"]
    assert [each["tasks"] for each in explain("out")] == [["distill"], ["label"]], "runs/NAME and labels/NAME"
    assert set(explain("loss.anchor")[0]["keys"]) == {"loss.anchor.weight"}
    assert "teachers.N.model" in explain("teachers")[0]["keys"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optim.stepz", "Did you mean optim.steps"),
        ("steps", "Did you mean optim.steps?"),
        ("weight", "loss.shared.weight"),
        ("final_lr", "final_lr_ratio"),
        ("", "schema"),
        ("qqqq", "schema"),
    ],
)
def test_a_misspelt_key(word, said):
    with pytest.raises(UsageProblem) as error:
        explain(word)
    assert said in str(error.value)


def test_what_the_shipped_recipes_set():
    assert shipped_values("optim.steps")["indoor"] == 20_000
    assert shipped_values("teachers.N.weight")["indoor"] == [0.7, 0.3]
    assert "indoor" not in shipped_values("optim.accumulate")
    assert shipped_values("loss.anchor.weight")["indoor"] == 0.01


@pytest.mark.parametrize("name", RECIPES)
def test_the_schema_takes_every_shipped_recipe(name):
    values = read_yaml(RECIPES[name])
    jsonschema.Draft202012Validator(json_schema(values.get("task", "distill"))).validate(values)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({"images": "photos"}, True),
        ({"images": ["a", "b"]}, True),
        ({"student": "depth-anything-v2-small", "teachers": "a"}, True),
        ({"teachers": ["a", {"model": "b", "weight": 2.0}]}, True),
        ({"labels": "labels/x"}, True),
        ({"teachers": [{"modle": "b"}]}, False),
        ({"optim": {"stepz": 3}}, False),
        ({"optim": {"schedule": "cosin"}}, False),
        ({"images": 3}, False),
        ({"images": {"pairs": "own.yaml"}}, True),
        ({"images": {"pairs": ["a.yaml", {"file": "b.yaml", "repeat": 2}]}}, True),
        ({"images": {"pairs": {"files": ["a.yaml"], "validation": {"by": "image"}}}}, True),
        ({"images": {"pairs": {"files": ["a.yaml"], "validation": "image"}}}, False),
        ({"images": {"pairs": 3}}, False),
        ({"teachers": [{"model": "ground-truth", "fill": "a"}]}, True),
        ({"teachers": [{"model": "ground-truth", "fill": 3}]}, False),
    ],
)
def test_the_schema_knows_short_forms_and_mistakes(change, valid):
    schema = json_schema("distill")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid({"name": "x", **change}) is valid


@pytest.mark.parametrize("name", RECIPES)
def test_a_new_recipe_is_its_base(name, tmp_path):
    written = write_recipe(str(tmp_path / "mine"), name)
    base, mine = load_any_recipe(name), load_any_recipe(str(written.path))
    assert mine == base.model_copy(update={"name": "mine"})
    assert mine.model_dump(exclude_unset=True) | {"name": ""} == base.model_dump(exclude_unset=True) | {
        "name": "",
        "task": base.task,
    }
    text = written.path.read_text()
    assert text.startswith(f"# yaml-language-server: $schema=./ccd-{base.task}.schema.json\n")
    schema = json.loads(written.schema.read_text())
    jsonschema.Draft202012Validator(schema).validate(parse_yaml(text, "mine"))
    assert max(map(len, text.splitlines())) < 250


def test_a_new_recipe_explains_its_keys_and_shows_others(tmp_path):
    text = write_recipe(str(tmp_path / "mine.yaml"), "indoor").path.read_text()
    assert "  # Optimizer steps (paper: 20 000).\n  steps: 20000\n" in text
    assert "  # Gradient accumulation: micro-steps per optimizer step.\n  #accumulate: 1\n" in text
    assert "  lr: 5e-5\n" in text
    assert "In `indoor`: the teachers' scales differ" in " ".join(text.replace("#", "").split()), (
        "the base's own comment"
    )
    head, _, block = text.partition("#eval:\n")
    block, _, rest = block.partition("\n\n")
    uncommented = f"{head}eval:\n" + "\n".join(line[1:] for line in block.splitlines()) + f"\n{rest}"
    uncommented = uncommented.replace("#every: 1000", "every: 7").replace("#accumulate: 1", "accumulate: 3")
    values = parse_yaml(uncommented, "mine")
    assert values["eval"] == {"every": 7}
    assert values["optim"]["accumulate"] == 3


def test_common_keys_exist():
    for task in TASKS:
        assert set(COMMON[task].split()) <= set(keys_of(task))


def test_new_recipes_overwrite_nothing(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    with pytest.raises(CcdError, match="not overwritten"):
        write_recipe(str(path), "indoor")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"] and path.read_text() == "mine"
    with pytest.raises(UsageProblem, match="no name"):
        write_recipe(str(tmp_path / "a b"), "indoor")
    with pytest.raises(RecipeError, match="indor"):
        write_recipe(str(tmp_path / "other"), "indor")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_section_that_may_be_a_plain_value(tmp_path):
    assert explain("log.wandb")[0]["type"] == "true or false or section"
    (tmp_path / "base.yaml").write_text("name: x\nimages: p\nteachers: [a]\nlog: {wandb: true}\nmasks: {}\n")
    text = write_recipe(str(tmp_path / "mine"), str(tmp_path / "base.yaml")).path.read_text()
    assert "  wandb: true\n" in text
    assert "masks: {}\n" in text


def test_comments_of_a_file():
    text = "# head\na: 1  # one\n# above\nb: {c: 2, d: 3}  # two\ne:\n  - f: '# no comment'\n    g: 4 # three\n"
    assert comments_of(text) == {("a",): "one", ("b",): "above two", ("e", "0", "g"): "three"}


@pytest.mark.parametrize(
    "value", [5e-5, 0.02, 1.0, 3, True, None, "a, b", "5.0e-05", "on", "builtin:tiny", ["a", 1], {"k": [1.5]}]
)
def test_flow_reads_back(value):
    text = dump_flow(value)
    assert "\n" not in text
    back = parse_yaml(f"x: {text}", "x")["x"]
    assert back == value and type(back) is type(value)
