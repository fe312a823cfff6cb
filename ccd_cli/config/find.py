"""Recipe files: those that ship with ccd, and the one that a word names. Free of pydantic: listing them takes no time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccd_cli.core.errors import RecipeError
from ccd_cli.core.nearest import nearest
from ccd_cli.core.paths import exists, shipped_folder


@dataclass(frozen=True)
class Shipped:
    """A recipe that comes with ccd: its name (`indoor`, `paper/table1-...`), file, what it is, how to launch it."""

    name: str
    path: Path
    about: str
    launch: str


def shipped() -> list[Shipped]:
    """Return every shipped recipe, sorted by name; the first two comment lines say what it is and how to launch it.

    `suites/` holds benchmarks for `ccd eval`, not recipes.
    """
    folder = shipped_folder()
    found = []
    for path in sorted(set(folder.rglob("*.yaml")) - set((folder / "suites").rglob("*.yaml"))):
        comments = [
            line.lstrip("# ").strip()
            for line in path.read_text(encoding="utf-8").splitlines()[:2]
            if line.startswith("#")
        ]
        about, launch = [*comments, "", ""][:2]
        found.append(Shipped(path.relative_to(folder).with_suffix("").as_posix(), path, about, launch))
    return found


def find_recipe(source: str) -> Path:
    """Return the file for a path or the name of a shipped recipe; raises RecipeError with the nearest names."""
    path = Path(source)
    if exists(path) and path.is_file():
        return path
    bare = source.removeprefix("recipes/").removesuffix(".yaml")
    by_name = {recipe.name: recipe.path for recipe in shipped()}
    if bare in by_name:
        return by_name[bare]
    near = nearest(bare, by_name)
    beside = [f"{source}{end}" for end in (".yaml", ".yml") if exists(path) or not path.suffix]
    beside = [name for name in beside if exists(Path(name)) and Path(name).is_file()]
    if beside:
        hint = f"did you mean {beside[0]}?"
    elif near:
        hint = f"nearest shipped recipes: {', '.join(near)}"
    else:
        hint = "`ccd recipes list` shows those that ship"
    what = "is a folder, not a recipe file" if exists(path) else "no such file or shipped recipe"
    raise RecipeError(source[:200], [("file", f"{what}; {hint}")])
