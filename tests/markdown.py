"""What can be checked in a Markdown page of this project: commands, links, and a changelog's form. Each gives problems as text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from ccd_cli.cli.main import cli
from ccd_cli.config.load import load_any_recipe, load_label_recipe, load_recipe
from ccd_cli.core.errors import CcdError

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
OUR_PATHS = re.compile(
    r"(?<![\w/.-])(?:tests|recipes|docs|assets|ccd_cli)/[\w./-]+\.(?:py|yaml|md|png|jpg|safetensors)\b"
)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield language and content of every fenced block."""
    yield from re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """Return the arguments of every `ccd ...` in the shell blocks of a page, also after && and by `-m ccd_cli`."""
    found = []
    for language, content in blocks(text):
        if language not in ("bash", "sh", "shell", "console", ""):
            continue
        for line in content.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||[|;]|(?<!\S)>", re.sub(r"^\s*\$ ", "", line)):
                if call := re.match(r"\s*(?:\w+=\S* )*(?:(?:python|torchrun)\b.* -m ccd_cli|ccd) (.*)", part):
                    found.append(shlex.split(call.group(1), comments=True))
    return found


def inline_commands(text: str) -> list[list[str]]:
    """Return the words of every `ccd ...` in running text; these may leave arguments out."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [code.split()[1:] for code in re.findall(r"`(ccd [^`]+)`", prose)]


def command_problem(args: list[str], complete: bool = True) -> str:
    """Return what is wrong with a command line: unknown commands, options, choices, recipes and keys; else nothing."""
    shown, path = "ccd " + " ".join(args), []
    command: click.Command = cli
    context = click.Context(cli, info_name="ccd")
    while isinstance(command, click.Group) and args and not args[0].startswith("-"):
        name, *args = args
        found = command.get_command(context, name)
        if found is None:
            return f"{shown}: no command {name!r}"
        command, context = found, click.Context(found, parent=context, info_name=name)
        path.append(name)
    if "--help" in args:
        return ""
    if not complete:
        known = {
            name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)
        }
        wrong = [a for a in args if a.startswith("-") and re.split(r"[= ]", a)[0].rstrip(",.") not in known]
        return f"{shown}: no option {wrong[0]}" if wrong else ""
    try:
        parsed, left, _ = command.make_parser(context).parse_args(args=list(args))
        values = {
            name: value for name, value in parsed.items() if isinstance(value, str | int | tuple | list) and value
        }
        if left:
            return f"{shown}: too many arguments: {' '.join(left)}"
        for parameter in command.get_params(context):
            given = values.get(parameter.name)
            if parameter.required and given is None:
                return f"{shown}: {parameter.name} is missing"
            if given is not None and not isinstance(parameter.type, click.Path) and isinstance(parameter, click.Option):
                parameter.type_cast_value(context, given)
    except click.UsageError as error:
        return f"{shown}: {error.format_message()}"
    wrong = next((a for a in args if OUR_PATHS.fullmatch(a) and not (ROOT / a).exists()), None)
    if wrong:
        return f"{shown}: there is no {wrong}"
    return _recipe_problem(shown, path, values, values.get("overrides", ()))


def _recipe_problem(shown: str, path: list[str], values: dict, overrides: tuple[str, ...]) -> str:
    key = {"distill": "recipe", "label": "recipe", "recipes show": "name", "recipes check": "file"}.get(" ".join(path))
    name = values.get(key or "recipe", "")
    if not name or (name.endswith(".yaml") and not name.startswith("recipes/")):
        return ""  # none, or the reader's own
    load = {"distill": load_recipe, "label": load_label_recipe}.get(path[0], load_any_recipe)
    try:
        load(name, overrides)
    except CcdError as error:
        problems = "; ".join(f"{key}: {what}" for key, what in getattr(error, "problems", ()))
        return f"{shown}: {error.message} {problems}"
    return ""


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """Return the anchors of a page; the second heading of a name has -1 behind it."""
    found: set[str] = set()
    for heading in re.findall(
        r"^#{1,6} (.+)$", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    ):
        name, count = slug(heading), 0
        while (one := name if not count else f"{name}-{count}") in found:
            count += 1
        found.add(one)
    return found


def link_problems(page: Path, text: str) -> list[str]:
    """Return the links of a page to files and headings that are not there, and paths in its text that are not."""
    problems = []
    prose = re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", prose) + re.findall(
        r"(?:src|href)=\"([^\"]+)\"", prose
    )
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists():
            problems.append(f"{page.name}: no {target}")
        elif anchor and file.suffix == ".md":
            there = anchors(text if file == page else file.read_text(encoding="utf-8"))
            if anchor not in there:
                problems.append(f"{page.name}: no heading {target}")
    problems += [f"{page.name}: no {path}" for path in OUR_PATHS.findall(text) if not _exists(path)]
    return problems


def _exists(path: str) -> bool:
    """A word in capitals stands for any name."""
    return any(ROOT.glob(re.sub(r"\b[A-Z]+\b(?=\.)", "*", path)))


def changelog_problems(text: str, version: str) -> list[str]:
    """Return what is not as Keep a Changelog has it."""
    problems = [] if "keepachangelog.com" in text else ["does not name its format"]
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    if not headings or headings[0] != "[Unreleased]":
        problems.append("the first version is not [Unreleased]")
    released = []
    for heading in headings[1:]:
        if found := re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}(?: \[YANKED\])?", heading):
            released.append(tuple(int(number) for number in found.groups()))
        else:
            problems.append(f"not a version with a date: {heading}")
    if released != sorted(set(released), reverse=True):
        problems.append("versions do not descend")
    own = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if released and released[0] > own:
        problems.append(f"a later version than the package's {version}")
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name, sections = part.splitlines()[0], re.findall(r"^### (.+)$", part, re.MULTILINE)
        problems += [f"{name}: no such section: {section}" for section in sections if section not in SECTIONS]
        if len(set(sections)) != len(sections):
            problems.append(f"{name}: a section stands twice")
        for section in re.split(r"^### ", part, flags=re.MULTILINE)[1:]:
            if not re.search(r"^- ", section, re.MULTILINE):
                problems.append(f"{name}: nothing under {section.splitlines()[0]}")
    return problems
