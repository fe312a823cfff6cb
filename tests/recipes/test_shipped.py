"""A recipe that ships is a recipe that is tested, with every variation its comments give."""

import re
from pathlib import Path

import pytest

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.find import find_recipe, shipped
from ccd_cli.config.load import load_recipe
from ccd_cli.core.paths import shipped_folder
from ccd_cli.distill.teaching.members import reference_for
from ccd_cli.models.arch import ARCHS
from ccd_cli.teachers.licenses import is_commercial
from ccd_cli.teachers.load import resolve_model
from ccd_cli.teachers.registry import CARDS, card

SHIPPED = {
    recipe.name: recipe for recipe in shipped() if not recipe.name.startswith("label/")
}  # tests/cli/test_label.py
MADE = {"indoor.safetensors", "outdoor.safetensors"}
"""Teachers that other recipes make, as the recipe's comment says."""
PERMISSIVE = (
    "quickstart",
    "indoor",
    "outdoor",
    "indoor-diffusion",
    "mobile-cnn",
    "finetune-tiny",
    "finetune-metric",
    "finetune-disparity",
    "lidar-completed",
)


def test_the_walk_finds_them():
    assert {"indoor", "outdoor", "indoor-diffusion", "mobile-cnn", *(f"paper/table{i}" for i in range(1, 6))} <= set(
        SHIPPED
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_valid_and_says_what_it_is_and_how_to_launch_it(name):
    recipe, facts = load_recipe(name), SHIPPED[name]
    assert facts.about.endswith(".")
    assert facts.launch.startswith(f"ccd distill recipes/{name}.yaml")
    assert find_recipe(f"recipes/{name}.yaml").samefile(shipped_folder() / f"{name}.yaml")
    assert recipe.name == name.replace("/", "-")


@pytest.mark.parametrize("name", SHIPPED)
def test_its_teachers_are_known_and_of_kinds_that_go_together(name):
    recipe = load_recipe(name)
    names = [t.model for t in recipe.teachers if t.model in CARDS]
    for other in {t.model for t in recipe.teachers} - {*names, GROUND_TRUTH, *MADE}:
        assert resolve_model(other).path.is_file(), other
    kinds = [card(n).kind for n in names]
    for i, n in enumerate(names):
        fit = next(t.fit_to for t in recipe.teachers if t.model == n)
        reference_for(kinds, i, names, fit)
    assert recipe.student.arch in ARCHS or recipe.student.arch == "timm"
    if name in PERMISSIVE:
        assert all(is_commercial(card(n).effective_license) for n in names)


def variations():
    for name, facts in SHIPPED.items():
        for line in Path(facts.path).read_text().splitlines():
            if line.startswith("#   ") and "--set" in line:
                yield (
                    name,
                    line.split(":", 1)[0].lstrip("# "),
                    re.findall(r"--set (.*?)(?= --|$)", line.split(":", 1)[1]),
                )


ROWS = list(variations())


def test_the_comments_give_the_papers_rows():
    assert len([row for row in ROWS if row[0] == "paper/table1"]) == 7
    assert len(ROWS) >= 14


@pytest.mark.parametrize(("name", "row", "sets"), ROWS, ids=[f"{n}: {r}" for n, r, _ in ROWS])
def test_every_variation_in_a_comment_is_valid(name, row, sets):
    assert sets
    assert load_recipe(name, sets) != load_recipe(name)
