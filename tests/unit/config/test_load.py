"""Recipes: strict reading, overrides, all problems at once."""

import pytest
import yaml

from ccd_cli.config.load import check_recipe, differences, load_recipe, recipe_hash, to_yaml
from ccd_cli.config.yaml_loader import parse_yaml, read_yaml
from ccd_cli.core.errors import RecipeError

BASE = {"name": "a", "images": "photos", "teachers": ["depth-anything-v1-large"]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("5E+2", 500.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("12", 12),
        ("~", None),
    ],
)
def test_numbers_and_booleans_as_in_yaml_1_2(text, value):
    got = parse_yaml(f"key: {text}", "t")["key"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: 1\na: 2\n", "twice"),
        ("a: {b: 1, b: 2}\n", "twice"),
        ("a: &x [1]\nb: *x\n", "alias"),
        ("a: !!python/object/apply:os.system ['true']\n", "tags"),
        ("a: [1\n", "line"),
        ("a: 1\n---\nb: 2\n", "document"),
    ],
)
def test_yaml_that_is_refused(text, word):
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, "t")
    where, problem = caught.value.problems[0]
    assert word in f"{where} {problem}"


def test_files_that_are_no_recipes(tmp_path):
    for name, content in {"binary": b"\xff\xfe\x00", "large": b"#" * 1_000_001}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecipeError):
            read_yaml(tmp_path / name)
    with pytest.raises(RecipeError, match="problem"):
        load_recipe(str(tmp_path))


def test_all_problems_at_once_with_key_paths():
    raw = {
        **BASE,
        "optim": {"steps": 0, "stepz": 3, "lr": "fast"},
        "loss": {"shared": {"normalization": "median"}},
        "color": 1,
        "seed": True,
    }
    with pytest.raises(RecipeError) as caught:
        check_recipe(raw, "t")
    problems = dict(caught.value.problems)
    assert set(problems) == {"optim.steps", "optim.stepz", "optim.lr", "loss.shared.normalization", "color", "seed"}
    assert "did you mean 'steps'" in problems["optim.stepz"]


def test_problems_are_said_without_the_words_of_libraries():
    with pytest.raises(RecipeError) as caught:
        check_recipe({**BASE, "augment": None, "optim": {"batch": "four"}}, "t")
    assert dict(caught.value.problems) == {
        "augment": "holds no key; set one below it, or remove it",
        "optim.batch": "must be a whole number, not 'four'",
    }


@pytest.mark.parametrize(("text", "word"), [("a:\n  b: 1\n c: 2\n", "indented"), ("a: 1\nb\nc:\n  d: 1\n", "colon")])
def test_a_line_that_yaml_cannot_read_says_what_to_look_for(text, word):
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, "t")
    assert word in caught.value.problems[0][1]


SKY = {"student": {"sky": True}, "loss": {"sky": {"weight": 1.0}}}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"student": {"arch": "timm", "init": "scratch"}}, "student.encoder"),
        ({"student": {"arch": "timm", "encoder": "test_vit"}}, "student.init"),
        ({"student": {"encoder": "test_vit"}}, "student.encoder"),
        ({"student": {"init": "scratch", "weights": "x"}}, "student.weights"),
        ({"crops": {"patch_min": 0.9, "patch_max": 0.5}}, "crops.patch_min"),
        ({"loss": {"shared": {"levels": [1, 3, 4]}}}, "loss.shared.levels"),
        ({"loss": {"shared": {"weight": 0}, "local_global": {"weight": 0}}}, "loss"),
        ({"teachers": [{"model": "a", "weight": 0}]}, "teachers"),
        ({"teachers": ["a", "a"]}, "teachers.1.model"),
        ({"teachers": [{"model": "a", "fit_to": "b"}]}, "teachers.0.fit_to"),
        ({"teachers": [{"model": "a", "noise": {"errors_over": 0.4}}]}, "teachers.0.noise"),
        ({"loss": {"local_global": {"unit": "region"}}, "crops": {"region": "own"}}, "loss.local_global.unit"),
        ({"student": {"sky": True}}, "loss.sky.weight"),
        ({"loss": {"sky": {"weight": 1.0}}}, "loss.sky.weight"),
        (SKY | {"mixing": "average", "teachers": ["a", "b"]}, "mixing"),
    ],
)
def test_contradictions(change, key):
    with pytest.raises(RecipeError) as caught:
        check_recipe({**BASE, **change}, "t")
    assert [k for k, _ in caught.value.problems] == [key]


