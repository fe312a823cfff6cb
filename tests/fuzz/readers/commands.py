"""Whole commands on mutated files and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError
from tests.fuzz.campaign import Reader
from tests.fuzz.readers.labels import label_readers
from tests.fuzz.readers.recipes import recipe_readers
from tests.fuzz.readers.runs import run_readers
from tests.fuzz.readers.suites import suite_readers
from tests.fuzz.readers.teachers import weight_seeds


def command_readers(folder: Path) -> list[Reader]:
    from click.testing import CliRunner

    from ccd_cli.cli.main import cli

    weights = weight_seeds(folder / "again")["net.safetensors"]
    files: dict[str, bytes] = {}
    for reader in (
        *recipe_readers(),
        *suite_readers(),
        *label_readers(folder / "again"),
        *run_readers(folder / "again"),
    ):
        files |= {f"{reader.name.replace(' ', '-')}/{name}": data for name, data in reader.files.items()}
    files |= {"photos/a.png": files["suites/rgb/0.png"], **dict.fromkeys(("a.safetensors", "b.safetensors"), weights)}
    table = {
        "recipes/a.yaml": ("recipes", "check"),
        "recipes/b.yaml": ("label", "--dry-run"),
        "recipes/c.yaml": ("recipes", "check"),
        "suites/a.yaml": ("data", "check"),
        "label-index/index.json": ("inspect",),
        "label-index/quality.jsonl": ("inspect",),
        "run-folders/recipe.yaml": ("inspect",),
        "run-folders/metrics.jsonl": ("inspect",),
        "run-folders/eval.json": ("inspect",),
    }
    styles = {name: "yaml" if name.endswith("yaml") else "text" for name in table}

    def command(place: Path, name: str) -> None:
        words = list(table[name])
        target = place / name
        words += [str(target.parent) if words == ["inspect"] else str(target)]
        invoked(CliRunner().invoke(cli, [*words, *(["--out", str(place / "out")] if words[0] == "inspect" else [])]))

    def typed(_: Path, word: str) -> None:
        for words in (
            ["recipes", "check", word],
            ["teachers", "info", word],
            ["predict", word],
            [word],
            ["data", "check", word],
        ):
            invoked(CliRunner().invoke(cli, words))

    return [
        Reader("commands on files", command, files, styles, weight=3),
        Reader(
            "commands on words",
            typed,
            words=("indoor", "builtin:tiny", "nope.jpg", "depth-anything-v2-small"),
            weight=1,
        ),
    ]


def invoked(result: Any) -> None:
    """Raise what came out of a command that is no exit of its own."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2), result.exit_code
    if result.exit_code:
        raise CcdError(result.output[-200:])
