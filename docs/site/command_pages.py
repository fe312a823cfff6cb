"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

import click

from ccd_cli.cli.main import COMMANDS, GROUPS, cli
from ccd_cli.core.options import PANELS

FOLDER = "reference/commands"


def command_pages() -> dict[str, str]:
    """Return the pages, by their place: one of all commands, one for each."""
    lines = ["# Command line", "", "Made from the commands themselves; `ccd COMMAND --help` prints the same."]
    for title, group in GROUPS.items():
        lines += ["", f"## {title}", "", "| command | does |", "|---|---|"]
        lines += [f"| [`ccd {name}`]({name}.md) | {about} |" for name, about in group.items()]
    root = click.Context(cli, info_name="ccd")
    pages = {f"{FOLDER}/index.md": "\n".join(lines) + "\n"}
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        pages[f"{FOLDER}/{name}.md"] = (
            "\n".join(_lines(command, click.Context(command, root, info_name=name), 1)) + "\n"
        )
    return pages


def _lines(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield f"{'#' * level} ccd {context.command_path.removeprefix('ccd ')}"
    yield from ("", *_help(command.help or ""), "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _lines(child, click.Context(child, context, info_name=name), level + 1)
        return
    yield from ("```text", " ".join([context.command_path, *command.collect_usage_pieces(context)]), "```", "")
    panels: dict[str, list[click.Option]] = {}
    for param in command.get_params(context):
        if isinstance(param, click.Option) and not param.hidden:
            panels.setdefault(getattr(param, "panel", "Other"), []).append(param)
    for panel in sorted(panels, key=[*PANELS].index):
        yield from (
            f"## {panel}" if level == 1 else f"**{panel}**",
            "",
            "| option | value | default | what it does |",
            "|---|---|---|---|",
        )
        yield from (_row(option, context) for option in panels[panel])
        yield ""


def _help(text: str) -> Iterator[str]:
    r"""Yield a command's help as Markdown: examples and indented lines become blocks of code."""
    for block in re.split(r"\n\s*\n", cleandoc(text).replace("\b\n", "")):
        code, prose = [], []
        for line in block.splitlines():
            head, _, rest = line.partition(":")
            if head.strip() in ("Example", "Examples"):
                code += [rest.strip()] if rest.strip() else []
            elif line.startswith("  "):
                code.append(line.strip())
            else:
                yield from _code(code)
                code = []
                prose.append(line.strip())
                continue
            if prose:
                yield from (" ".join(prose).replace("<", "&lt;"), "")
                prose = []
        if prose:
            yield from (" ".join(prose).replace("<", "&lt;"), "")
        yield from _code(code)


def _code(lines: list[str]) -> Iterator[str]:
    if lines:
        yield from ("```bash", *lines, "```", "")


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    text = (
        re.sub(r" One of: .*$", "", option.help or "") if isinstance(option.type, click.Choice) else option.help or ""
    )
    cells = (names, _value(option), _default(option, context), text)
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def escaped(text: str) -> str:
    """Return a text for a cell of a table, on one line."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _value(option: click.Option) -> str:
    kind: Any = option.type
    if option.is_flag:
        return ""
    if isinstance(kind, click.Choice):
        shown = ", ".join(f"`{word}`" for word in kind.choices)
    elif isinstance(kind, click.types._NumberRangeBase):
        shown = f"{'whole number' if isinstance(kind, click.IntRange) else 'number'}{bounds(kind.min, kind.max, kind.min_open)}"
    elif isinstance(kind, click.Path):
        shown = option.metavar or ("file" if not kind.dir_okay else "folder" if not kind.file_okay else "path")
    else:
        shown = option.metavar or {"integer": "whole number", "float": "number"}.get(kind.name, kind.name)
    return f"{shown}; repeatable" if option.multiple else shown


def bounds(low: float | None, high: float | None, above: bool = False) -> str:
    """Return a range of numbers in words: ", 1 to 32", ", above 0"; nothing where there is none."""
    if low is not None and high is not None:
        return f", above {low}, at most {high}" if above else f", {low} to {high}"
    if low is not None:
        return f", above {low}" if above else f", at least {low}"
    return f", at most {high}" if high is not None else ""


def _default(option: click.Option, context: click.Context) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.get_default(context)
    if option.required:
        return "required"
    if option.is_flag:
        return ("on" if value else "off") if option.secondary_opts else ""
    return f"`{value}`" if option.show_default and value is not None else ""
