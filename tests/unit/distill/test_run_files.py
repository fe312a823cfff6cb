"""A run whose files are empty, damaged or of something else is one plain error."""

import json

import pytest

from ccd_cli.core.errors import CcdError
from ccd_cli.distill.results import finished_result
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.inspection.training_run import read_run, statistics

LINES = "".join(json.dumps({"step": i, "loss": 0.5, "images_per_second": 2.0, "drift": 0.1}) + "\n" for i in (1, 2))


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path)
    folder.recipe.write_text("name: x\nimages: p\nteachers: [a]\noptim: {steps: 9}\n")
    folder.metrics.write_text(LINES)
    folder.eval.write_text(json.dumps({"best": {"step": 2, "abs_rel": 0.1}, "comparison": []}))
    return folder


def test_a_whole_run_is_read(run):
    facts, tables = statistics(read_run(run))
    assert (facts["step"], facts["steps"], facts["last loss"], facts["images per second"]) == (2, 9, 0.5, 2.0)
    assert tables["Best validation"] == [{"step": 2, "abs_rel": 0.1}]
    assert (finished_result(run).steps, finished_result(run).scores) == (2, {"step": 2, "abs_rel": 0.1})


@pytest.mark.parametrize("name", ["recipe", "eval"])
@pytest.mark.parametrize(
    "content",
    ["", "null", "[]", "5", "[" * 5000, "{}", '{"best": 3}', '{"best": {"step": NaN}}', "\x00"]
    + [
        f'{{"best": null, {more}}}'
        for more in ('"history": [3]', '"history": [{}]', '"history": [{"step": "a"}]', '"protocol": 3')
    ],
)
def test_recipe_and_scores(run, name, content):
    path = getattr(run, name)
    path.write_text(content)
    with pytest.raises(CcdError, match=path.name):
        read_run(run)


@pytest.mark.parametrize(
    "content",
    [
        "5\n",
        "[]\n",
        "{}\n",
        '{"step": "a"}\n',
        '{"step": 1, "loss": []}\n',
        "null\n",
        '{"step": 3, "loss": 1, "shared": []}\n',
    ],
)
def test_metrics_that_are_no_steps(run, content):
    run.metrics.write_text(LINES + content)
    with pytest.raises(CcdError, match=r"metrics\.jsonl: line 3"):
        read_run(run)
    with pytest.raises(CcdError, match=r"metrics\.jsonl: line 3"):
        finished_result(run)


def test_empty_metrics_of_a_finished_run(run):
    run.metrics.write_text("")
    assert statistics(read_run(run))[0]["step"] == 0
    with pytest.raises(CcdError, match="is empty"):
        finished_result(run)


def test_the_command_that_resumes_names_recipe_and_folder(tmp_path):
    command = RunFolder(tmp_path / "my run").resume_command
    assert command == f"ccd distill '{tmp_path}/my run/recipe.yaml' --resume --out '{tmp_path}/my run'"
