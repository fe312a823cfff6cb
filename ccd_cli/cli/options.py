"""Options that several commands share, so that they are named and explained the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def recipe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add RECIPE, --set and --dry-run."""
    function = click.option("--dry-run", is_flag=True, help="Print the resolved recipe and stop.")(function)
    function = click.option(
        "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one recipe key; may be repeated."
    )(function)
    return click.argument("recipe")(function)


def runtime_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --device, --precision and --threads."""
    function = click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads for tensors.")(function)
    function = click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        default="auto",
        show_default=True,
        help="Number format.",
    )(function)
    return click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")(function)


def verbosity(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add -v and -q."""
    function = click.option("-q", "--quiet", is_flag=True, help="Show warnings and errors only.")(function)
    return click.option("-v", "--verbose", is_flag=True, help="Show more.")(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
