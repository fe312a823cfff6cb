"""The plan of the house: which room may import which, no circle, and no room or file too large to find one's way in."""

import ast
from functools import cache
from pathlib import Path

import pytest

import ccd_cli

ROOT = Path(ccd_cli.__file__).parent
VERBS = {
    "distill",
    "rehearsal",
    "label",
    "predict",
    "pointcloud",
    "evaluate",
    "analyze",
    "inspection",
    "prepare",
    "export",
    "bench",
}
FLOORS = (
    {"core"},
    {"config", "cluster"},
    {"geometry"},
    {"losses", "metrics"},
    {"media", "models", "runtimes", "scenes", "data"},
    {"teachers", "benchmarks", "scoring", "labels", "reports"},
    VERBS | {"terminal"},
    {"api"},
    {"cli"},
)
"""A room may import rooms of lower floors."""
BESIDE = {
    ("data", "media"),  # images are read from files
    ("data", "scenes"),  # or rendered
    ("runtimes", "models"),  # what another runtime runs is one of our networks
    ("benchmarks", "teachers"),  # what a model says about a set
    ("scoring", "benchmarks"),  # a prediction against a sample
    ("predict", "pointcloud"),  # the clouds of a clip
    ("rehearsal", "distill"),  # the run's own loop, for a few steps
    ("bench", "predict"),  # what it measures
    ("bench", "label"),
    ("bench", "distill"),
    ("bench", "rehearsal"),  # its clock and counters
    ("bench", "export"),  # the same network in transformers
    ("inspection", "distill"),  # what is in a run's folder
}
"""Imports within one floor; every other one is refused."""
MAX_FILES, MAX_LINES, MAX_PARAMETERS = 20, 350, 7
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {
    ".".join(("ccd_cli", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): p for p in FILES
}


def imported(path):
    """Modules that a file imports, at its top or inside a function, or names in a string (importlib, torch workers)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: imports are absolute"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("ccd_cli."):
            yield node.value


def room(module):
    return module.split(".")[1]


def circle(graph):
    """Return one circle of a graph as a list of names, or []."""
    state, way = {}, []

    def visit(name):
        state[name] = "open"
        way.append(name)
        for other in sorted(graph.get(name, ())):
            if state.get(other) == "open":
                return [*way[way.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        way.pop()
        state[name] = "done"
        return []

    for name in sorted(graph):
        if name not in state and (found := visit(name)):
            return found
    return []


@cache
def uses():
    """Which modules each module imports; read when the first test asks, not while tests are collected."""
    return {
        name: {m for m in imported(path) if m in MODULES and m not in (name, "ccd_cli")}
        for name, path in MODULES.items()
    }


def test_every_room_has_a_floor():
    rooms = {p.relative_to(ROOT).parts[0] for p in FILES if len(p.relative_to(ROOT).parts) > 1}
    assert rooms == set().union(*FLOORS)
    assert sum(map(len, FLOORS)) == len(rooms), "a room stands on one floor"


@pytest.mark.parametrize("name", [name for name in MODULES if "." in name and name != "ccd_cli.__main__"])
def test_imports_go_down(name):
    floor = {each: number for number, rooms in enumerate(FLOORS) for each in rooms}
    here = room(name)
    for used in uses()[name]:
        there = room(used)
        allowed = there == here or floor[there] < floor[here] or (here, there) in BESIDE
        assert allowed, f"{name} imports {used}: {here} may not use {there}"


def test_every_exception_is_used():
    used = {(room(name), room(other)) for name, others in uses().items() if "." in name for other in others}
    assert used >= BESIDE


def test_no_circle():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not (found := circle(uses())), " -> ".join(found)
    rooms = {}
    for name, others in uses().items():
        if "." in name:
            rooms.setdefault(room(name), set()).update(room(other) for other in others)
    assert not (found := circle({here: there - {here} for here, there in rooms.items()})), " -> ".join(found)


def test_names_in_strings_are_modules():
    """A module that is named in a string would otherwise be found missing only when it is needed."""
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("ccd_cli."):
                is_prefix = node.value == "ccd_cli.cli."  # main.py adds the command's name
                assert is_prefix or node.value in MODULES, f"{name} names {node.value}"


@pytest.mark.parametrize(
    "name", [name for name in MODULES if room(f"{name}.x") not in ("cli", "terminal") and name != "ccd_cli"]
)
def test_only_the_command_line_and_its_bars_talk_to_the_terminal(name):
    assert not {used.split(".")[0] for used in imported(MODULES[name])} & {"click", "rich"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_small(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES, "a reader would not find their way: split it"


def test_folders_are_small():
    for folder in sorted({path.parent for path in FILES}):
        count = len([p for p in folder.iterdir() if p.is_file()])
        assert count <= MAX_FILES, f"{folder.relative_to(ROOT)} holds {count} files: is it more than one idea?"


def test_functions_have_few_parameters():
    """More than seven are a missing noun. Callbacks of click get what their settings classes hold."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                args = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                count = len([a for a in args if a not in ("self", "cls")])
                assert count <= MAX_PARAMETERS, f"{path.relative_to(ROOT)}: {node.name} has {count} parameters"


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
