"""Module names in docstrings and docs exist, and so do the pages that are referred to."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ccd_cli"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
ROOMS = {name.split(".")[0] for name in MODULES if (PACKAGE / name.split(".")[0]).is_dir()}
FORMER_ROOMS = {"pipelines", "students"}
FILE_ENDINGS = {"jsonl", "json", "yaml", "png", "csv", "html", "md"}
DOTTED = re.compile(r"`(?:ccd_cli\.)?([a-z_]+(?:\.\w+)+)(?:\(.*?\))?`")
PAGE = re.compile(r"\bdocs/[\w-]+\.md")


def names_in(path):
    """The names that a module defines or imports at its top level."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (name.asname or name.name for name in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))


def exists(name):
    """Whether `name` is a module of the package, or a name that one of its modules defines."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        if module in MODULES:
            return count == len(parts) or parts[count] in names_in(MODULES[module])
    return False


def stale(text):
    """The references to a room of the package, current or former, that lead nowhere."""
    for name in DOTTED.findall(text):
        first, second, *_ = name.split(".")
        if name.split(".")[-1] in FILE_ENDINGS or second.isdigit() or second == "N":
            continue  # a file, or a key of a recipe
        if first in FORMER_ROOMS or (first in ROOMS and not exists(name)):
            yield name


def docstrings(path):
    """All strings of a module that stand alone as a statement."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def test_stale_names_are_found():
    assert list(stale("see `core.temporal` and `ccd_cli.pipelines.predict`")) == ["core.temporal", "pipelines.predict"]
    assert list(stale("`losses.terms.no_such_loss`, `losses.no_such_module.x`")) == [
        "losses.terms.no_such_loss",
        "losses.no_such_module.x",
    ]
    assert not list(
        stale("`losses.terms`, `ccd_cli.losses.terms.drift`, `metrics.jsonl`, `teachers.0.noise`, `np.load`")
    )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_docstrings_name_modules_that_exist(path):
    text = "\n".join(docstrings(path))
    assert not list(stale(text))


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_pages_name_modules_and_files_that_exist(path):
    text = path.read_text(encoding="utf-8")
    assert not list(stale(text))
    for target in re.findall(r"\]\(((?!https?:|#)[^)#]+)", text):
        assert (path.parent / target).exists(), target


def test_pages_that_are_referred_to_exist():
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests" / "benchmarks").glob("*.py")]
    files += [*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "recipes").rglob("*.md"), *(ROOT / "assets").rglob("*.md")]
    for path in [*files, ROOT / "README.md"]:
        for page in PAGE.findall(path.read_text(encoding="utf-8")):
            assert page in {p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").iterdir()}, f"{path}: {page}"
