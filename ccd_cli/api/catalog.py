"""`ccd.teachers`: the catalog of models and their weights."""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ccd_cli.api.options import text_of
from ccd_cli.api.reporting import plain_errors, report_for
from ccd_cli.core.errors import CcdError

if TYPE_CHECKING:
    from ccd_cli.teachers.download.pull import Outcome

__all__ = ["info", "list", "pull"]


@plain_errors()
def list(
    *, family: str | None = None, commercial: bool | None = None, pulled: bool = False
) -> builtins.list[dict[str, Any]]:
    """Return a row for each published, built-in and custom model, as `ccd teachers list --json`.

    `family`: those whose name contains it; `commercial`: those whose license allows commercial use, or the others; `pulled`: those
    on this machine. Keys: name, family, kind, repo, file, size_bytes, parameters, license, commercial (None: not settled),
    requires, pulled.
    """
    from ccd_cli.teachers.listing import chosen_rows

    return chosen_rows(family, commercial, pulled)


@plain_errors()
def info(name: str) -> dict[str, Any]:
    """Return everything that is known about a model, as `ccd teachers info --json`; raises TeacherError for an unknown name."""
    from ccd_cli.teachers.listing import full
    from ccd_cli.teachers.registry import card

    return full(card(text_of("name", name)))


@plain_errors()
def pull(
    names: str | Sequence[str] = (),
    *,
    recipe: str | os.PathLike[str] | None = None,
    allow_noncommercial: bool = False,
    offline: bool = False,
    progress: bool = False,
) -> builtins.list[Outcome]:
    """Download weights and verify them against the hub's checksums; return for each name whether it was pulled or there already.

    Without names: those of the recipe `indoor` and of `ccd predict`; `recipe` adds the models that it names. `offline` only
    verifies what is on this machine. Raises CcdError where one fails, after the others: unknown names, licenses that forbid
    commercial use (unless `allow_noncommercial`), no network, a full disk.
    """
    from ccd_cli.teachers.download.choose import default_names, recipe_names
    from ccd_cli.teachers.download.pull import pull as pull_teachers

    chosen = [names] if isinstance(names, str) else [text_of("names", name) for name in names]
    chosen += [] if recipe is None else recipe_names(text_of("recipe", recipe))
    if not chosen and recipe is not None:
        return []
    report = report_for(progress, downloads=True)
    outcomes = pull_teachers(chosen or default_names(), report, allow_noncommercial, offline)
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise CcdError(f"{len(errors)} of {len(outcomes)} models failed: {' '.join(error.message for error in errors)}")
    return outcomes
