"""`ccd distill --dry-run` and `--profile` from outside."""

from __future__ import annotations

import json

import yaml


def test_a_dry_run_prints_the_recipe_and_one_table(ccd_here, write_recipe, tiny_recipe, tmp_path):
    path = write_recipe(tiny_recipe)
    done = ccd_here("distill", str(path), "--dry-run", "--threads", "1")
    assert done.exit_code == 0, done.stderr
    assert yaml.safe_load(done.stdout)["optim"]["batch"] == 2
    assert "12 steps take 24" in done.stderr
    assert "teacher first (70% of the steps)" in done.stderr
    asked = ccd_here("distill", str(path), "--dry-run", "--json", "--threads", "1")
    found = json.loads(asked.stdout)
    assert found["recipe"]["name"] == "tiny"
    assert found["step"]["flops"] > 0
    assert [each.name for each in tmp_path.iterdir()] == ["recipe.yaml"]


def test_a_profile_names_the_slowest_part(ccd_here, write_recipe, tiny_recipe, tmp_path):
    path = write_recipe(tiny_recipe)
    done = ccd_here("distill", str(path), "--profile", "1", "--json", "--threads", "1")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["steps"] == 1
    assert "Slowest: " in done.stderr
    assert found["advice"] in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["recipe.yaml"]


def test_what_makes_no_sense_is_one_line(ccd_here, write_recipe, tiny_recipe):
    path = str(write_recipe(tiny_recipe))
    for options, words in (
        (("--profile", "0"), "--profile"),
        (("--profile", "two"), "--profile"),
        (("--dry-run", "--profile", "2"), "contradict each other"),
        (("--profile", "2", "--resume"), "Leave --resume out"),
        (("--dry-run", "--set", "student.checkpointing=yes please"), "student.checkpointing"),
        (
            ("--dry-run", "--set", "student={checkpointing: true, freeze_encoder: true, weights: builtin:tiny}"),
            "student.checkpointing",
        ),
    ):
        done = ccd_here("distill", path, *options)
        assert done.exit_code == 2, options
        assert words in done.stderr
        assert "Traceback" not in done.stderr
