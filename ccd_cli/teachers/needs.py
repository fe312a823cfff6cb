"""What models need before they can run: weights on this machine and packages. All that is missing is named at once. No torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from ccd_cli.core.errors import CcdError, TeacherError
from ccd_cli.teachers.download.choose import recipe_names
from ccd_cli.teachers.load import ModelRef, check_runnable, resolve_model
from ccd_cli.teachers.paths import NotReady


def find_models(wanted: Iterable[tuple[str, str | None]], recipe: str = "") -> list[ModelRef]:
    """Return the models of (word, architecture) pairs, found and checked but not loaded.

    Where several lack weights or packages, one TeacherError names them all and the command that gets them: `ccd teachers
    pull --recipe RECIPE`, where `recipe` is the word that names it. Raises what `resolve_model` raises for other faults.
    """
    found: list[ModelRef] = []
    lacking: list[NotReady] = []
    for word, arch in wanted:
        try:
            found.append(check_runnable(resolve_model(word, arch)))
        except NotReady as problem:
            lacking.append(problem)
    if len(lacking) == 1 and not (recipe and lacking[0].weights):
        raise lacking[0]
    if lacking:
        raise _all_of(lacking, recipe)
    return found


def labels_of(refs: Mapping[str, ModelRef]) -> dict[str, str]:
    """Return {model as typed: its name in tables}: the model's own, or where several share it what was typed."""
    names = [ref.name for ref in refs.values()]
    return {word: ref.name if names.count(ref.name) == 1 else word for word, ref in refs.items()}


def _all_of(lacking: list[NotReady], recipe: str) -> TeacherError:
    weights = list(dict.fromkeys(name for each in lacking for name in each.weights))
    packages = {package: extra for each in lacking for package, extra in each.packages.items()}
    parts = [f"the weights of {', '.join(weights)}"] if weights else []
    parts += [f"the package {package}" for package in packages]
    consent = " --allow-noncommercial" if any(each.consent for each in lacking) else ""
    by_recipe = recipe and set(weights) <= set(recipe_names(recipe))  # else `--set` names other models than the file
    what = f"--recipe {shlex.quote(recipe)}" if by_recipe else " ".join(weights)
    commands = [f"ccd teachers pull {what}{consent}"] if weights else []
    if extras := sorted(set(packages.values())):
        commands.append(f'pip install -e ".[{",".join(extras)}]"')
    are = "are" if weights or len(parts) > 1 else "is"
    text = " and ".join(parts)
    return TeacherError(
        f"{text[0].upper()}{text[1:]} {are} not on this machine.", f"Get everything with: {' && '.join(commands)}"
    )


def faults_of(wanted: Iterable[tuple[str, str | None]]) -> list[tuple[str, CcdError]]:
    """Return (word, error) of the models that are unknown or damaged; what is only missing is none of these."""
    found = []
    for word, arch in wanted:
        try:
            check_runnable(resolve_model(word, arch))
        except NotReady:
            continue
        except CcdError as error:
            found.append((word, error))
    return found


def missing_of(wanted: Iterable[tuple[str, str | None]], recipe: str = "") -> str:
    """Return what is missing and the command that gets it, in a sentence or two; empty where nothing is."""
    lacking = []
    for word, arch in wanted:
        try:
            check_runnable(resolve_model(word, arch))
        except NotReady as problem:
            lacking.append(problem)
        except CcdError:
            continue
    return str(_all_of(lacking, recipe)) if lacking else ""
