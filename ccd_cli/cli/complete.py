"""What a shell completes where a name is taken: models, recipes, run folders, suites. Nothing heavy is imported.

Each completer is what click calls `shell_complete`: it takes what is typed so far and returns the names that begin with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from click import Context, Parameter
from click.shell_completion import CompletionItem

from ccd_cli.core.settings import DEVICES

Completer = Callable[[Context, Parameter, str], list[CompletionItem]]


def names_of(names: Iterable[str], typed: str, otherwise: str = "") -> list[CompletionItem]:
    """Return the names that begin with what is typed; where none does, the shell completes paths: `otherwise` file or dir."""
    found = [CompletionItem(name) for name in names if name.startswith(typed)]
    return found or ([CompletionItem(typed, type=otherwise)] if otherwise else [])


def files(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    """Complete files and folders."""
    return [CompletionItem(typed, type="file")]


def recipes(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    """Complete shipped recipes, and files."""
    from ccd_cli.config.find import shipped

    return names_of([recipe.name for recipe in shipped()], typed, "file")


def teachers(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    """Complete names of the catalog: published models, built-in ones, the user's own."""
    return names_of(_catalog(), typed)


def published(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    """Complete names of the catalog that are not named yet, without the models that ship with ccd."""
    named = ctx.params.get("names") or ()
    return names_of([name for name in _catalog() if name not in named and not name.startswith("builtin:")], typed)


def models(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    """Complete what `--model` takes: names of the catalog, run folders, files."""
    return names_of([*_catalog(), *_runs("student.safetensors")], typed, "file")


def looked_into(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    """Complete folders of runs and of labels, and other folders."""
    return names_of([*_runs("recipe.yaml"), *_runs("index.json", "labels")], typed, "dir")


def suites(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    """Complete suites, single datasets, and files."""
    from ccd_cli.benchmarks.sources import SOURCES

    known = [name for source in SOURCES.values() for name in (source.suite, source.name)]
    return names_of(dict.fromkeys(known), typed, "file")


def keys(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    """Complete recipe keys."""
    from ccd_cli.config.keys import all_keys

    return names_of([key.path for key in all_keys()], typed)


def _archs(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    from ccd_cli.models.arch import ARCHS

    return names_of(ARCHS, typed)


def _families(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
    from ccd_cli.teachers.catalog import BUILTINS, CARDS

    return names_of(dict.fromkeys(card.family for card in (*CARDS.values(), *BUILTINS.values())), typed)


def words(*known: str) -> Completer:
    """Return the completer of a fixed list."""
    return lambda ctx, param, typed: names_of(known, typed)


def comma_list(*known: str) -> Completer:
    """Return the completer of words separated by commas; words that are typed already are left out."""

    def complete(ctx: Context, param: Parameter, typed: str) -> list[CompletionItem]:
        before = typed.split(",")[:-1]
        left = [word for word in known if word not in before]
        return names_of([",".join([*before, word]) for word in left], typed)

    return complete


OPTIONS: dict[str, Completer] = {
    "--model": models,
    "--teacher": teachers,
    "--recipe": recipes,
    "--from": recipes,
    "--suite": suites,
    "--arch": _archs,
    "--family": _families,
    "--device": words(*DEVICES),
    "--cmap": words("inferno", "magma", "viridis", "turbo", "Spectral", "gray"),
    "--save": comma_list("color", "png16", "npy", "npz", "exr", "side", "sky"),
}
"""Completers of options by their names, one for all commands; choices and paths complete themselves."""


def _catalog() -> list[str]:
    from ccd_cli.teachers.catalog import BUILTINS, CARDS
    from ccd_cli.teachers.custom import custom_names

    return [*CARDS, *BUILTINS, *custom_names()]


def _runs(holds: str, below: str = "runs") -> list[str]:
    """Folders below `runs` that hold a file."""
    return sorted(path.parent.as_posix() for path in Path(below).glob(f"*/{holds}"))
