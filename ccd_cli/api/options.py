"""Keyword arguments as the settings of a command: the same names, defaults and checks as its options."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from ccd_cli.core.errors import CcdError, UsageProblem, first_line
from ccd_cli.core.nearest import choose_from, did_you_mean
from ccd_cli.core.options import Option, choices, options_of
from ccd_cli.core.paths import expand_home
from ccd_cli.core.shard import Shard, shard_from

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ccd_cli.geometry.camera import Calibration
    from ccd_cli.geometry.depth_map import Camera

S = TypeVar("S")


def settings_from(settings: type[S], values: Mapping[str, Any]) -> S:
    """Return an instance of a settings class; texts become paths, lists and cameras as on the command line.

    Options with an environment variable take it where no value is given. Raises UsageProblem for an unknown name, a value of a
    wrong type or out of range, and what the class itself finds.
    """
    known = {each.name: (each, about) for each, about in options_of(settings)}
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known, f"There are: {', '.join(sorted(known))}.")
            raise UsageProblem(f"There is no argument '{name}'.", hint)
    given = {name: os.environ[str(about.env)] for name, (_, about) in known.items() if os.environ.get(about.env or "")}
    checked = {name: _value(*known[name], value) for name, value in {**given, **values}.items()}
    return _built(settings, checked)


def camera_of(value: Any) -> Calibration | Camera | None:
    """Return the camera for `intrinsics`: a Camera, (fx, fy, cx, cy), a 3x3 matrix, or the texts and files of the command.

    Raises UsageProblem for anything else.
    """
    from ccd_cli.geometry.camera import Calibration, camera_from_numbers
    from ccd_cli.geometry.camera_file import camera_from_text
    from ccd_cli.geometry.depth_map import Camera

    if value is None or isinstance(value, Camera | Calibration):
        return value
    if isinstance(value, str | os.PathLike):
        return camera_from_text(os.fspath(value))
    try:
        rows = [row if isinstance(row, Sequence) else list(row) if hasattr(row, "__len__") else [row] for row in value]
        numbers = [float(number) for row in rows for number in row]
    except (TypeError, ValueError):
        raise UsageProblem(
            f"intrinsics is a Camera, (fx, fy, cx, cy), a 3x3 matrix or a file, not {type(value).__name__}."
        ) from None
    return camera_from_numbers(numbers, "intrinsics")


def text_of(name: str, value: Any) -> str:
    """Return a text or a path as text; raises UsageProblem for anything else."""
    if isinstance(value, str | os.PathLike) and "\0" not in str(value):
        return str(os.fspath(value))
    what = "one with a null byte" if isinstance(value, str | os.PathLike) else type(value).__name__
    raise UsageProblem(f"{name} is a text or a path, not {what}.")


def map_of(what: str, values: Any) -> NDArray[np.float32]:
    """Return a map [H, W] of numbers as float32, NaN where a masked array is masked; raises CcdError, with `what`, for others."""
    import numpy as np

    if hasattr(values, "detach"):  # a tensor that gradients flow through
        values = values.detach()
    try:
        array = np.ma.asanyarray(values) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:  # rows of several lengths; on a GPU
        raise CcdError(f"{what} is a map HxW of numbers: {first_line(error)}.") from error
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        shape = "x".join(map(str, array.shape)) or "of no size"
        raise CcdError(f"{what} is a map HxW of numbers, not {array.dtype} {shape}.")
    with np.errstate(over="ignore"):  # infinite, then
        made = array.astype(np.float32)
    return np.asarray(made.filled(np.nan) if isinstance(made, np.ma.MaskedArray) else made)


def _built(settings: type[S], values: Mapping[str, Any]) -> S:
    taken: dict[str, Any] = {}
    for each in fields(settings):  # type: ignore[arg-type]
        if each.name in values and "option" in each.metadata:
            taken[each.name] = values[each.name]
        elif is_dataclass(each.default):
            nested = type(each.default)
            names = {inner.name for inner, _ in options_of(nested)}
            taken[each.name] = _built(nested, {k: v for k, v in values.items() if k in names})
    return settings(**taken)


def _value(each: Field[Any], about: Option, value: Any) -> Any:
    """Return one value as its field has it."""
    name = each.name
    if value is None and (each.default is None or type(None) in get_args(each.type)):
        return None
    if about.parser == "intrinsics":
        return camera_of(value)
    if about.parser == "batch":
        return None if value == "auto" else number_of(name, value, int, (1, None))
    if about.parser == "shard":
        return value if isinstance(value, Shard) else shard_from(text_of(name, value))
    if about.parser == "comma list" or get_origin(each.type) is tuple:
        words = value.split(",") if isinstance(value, str) and about.parser else value
        words = [words] if isinstance(words, str | os.PathLike) else words
        if not isinstance(words, Sequence):
            raise UsageProblem(f"{name} is a list of texts, not {type(value).__name__}.")
        return tuple(dict.fromkeys(text_of(name, word).strip() for word in words))
    if words := choices(each.type):
        if value not in words:
            raise UsageProblem(f"{name} {value!r}: unknown value.", choose_from(str(value), words))
        return value
    kinds = {kind for kind in (each.type, *get_args(each.type)) if isinstance(kind, type)}
    if bool in kinds:
        if not isinstance(value, bool):
            raise UsageProblem(f"{name} is True or False, not {value!r}.")
        return value
    if kinds & {int, float}:
        return number_of(name, value, float if float in kinds else int, about.range, about.above)
    text = text_of(name, value)
    return expand_home(text) if Path in kinds else text


def number_of(
    name: str,
    value: Any,
    kind: type[Any],
    span: tuple[float | None, float | None] | None = None,
    above: float | None = None,
) -> Any:
    """Return a number of `kind` (int, float) within `span` and more than `above`; raises UsageProblem for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real) or not math.isfinite(value):
        what = "a whole number" if kind is int else "a finite number"
        raise UsageProblem(f"{name} is {what}, not {value!r}.")
    low, high = span or (None, None)
    value = kind(value)
    if (low is not None and value < low) or (high is not None and value > high):
        ends = " and ".join(f"at {word} {end:g}" for word, end in (("least", low), ("most", high)) if end is not None)
        raise UsageProblem(f"{name} is {ends}, not {value}.")
    if above is not None and value <= above:
        raise UsageProblem(f"{name} is more than {above:g}, not {value}.")
    return value
