"""`cli -> pipelines -> (teachers | students | data) -> models -> core`: an arrow means "may import"."""

import ast
from pathlib import Path

import pytest

import ccd_cli

ROOT = Path(ccd_cli.__file__).parent
MAY = {
    "core": {"core"},
    "models": {"models", "core"},
    "teachers": {"teachers", "models", "core"},
    "students": {"students", "models", "core"},
    "data": {"data", "models", "core"},
    "pipelines": {"pipelines", "teachers", "students", "data", "models", "core"},
    "cli": {"cli", "pipelines", "teachers", "students", "data", "models", "core"},
}
FILES = sorted(ROOT.rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_every_shelf_is_known_and_has_files():
    shelves = {p.relative_to(ROOT).parts[0] for p in FILES if len(p.relative_to(ROOT).parts) > 1}
    assert shelves == set(MAY)


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != ROOT], ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    shelf = path.relative_to(ROOT).parts[0]
    used = {name.split(".")[1] for name in imported(path) if name.startswith("ccd_cli.")}
    assert used <= MAY[shelf], f"{path} imports {used - MAY[shelf]}"
    if shelf != "cli":
        names = {name.split(".")[0] for name in imported(path)}
        assert not names & {"click", "rich"}, "click and rich live in the command line only"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_small(path):
    assert len(path.read_text().splitlines()) <= 350, "a reader would not find their way: split it"


def test_nothing_unsafe_by_default():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                if name == "torch.load":
                    assert keywords.get("weights_only") == "True", path
                if name.endswith("load_state_dict"):
                    assert keywords.get("strict") != "False", path
                if name == "np.load":
                    assert keywords.get("allow_pickle") == "False", path
                if name == "cv2.resize":
                    assert len(node.args) == 1 or {"dsize", "interpolation"} <= set(keywords), path
                assert name not in ("eval", "exec", "os.system", "pickle.load", "pickle.loads"), path
                assert keywords.get("shell") != "True", path
