"""Options of commands as plain data: a settings class says once what each field is called, means and may be.

A field made by `option(...)` is an option of every command that takes its class; `ccd_cli.cli.options` turns the fields
into click options and click's values back into an instance. The type is the field's annotation, so a module of settings
has no `from __future__ import annotations` (types that only a `parser` makes may be quoted). Modules of settings import
nothing heavy: `--help` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.nearest import choose_from

Panel = Literal["Input", "Output", "Model", "Video", "Point cloud", "Camera", "Evaluation", "Runtime", "Other"]
PANELS: tuple[Panel, ...] = get_args(Panel)
"""Headings of `--help`, in their order."""
REQUIRED: Any = MISSING
"""The default of an option that must be typed."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """What a command line shows and accepts for one field.

    `flags`: other than `--field-name`, separated by spaces. `range`: smallest and largest number, None for open ends;
    `above`: the number must be larger than this. `path`: what a path must be. `parser`: the name of what turns text into
    the value, for types that click does not know. `default_text`: what happens by default where the default is None.
    """

    help: str
    panel: Panel
    flags: str = ""
    metavar: str | None = None
    range: tuple[float | None, float | None] | None = None
    above: float | None = None
    path: Literal["any", "folder", "existing folder", "existing file"] = "any"
    parser: Literal["intrinsics", "comma list", "batch", "device", "shard"] | None = None
    env: str | None = None
    default_text: str = ""


def option(default: Any, help: str, panel: Panel, **more: Any) -> Any:
    """Return a dataclass field that is also an option; `more` as in Option."""
    return field(default=default, metadata={"option": Option(help=help, panel=panel, **more)})


def options_of(settings: Any) -> Iterator[tuple[Field[Any], Option]]:
    """Yield the fields of a settings class or instance that are options, with those of the settings nested in it."""
    for each in fields(settings):
        if "option" in each.metadata:
            yield each, each.metadata["option"]
        elif is_dataclass(each.default):
            yield from options_of(each.default)


def flag_of(each: Field[Any], about: Option) -> str:
    """Return an option's name as typed, the long one: `--max-depth`."""
    return about.flags.split()[-1].split("/")[0] if about.flags else f"--{each.name.replace('_', '-')}"


def changed(settings: Any, panel: Panel) -> list[str]:
    """Return the options of a panel whose values are not their defaults, as typed: `--voxel`, `--no-edge-cut`."""
    found = []
    for each in fields(settings):
        value, about = getattr(settings, each.name), each.metadata.get("option")
        if about is None:
            found += changed(value, panel) if is_dataclass(each.default) else []
        elif about.panel == panel and value != each.default:
            name = flag_of(each, about)
            found.append(f"--no-{name[2:]}" if each.default is True else name)
    return found


def check_choices(settings: Any) -> None:
    """Raise UsageProblem for a value that is none of its field's words, as only callers from Python can pass."""
    for each, about in options_of(type(settings)):
        value, words = getattr(settings, each.name, None), choices(each.type)
        if words and value is not None and value not in words:
            raise UsageProblem(f"{flag_of(each, about)} {value}: unknown value.", choose_from(str(value), words))


def choices(annotation: Any) -> tuple[str, ...]:
    """Return the words of a Literal, also of one inside `X | None` or of several; () for other types."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(word for part in get_args(annotation) for word in choices(part))
