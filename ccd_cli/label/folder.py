"""The folder that `ccd label` writes: its files, what it may hold before a run, and whether it is finished."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ccd_cli.config.common import Section
from ccd_cli.config.label import LabelRecipe
from ccd_cli.config.load import check_label_recipe, differences
from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import CcdError, RecipeError, UsageProblem
from ccd_cli.core.files import json_line, read_json_lines, write_text
from ccd_cli.core.parse import parse_json
from ccd_cli.core.report import Report
from ccd_cli.core.shard import Shard
from ccd_cli.label.images import open_images
from ccd_cli.label.parts import TeacherFacts
from ccd_cli.labels.format import ShardFacts, to_json
from ccd_cli.labels.shards import INDEX, QUICK_BYTES, is_quick_to_verify, read_index, sha256_of

CHANGEABLE = ("out", "images.workers", "images.max_skipped")
"""Recipe keys that may differ when a run is resumed: no label depends on them."""
_BEFORE_RECIPE = (".lock", "label.json", ".label.json.", ".recipe.yaml.")
"""How the names begin of what a run leaves that was killed before it wrote its recipe."""


class Found(Section):
    """What a process with --shard found out: facts of the teachers by number, reason by path of unreadable images."""

    teachers: dict[str, TeacherFacts]
    unreadable: dict[str, str]


class LabelFolder:
    """Paths of a folder of labels. `recipe.yaml` marks one that was begun; `index.json`, written last, a finished one.

    `only`: the part of the work that this process does beside others (`--shard`). Such a process writes what belongs to its own
    shards of labels, and what it found out into `found`, never a file of the whole folder.
    """

    def __init__(self, path: Path, only: Shard | None = None) -> None:
        self.path, self.only = path, only
        self.recipe = path / "recipe.yaml"
        self.state = path / "label.json"
        self.index = path / INDEX
        self.quality = path / "quality.jsonl"
        self.skipped = path / "skipped.jsonl"
        self.parts = path / "parts"
        self.lock = path / ".lock"
        self.begin_lock = path / ".lock-begin"

    def shard(self, number: int) -> Path:
        """Return the path of a shard."""
        return self.path / f"shard-{number:06d}.tar"

    def part(self, teacher: int, shard: int) -> Path:
        """Return the path of one teacher's labels of a shard, before the shard is written."""
        return self.parts / f"teacher-{teacher}" / f"part-{shard:06d}.tar"

    def scores(self, shard: int) -> Path:
        """Return the path of a shard's lines of `quality.jsonl`, before the drop rules."""
        return self.parts / "quality" / f"part-{shard:06d}.json"

    def written(self, shard: int) -> Path:
        """Return the path of what is known of a shard that is written, before the index is."""
        return self.parts / "shards" / f"shard-{shard:06d}.json"

    def found(self, shard: Shard) -> Path:
        """Return where a process with --shard keeps what it found out."""
        return self.parts / "found" / f"{shard.name}.json"

    def read_found(self) -> list[Found]:
        """Return what the processes with --shard found out; raises CcdError where it is damaged."""
        return [_read_found(path) for path in sorted((self.parts / "found").glob("*.json"))]

    def unreadable(self) -> dict[str, str]:
        """Return reason by path of the images that are known to be unreadable, to this process alone where it has a shard."""
        if self.only is None:
            return {line["photo"]: line["reason"] for line in read_json_lines(self.skipped)}
        path = self.found(self.only)
        return _read_found(path).unreadable if path.exists() else {}

    def write_unreadable(self, reasons: dict[str, str]) -> None:
        """Write `skipped.jsonl`: reason by path of the images that cannot be read."""
        lines = [json_line({"photo": path, "reason": reason}) for path, reason in sorted(reasons.items())]
        write_text(self.skipped, "".join(lines))

    def clear(self) -> None:
        """Remove everything that `ccd label` and `ccd inspect` write here, and nothing else."""
        self.index.unlink(missing_ok=True)  # first: without it the folder counts as unfinished
        files = [self.state, self.quality, self.skipped, self.path / "contact.png", self.path / "inspect.html"]
        for file in [*files, *self.path.glob("shard-[0-9][0-9][0-9][0-9][0-9][0-9].tar"), self.recipe]:
            file.unlink(missing_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)
        self.sweep()

    def sweep(self) -> None:
        """Remove files that a killed run had not finished; only by who holds the lock alone."""
        for folder in (self.path, *(p for p in self.parts.glob("*") if p.is_dir())):
            for pattern in (".shard-*.tar", ".part-*.*", ".*.json", ".*.jsonl", ".*.yaml"):
                for file in folder.glob(pattern):
                    file.unlink(missing_ok=True)


def _read_found(path: Path) -> Found:
    try:
        return Found.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise CcdError(f"{path} is damaged.", "Start over with --overwrite.") from error


