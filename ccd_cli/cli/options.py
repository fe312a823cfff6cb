"""From settings classes to click options and back, and options grouped under headings.

An option is typed once, as a field of a settings class (see `ccd_cli.core.options`); a command lists the classes:

    @click.command(cls=Command)
    @options_from(settings=Settings, screen=JsonScreen)
    def command(settings: Settings, screen: JsonScreen) -> None:
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import click

from ccd_cli.cli import complete
from ccd_cli.core.nearest import did_you_mean
from ccd_cli.core.options import PANELS, Option, choices, flag_of, options_of

MAX_BATCH = 1024


class PanelOption(click.Option):
    """An option that knows its heading."""

    def __init__(self, *args: Any, panel: str = "Other", **values: Any) -> None:
        super().__init__(*args, **values)
        self.panel = panel


class NearChoice(click.Choice):
    """A choice of words that names the nearest one to a word that is none of them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word; a click error, with the nearest words, for anything else."""
        if value in self.choices:
            return value
        words = ", ".join(map(str, self.choices))
        hint = did_you_mean(str(value), map(str, self.choices))
        return self.fail(f"'{value}' is not one of {words}.{' ' + hint if hint else ''}", param, ctx)


class Command(click.Command):
    """A command whose help groups options under headings.

    `says`: its first word, on stderr where that is a terminal, before anything is imported that takes its time.
    """

    def __init__(self, *args: Any, says: str = "", **values: Any) -> None:
        super().__init__(*args, **values)
        self.says = says

    def invoke(self, ctx: click.Context) -> Any:
        """Say the first word, and run."""
        first = os.environ.get("RANK", "0") == "0"  # of several processes
        if self.says and first and not ctx.params.get("quiet") and sys.stderr.isatty():
            click.echo(self.says, err=True)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section a heading; options without one, such as --help, are the last."""
        panels: dict[str, list[tuple[str, str]]] = {name: [] for name in PANELS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                panels[getattr(param, "panel", "Other")].append(record)
        for name, records in panels.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is typed; an unknown one is an error with the nearest names."""
        check_known(self, ctx, args)
        return super().resolve_command(ctx, args)


def check_known(group: click.Group, ctx: click.Context, args: list[str]) -> None:
    """Raise UsageError, with the nearest names, where a group has no command of the name that is typed."""
    if ctx.resilient_parsing or args[0].startswith("-") or group.get_command(ctx, args[0]) is not None:
        return
    known = group.list_commands(ctx)
    hint = did_you_mean(args[0], known, f"Commands: {', '.join(known)}.")
    raise click.UsageError(f"Unknown command '{args[0]}'. {hint}", ctx)


def options_from(**classes: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of settings classes; the command receives an instance of each under the keyword's name.

    Contradictions are found by the classes themselves (UsageProblem from `__post_init__`).
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def with_settings(*args: Any, **values: Any) -> Any:
            built = {name: _build(settings, values) for name, settings in classes.items()}
            typed = {each.name for settings in classes.values() for each, _ in options_of(settings)}
            others = {name: value for name, value in values.items() if name not in typed}
            return function(*args, **others, **built)

        command: Callable[..., Any] = with_settings
        for settings in reversed(classes.values()):
            for each, about in reversed(list(options_of(settings))):
                command = _click_option(each, about)(command)
        return command

    return decorate


def _build(settings: type[Any], values: Mapping[str, Any]) -> Any:
    """Return an instance made of click's values; None where nothing was typed stands for the field's default."""
    taken: dict[str, Any] = {}
    for each in fields(settings):
        if "option" in each.metadata:
            value, parser = values[each.name], each.metadata["option"].parser
            if value is not None:
                taken[each.name] = PARSERS[parser](value) if parser else value
        elif is_dataclass(each.default):
            taken[each.name] = _build(type(each.default), values)
    return settings(**taken)


def _click_option(each: Field[Any], about: Option) -> Callable[..., Any]:
    """Return click's decorator for a field."""
    if isinstance(each.type, str) and about.parser is None:
        raise TypeError(f"{each.name}: a module of settings has no `from __future__ import annotations`")
    kind, default, text = _without_none(each.type), each.default, about.help
    flags = about.flags.split() or [flag_of(each, about)]
    values: dict[str, Any] = {"metavar": about.metavar, "envvar": about.env, "panel": about.panel}
    values |= {"shell_complete": complete.OPTIONS.get(flags[0])}
    if default is MISSING:
        values["required"], default = True, None
    if about.parser:
        default = ",".join(default) if isinstance(default, tuple) else default
    elif kind is bool:
        values["is_flag"] = True
        flags = [f"{flags[0]}/--no-{flags[0][2:]}"] if default is True else flags
    elif get_origin(kind) is tuple:
        values["multiple"], default = True, None
    else:
        values["type"] = _click_type(kind, about)
        text += f" One of: {', '.join(choices(kind))}." if choices(kind) and about.metavar else ""
    if not values.get("required"):
        values |= {"default": default, "show_default": about.default_text or not (default is None or default is False)}
    return click.option(*flags, each.name, help=text, cls=PanelOption, **values)


class FiniteRange(click.FloatRange):
    """A range of numbers without nan and infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a click error for anything else."""
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is not a finite number.", param, ctx)


def _click_type(kind: Any, about: Option) -> Any:
    """Return click's type for an annotation."""
    if words := choices(kind):
        return NearChoice(words)
    if kind in (int, float) and (about.range or about.above is not None):
        low, high = about.range or (about.above, None)
        ranged: Any = click.IntRange if kind is int else FiniteRange
        return ranged(low, high, min_open=about.above is not None)
    if kind is Path or about.path != "any":
        is_file, is_folder = about.path.endswith("file"), about.path.endswith("folder")
        exists = about.path.startswith("existing")
        return click.Path(exists=exists, file_okay=not is_folder, dir_okay=not is_file, path_type=kind)
    return kind


def _without_none(kind: Any) -> Any:
    """Return `X` for `X | None`."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    return parts[0] if NoneType in get_args(kind) and len(parts) == 1 else kind


def _intrinsics(text: str) -> Any:
    from ccd_cli.geometry.camera_file import camera_from_text

    return camera_from_text(text)


def _comma_list(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _batch(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MAX_BATCH:
        raise click.BadParameter(f"'{text}' is neither auto nor a number from 1 to {MAX_BATCH}.", param_hint="--batch")
    return int(text)


def _shard(text: str) -> Any:
    from ccd_cli.core.shard import shard_from

    return shard_from(text)


def _device(text: str) -> str:
    from ccd_cli.core.compute import check_device

    return check_device(text)


PARSERS: dict[str, Callable[[str], Any]] = {
    "intrinsics": _intrinsics,
    "comma list": _comma_list,
    "batch": _batch,
    "device": _device,
    "shard": _shard,
}
"""What turns the text of an option into its value, for types that click does not know."""
