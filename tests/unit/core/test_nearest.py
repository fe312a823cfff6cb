"""Which known names are suggested for one that is not known."""

import pytest

from ccd_cli.core.nearest import ask, choose_from, did_you_mean, nearest

MODELS = [
    "depth-anything-v2-small",
    "depth-anything-v2-base",
    "depth-anything-v1-small",
    "moge-2-large",
    "builtin:tiny",
]


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("cdua", ["auto", "cpu", "cuda", "mps"], ["cuda"]),
        ("predct", ["predict", "inspect", "distill"], ["predict"]),
        ("INFERNO", ["inferno", "magma"], ["inferno"]),
        ("depth-anything-v2-smal", MODELS, ["depth-anything-v2-small", "depth-anything-v1-small"]),
        ("moge-2-larg", MODELS, ["moge-2-large"]),
        ("xyzzy", MODELS, []),
        ("", MODELS, []),
        ("x" * 100_000, MODELS, []),
    ],
)
def test_nearest(word, known, expected):
    assert nearest(word, known) == expected


def test_the_nearest_is_first_and_few_are_named():
    known = [f"optim.step{i}" for i in range(9)] + ["optim.steps"]
    assert nearest("optim.stps", known)[0] == "optim.steps"
    assert len(nearest("optim.stps", known)) <= 3


def test_questions():
    assert ask([]) == ""
    assert ask(["a"]) == "Did you mean a?"
    assert ask(["a", "b"]) == "Did you mean a or b?"
    assert ask(["a", "b", "c"]) == "Did you mean a, b or c?"
    assert did_you_mean("plyy", ["ply", "glb"]) == "Did you mean ply?"
    assert did_you_mean("zzz", ["ply"], "Known: ply.") == "Known: ply."
    assert choose_from("onx", ["onnx", "pth"]) == "Did you mean onnx? Choose from onnx, pth."
    assert choose_from("zzz", ["onnx", "pth"]) == "Choose from onnx, pth."