def choose_label_folder(
    recipe: LabelRecipe, out: str | None, overwrite: bool, only: Shard | None = None
) -> LabelFolder:
    """Return where labels go; raises UsageProblem where the folder holds something else, or labels of another recipe."""
    folder = LabelFolder(Path(out or recipe.out or Path("labels") / recipe.name), only)
    if folder.path.exists() and not folder.path.is_dir():
        raise UsageProblem(f"{folder.path} is a file, not a folder.", "Choose another --out.")
    foreign = folder.path.is_dir() and not all(p.name.startswith(_BEFORE_RECIPE) for p in folder.path.iterdir())
    if not folder.recipe.exists():  # looked for last: another process may have begun the folder just now
        if foreign:
            raise UsageProblem(f"{folder.path} is not empty and holds no labels.", "Choose another --out.")
        return folder
    try:
        old = read_yaml(folder.recipe)
    except RecipeError as error:
        raise CcdError(f"{folder.recipe} is damaged.", "Start over with --overwrite.") from error
    if not isinstance(old, dict) or old.get("task") != "label":
        raise UsageProblem(f"{folder.path} holds a training run, not labels.", "Choose another --out.")
    changed = [d for d in differences(_whole(old), recipe.model_dump(mode="json")) if not d[0].startswith(CHANGEABLE)]
    if changed and not overwrite:
        rows = "; ".join(f"{key}: {a} then, {b} now" for key, a, b in changed[:8])
        raise UsageProblem(
            f"{folder.path} was begun with another recipe ({rows}).",
            "Resume with the same recipe, or start over with --overwrite or another --out.",
        )
    return folder


def _whole(old: dict[str, Any]) -> dict[str, Any]:
    """A recipe as it was written, with the defaults of keys that it lacks; as it is where it is none any more."""
    try:
        return check_label_recipe(old, "").model_dump(mode="json")
    except RecipeError:
        return old


def is_finished(folder: LabelFolder, verify: bool) -> bool:
    """Return whether the index and every shard that it names exist, whole as `is_whole` says.

    Raises CcdError for a damaged index, or where `quality.jsonl` is not the one that it names.
    """
    if not folder.index.exists():
        return False
    index = read_index(folder.path)
    if index.quality_sha256 is not None and (
        not folder.quality.is_file() or sha256_of(folder.quality) != index.quality_sha256
    ):
        raise CcdError(f"{folder.quality} is damaged or gone.", "Restore it, or start over with --overwrite.")
    verify = verify or is_quick_to_verify(index)
    return all(is_whole(folder, shard, verify) for shard in index.shards)


def is_whole(folder: LabelFolder, shard: ShardFacts, verify: bool) -> bool:
    """Return whether a shard exists at its size and, with `verify`, has its hash."""
    path = folder.path / shard.file
    if not path.is_file() or path.stat().st_size != shard.bytes:
        return False
    return not verify or sha256_of(path) == shard.sha256


def retain_whole_shards(folder: LabelFolder, shards: Sequence[int], verify: bool, report: Report) -> list[int]:
    """Return which of `shards` are to be written; what is there of them and damaged is removed, with a warning.

    What the index says of the others goes to `written`, so that the index can go until it is written again; a process with a
    part of the work leaves it.
    """
    if folder.index.exists():
        known = dict(enumerate(read_index(folder.path).shards))
    else:
        known = {number: facts for number in shards if (facts := _written(folder, number)) is not None}
    verify = verify or sum(facts.bytes for facts in known.values()) <= QUICK_BYTES
    missing = []
    for number in shards:
        path = folder.shard(number)
        if number in known and is_whole(folder, known[number], verify):
            write_text(folder.written(number), to_json(known[number]).decode())
            continue
        if path.exists() and number in known:
            report.warn(f"{path} is damaged: it is made again.")
        path.unlink(missing_ok=True)
        folder.written(number).unlink(missing_ok=True)
        missing.append(number)
    if folder.only is None:
        folder.index.unlink(missing_ok=True)
    return missing


def written_facts(folder: LabelFolder, shards: Sequence[int]) -> list[ShardFacts]:
    """Return what is known of those of `shards` that are written, before the index is."""
    return [facts for number in shards if (facts := _written(folder, number)) is not None]


def _written(folder: LabelFolder, shard: int) -> ShardFacts | None:
    """Return what is known of a shard that an unfinished run wrote; None where nothing is."""
    try:
        return ShardFacts.model_validate_json(folder.written(shard).read_bytes())
    except (OSError, ValidationError):
        return None


def images_changed(recipe: LabelRecipe, folder: LabelFolder) -> bool:
    """Return whether the recipe's images are others than those of the labels; False where they cannot be listed."""
    try:
        now = open_images(recipe).source.digest
        then = parse_json(folder.state.read_text(encoding="utf-8"))["photos"]
    except (CcdError, OSError, ValueError, KeyError, TypeError):
        return False
    return bool(now != then)