def test_short_forms_and_overrides(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({**BASE, "images": {"paths": ["p"], "max_skipped": 0.5}}))
    recipe = load_recipe(
        str(path),
        [
            "images=other",
            "optim.steps=7",
            "loss.shared.weight=5e-1",
            "teachers.0.weight=0.3",
            "student.arch=depth-anything-v2-base",
        ],
    )
    assert recipe.images.paths == ["other"]
    assert recipe.images.max_skipped == 0.5  # the short form leaves its neighbors alone
    assert (recipe.optim.steps, recipe.loss.shared.weight, recipe.teachers[0].weight) == (7, 0.5, 0.3)
    assert recipe.student.arch == "depth-anything-v2-base"
    assert load_recipe(str(path), ["images=[a, b]"]).images.paths == ["a", "b"]
    assert load_recipe(str(path), ["images.max_skipped=0.2"]).images.paths == ["p"]


@pytest.mark.parametrize(
    "text", ["optim.steps", "=3", "optim..steps=3", "teachers.4.weight=1", "name.x.y=1", "seed=[1"]
)
def test_overrides_that_make_no_sense(tmp_path, text):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(BASE))
    with pytest.raises(RecipeError):
        load_recipe(str(path), [text])


def test_resolved_recipe_reads_back_the_same(tmp_path):
    recipe = check_recipe(BASE, "t")
    (tmp_path / "again.yaml").write_text(to_yaml(recipe))
    again = load_recipe(str(tmp_path / "again.yaml"))
    assert again == recipe
    assert recipe_hash(again) == recipe_hash(recipe)
    (tmp_path / "odd.yaml").write_text(to_yaml(check_recipe({**BASE, "name": "1e5", "out": "010"}, "t")))
    assert (load_recipe(str(tmp_path / "odd.yaml")).name, load_recipe(str(tmp_path / "odd.yaml")).out) == ("1e5", "010")
    other = check_recipe({**BASE, "seed": 1}, "t")
    assert recipe_hash(other) != recipe_hash(recipe)
    assert differences(recipe.model_dump(), other.model_dump()) == [("seed", 0, 1)]


@pytest.mark.parametrize("task", ["distill", "label"])
def test_every_key_is_explained(task):
    from ccd_cli.config.keys import keys_of

    keys = keys_of(task)
    assert len(keys) > (100 if task == "distill" else 25)
    assert [path for path, key in keys.items() if not key.about] == []


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [
        ("augment", "jitter_share", "jitter_probability"),
        ("augment", "gray_share", "gray_probability"),
        ("augment", "blur_share", "blur_probability"),
        ("masks", "saturated_share", "saturated_fraction"),
        ("optim", "final_lr", "final_lr_ratio"),
    ],
)
def test_a_renamed_key_is_refused_with_its_new_name(section, old, new):
    raw = {"name": "a", "images": "photos", "teachers": ["builtin:tiny"], section: {old: 0.5}}
    with pytest.raises(RecipeError) as caught:
        check_recipe(raw, "test")
    assert caught.value.problems == [(f"{section}.{old}", f"is now called '{new}'")]
    assert check_recipe({**raw, section: {new: 0.5}}, "test")


def test_the_renamed_ground_truth_teacher_is_refused_with_its_new_name():
    with pytest.raises(RecipeError) as caught:
        check_recipe({"name": "a", "images": {"scenes": {"count": 2}}, "teachers": ["truth"]}, "test")
    assert caught.value.problems == [("teachers.0.model", "`truth` is now called `ground-truth`")]
