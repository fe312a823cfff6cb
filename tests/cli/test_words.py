"""Messages, help and recipe keys use the field's words: expressions that a practitioner would not know stay out.

`python tests/cli/test_words.py` prints all that is found, room by room.
"""

import ast
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import ccd_cli
from ccd_cli.cli.main import cli
from ccd_cli.config.load import TASKS

ROOT = Path(ccd_cli.__file__).parent
ROOMS = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and any(path.rglob("*.py")))
PRIVATE = {
    r"spoil\w*": "corrupted",
    r"running mean": "EMA",
    r"(?<!ground[ -])(?<!ground_)truth": "ground truth",
    r"true depth": "ground-truth depth",
    r"steady|steadied|steadies|steadying": "temporally aligned, stabilized",
    r"peers?": "reference implementation",
    r"made (elsewhere|earlier)": "precomputed",
    r"knows? nothing": "trivial baseline",
    r"lone points?": "outliers",
    r"number format": "floating-point precision",
    r"nobody": "no network access; nothing",
    r"go(es)? on|went on": "resume, continue",
    r"anew": "start over",
    r"already there|not made again|is not there": "skipped, existing, does not exist",
    r"left out|leaves? \w* ?out|leaving out": "skipped, excluded, masked",
    r"shares? of": "fraction of, probability of",
    r"pictures?": "image",
    r"said aloud|told apart|stamps?": "printed, distinguished, fingerprint",
    r"there is no (teacher|model) called": "unknown model",
    r"colour\w*|grey\w*|licences?|catalogues?|labell(ed|ing)|neighbour\w*|behaviour\w*|metres?|centres?|centred": "American",
    r"(normal|optim|initial|stabil|summar|visual|equal|general)is(e|es|ed|ing|ation)|analys(e|es|ed|ing)|distil": "American",
}
"""Expressions (whole words, any case) and what to write instead."""
ERRORS = re.compile(r"(Error|Problem|Stopped|Unwritable|Interrupted|Unreachable|UsageError|BadParameter)$")
CALLS = {"note", "warn", "begin", "table", "echo", "option", "argument", "append", "ValueError"}


def found_in(text):
    """Return (expression, what to write instead) for every private expression in a text."""
    plain = " ".join(re.sub(r"`[^`]*`", "`...`", text).split())  # names in backticks are no prose
    hits = ((re.search(rf"\b(?:{pattern})\b", plain, re.IGNORECASE), better) for pattern, better in PRIVATE.items())
    return [(hit.group(), better) for hit, better in hits if hit]


def messages(source):
    """Yield (line, text) of the messages in a file's source: texts of errors, notes, warnings, options and help."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if ERRORS.search(name) or name in CALLS:
            for argument in [*node.args, *(k.value for k in node.keywords)]:
                yield from texts(argument)


def texts(node):
    """Yield (line, text) of the strings of an expression, an f-string as one text with its values cut out."""
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        yield node.lineno, "".join(parts)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    elif not isinstance(node, ast.Call):
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


def private_messages(room):
    """Return a line for every private expression in the messages of a room."""
    lines = []
    for path in sorted((ROOT / room).rglob("*.py")):
        for number, text in messages(path.read_text(encoding="utf-8")):
            for hit, better in found_in(text):
                lines.append(f"{path.relative_to(ROOT)}:{number}: '{hit}' ({better}) in: {text[:100]}")
    return lines


def commands(command, path=()):
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


def descriptions(schema, path=""):
    """Yield (key path, text) of a JSON schema."""
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if key == "description" and isinstance(value, str):
            yield path, value
        elif isinstance(value, dict | list):
            yield from descriptions(value, f"{path}/{key}")


def test_what_is_found():
    assert [hit for hit, _ in found_in("The colour of the truth, spoilt\nby a running   mean")] == [
        "spoilt",
        "running mean",
        "truth",
        "colour",
    ]
    assert found_in("Ground truth, ground-truth depth and EMA; a photo's license; shared crops; color") == []
    source = 'report.warn(f"{n} were left out")\nraise CcdError("Fine.", "Go on.")\nx = "a picture"\n'
    assert [(line, found_in(text)[0][0]) for line, text in messages(source) if found_in(text)] == [
        (1, "left out"),
        (2, "Go on"),
    ]


@pytest.mark.parametrize("path", list(commands(cli)), ids=lambda path: " ".join(("ccd", *path)))
def test_help(path):
    output = CliRunner().invoke(cli, [*path, "--help"], terminal_width=400).output
    assert found_in(output) == []


@pytest.mark.parametrize("task", TASKS)
def test_recipe_keys(task):
    explained = list(descriptions(TASKS[task].model_json_schema()))
    assert len(explained) > 20
    assert [(path, found_in(text)) for path, text in explained if found_in(text)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_messages(room):
    found = private_messages(room)
    assert not found, "\n".join(found)


if __name__ == "__main__":
    for room in ROOMS:
        print(f"{room}: {len(private_messages(room))}")
        print("\n".join(f"  {line}" for line in private_messages(room)))
