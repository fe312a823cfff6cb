"""Recipes that PyYAML alone would fail on, or read as something else."""

import pytest

from ccd_cli.config.load import load_recipe
from ccd_cli.config.yaml_loader import dump_yaml, parse_yaml
from ccd_cli.core.errors import RecipeError

TAGS = ["!!int ''", "!!timestamp abc", "!!bool maybe", "!!map [1]", "!!set {a, b}", "!!float x", "!!binary '?'", "!x y"]


@pytest.mark.parametrize("value", [*TAGS, "!!str 5", "! z"])
def test_tags_are_refused_in_plain_words(value):
    with pytest.raises(RecipeError) as caught:
        parse_yaml(f"a: 1\nb: {value}\n", "t")
    where, problem = caught.value.problems[0]
    assert where == "line 2"
    assert "are not used here" in problem


@pytest.mark.parametrize("key", ["1", "1.5", "true", "null", "~"])
def test_keys_are_text(key):
    with pytest.raises(RecipeError, match="1 problem") as caught:
        parse_yaml(f"{key}: x\n", "t")
    assert f"the key '{key}' is" in caught.value.problems[0][1]
    assert parse_yaml(f'"{key}": x\n', "t") == {key: "x"}


@pytest.mark.parametrize("text", ["2026-01-31", "2001-99-99", "=", "12:30:45", "2001-12-14t21:59:43.10-05:00"])
def test_what_yaml_1_1_reads_as_something_else_is_text(text):
    assert parse_yaml(f"a: {text}", "t") == {"a": text}
    assert parse_yaml(dump_yaml({"a": text}), "t") == {"a": text}


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 40 + "]" * 40, "[" * 100_000, "{a: " * 5000, "a: " + "9" * 5000, "- " * 3000]
)
def test_depth_and_digits_have_a_limit(text):
    with pytest.raises(RecipeError, match="1 problem"):
        parse_yaml(text, "t")


def test_recipes_in_other_encodings(tmp_path):
    path = tmp_path / "r.yaml"
    recipe = "name: x\nimages: bücher\nteachers: [a]\n"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes(recipe.encode(encoding))
        assert load_recipe(str(path)).images.paths == ["bücher"]
    path.write_bytes(recipe.encode("latin-1"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert caught.value.problems == [("file", "not UTF-8 text")]


@pytest.mark.parametrize("key", ["²", "٣", "-1", "1_0", "99999999999", "x"])
def test_places_in_a_list_are_plain_numbers(key):
    with pytest.raises(RecipeError) as caught:
        load_recipe("indoor", [f"teachers.{key}=1"])
    assert caught.value.problems[0][0] == f"teachers.{key}=1"
    assert "entries" in caught.value.problems[0][1]


@pytest.mark.parametrize("name", ["a" * 5000, "~nosuchuser/r.yaml", "r\0.yaml", "/" * 300 + "x" * 300])
def test_names_that_no_file_can_have(name):
    with pytest.raises(RecipeError, match="problem"):
        load_recipe(name)
