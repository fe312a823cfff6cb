"""Teachers of one's own: cards in `$CCD_HOME/cards/*.yaml`, and installed packages (entry points `ccd.teachers`).

A card describes a checkpoint of a known family. A package brings its own code, which is imported when one of its
teachers is asked for and not before. Neither replaces a teacher that ships.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import CcdError, RecipeError, TeacherError
from ccd_cli.core.nearest import did_you_mean
from ccd_cli.core.paths import cache_folder, expand_home
from ccd_cli.geometry.kinds import KINDS
from ccd_cli.models.files import PICKLE_SUFFIXES, SAFE_SUFFIX
from ccd_cli.teachers.card import NAME, Card
from ccd_cli.teachers.catalog import BUILTINS, CARDS
from ccd_cli.teachers.licenses import is_commercial

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import torch

    from ccd_cli.teachers.base import Teacher

    Loader = Callable[[Card, torch.device | str, str, int | None], Teacher]

GROUP = "ccd.teachers"
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_TEXTS = ("name", "arch", "file", "repo", "license", "kind", "note")
_KEYS = {*_TEXTS, "resolution"}


@dataclass(frozen=True)
class Found:
    """The user's card files: those that can be used, and what is wrong with the others."""

    cards: dict[str, Card] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # by name; of a card without one, by its file's stem


def custom_cards() -> dict[str, Card]:
    """Return the cards in `$CCD_HOME/cards` that can be used, by name."""
    return _scan().cards


def custom_names() -> list[str]:
    """Return the names of the user's own teachers: cards and installed packages."""
    return [*_scan().cards, *plugins()]


def custom_problems() -> list[str]:
    """Return one line for each card file, and each package's teacher, that cannot be used; importing nothing."""
    shadowed = [
        f"The package {_package(entry)} offers a teacher '{entry.name}', a name that is taken or not allowed."
        for entry in _entry_points()
        if entry.name not in plugins()
    ]
    return [*_scan().problems.values(), *shadowed]


def custom_card(name: str) -> Card | None:
    """Return the user's own card called `name`, or None where there is none.

    Imports the package that offers the name. Raises `TeacherError` where the card or the package cannot be used.
    """
    found = _scan()
    if name in found.cards:
        return found.cards[name]
    if name in plugins():
        return _load_plugin(name)[0]
    if name in found.problems:
        raise TeacherError(f"The card of '{name}' cannot be used: {found.problems[name]}")
    return None


def custom_loader(name: str) -> Loader | None:
    """Return the function that loads teacher `name` of an installed package: `loader(card, device, precision, resolution)`.

    None for every other name. Raises `TeacherError` where the package cannot be imported or offers something else.
    """
    return _load_plugin(name)[1] if name in plugins() else None


def plugins() -> dict[str, str]:
    """Return the names that installed packages offer, each with its package; nothing is imported."""
    return {
        entry.name: _package(entry)
        for entry in _entry_points()
        if NAME.fullmatch(entry.name) and entry.name not in CARDS and entry.name not in BUILTINS
    }


def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points

    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _load_plugin(name: str) -> tuple[Card, Loader]:
    entry = next(entry for entry in _entry_points() if entry.name == name)
    whose = f"The teacher '{name}' of the package {_package(entry)}"
    try:
        offered = entry.load()()
    except CcdError:
        raise
    except Exception as error:  # whatever a stranger's code raises
        raise TeacherError(f"{whose} cannot be loaded: {type(error).__name__}: {error}.") from error
    card, loader = offered if isinstance(offered, tuple) and len(offered) == 2 else (None, None)
    if not isinstance(card, Card) or not callable(loader):
        raise TeacherError(f"{whose} cannot be used: {entry.value} must return (Card, loader).")
    if card.name != name:
        raise TeacherError(f"{whose} cannot be used: its card is called '{card.name}'.")
    return card, loader


def _scan() -> Found:
    """Read every card file, in the order of their names."""
    found = Found()
    for path in sorted((cache_folder() / "cards").glob("*.yaml")):
        name = path.stem
        try:
            values = _read(path)
            given = values.get("name")
            name = given if isinstance(given, str) and given else name
            problems = _problems(values)
            if name in found.cards:
                problems.append(f"the name '{name}' is already taken by another card")
            if problems:
                raise TeacherError(f"{path}: {'; '.join(problems)}.")
            found.cards[name] = _card(values, path)
        except CcdError as error:
            found.problems.setdefault(name, error.message)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path)
    except RecipeError as error:
        raise TeacherError(f"{path}: {'; '.join(': '.join(problem) for problem in error.problems)}.") from None
    if not isinstance(values, dict):
        raise TeacherError(f"{path}: a card is a YAML mapping.")
    return values


def _problems(values: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a card's values."""
    known = f"known: {', '.join(sorted(_KEYS))}"
    wrong = [f"unknown key '{key}' ({did_you_mean(str(key), _KEYS, known)})" for key in values if key not in _KEYS]
    wrong += [f"{key} must be text" for key in _TEXTS if key in values and not isinstance(values[key], str)]
    wrong += [f"{key} is missing" for key in ("name", "arch", "file", "license") if not values.get(key)]
    if wrong:
        return wrong
    name, arch, file = values["name"], values["arch"], values["file"]
    if not NAME.fullmatch(name):
        wrong.append(f"name '{name}' must be lower-case letters, digits, '.', '_' and '-', 80 at most")
    if name in CARDS:
        wrong.append(f"the name '{name}' is that of a published teacher")
    if arch not in CARDS or CARDS[arch].adapter != "native":
        archs = [c.name for c in CARDS.values() if c.adapter == "native"]
        hint = did_you_mean(str(arch), archs)
        wrong.append(f"arch '{arch}' is not one of {', '.join(archs)}{f' ({hint})' if hint else ''}")
    if Path(file).suffix.lower() not in (SAFE_SUFFIX, *PICKLE_SUFFIXES):
        wrong.append(f"file '{file}' is not a weights file (.safetensors, .pth, .pt, .bin, .ckpt)")
    if "\0" in file or any(len(part.encode("utf-8", "replace")) > 255 for part in Path(file).parts):
        wrong.append(f"file '{file[:40]}...' is a name that no file can have")
    if "repo" in values and not _REPO.fullmatch(values["repo"]):
        wrong.append(f"repo '{values['repo']}' must be OWNER/NAME")
    if values.get("kind", KINDS[0]) not in KINDS:
        wrong.append(f"kind '{values['kind']}' is not one of {', '.join(KINDS)}")
    side = values.get("resolution", 518)
    if isinstance(side, bool) or not isinstance(side, int) or not 14 <= side <= 8192:
        wrong.append(f"resolution {side!r} must be a whole number in 14..8192")
    return wrong


def _card(values: dict[str, Any], path: Path) -> Card:
    """The card of checked values: what they do not say is as for the published network of that architecture."""
    like, repo = CARDS[values["arch"]], values.get("repo", "")
    local = None if repo else path.parent / expand_home(values["file"])
    return replace(
        like,
        name=values["name"],
        repo=repo,
        repo_type="model",
        file=values["file"],
        path=local,
        size_bytes=local.stat().st_size if local and local.is_file() else None,
        license=values["license"],
        license_url=f"https://huggingface.co/{repo}" if repo else str(path),
        commercial=is_commercial(values["license"]),
        disputed="",
        kind=values.get("kind", like.kind),
        resolution=values.get("resolution", like.resolution),
        note=values.get("note", f"Described in {path}."),
    )
