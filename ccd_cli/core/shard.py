"""`--shard I/N`: what one task of a scheduler's array job does of the work. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ccd_cli.core.errors import UsageProblem

MAX_SHARDS = 10_000
FINISH = "Finish with the same command without --shard."
_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `count`, counted from 1. Raises UsageProblem where there is none such."""

    number: int
    count: int

    def __post_init__(self) -> None:
        """Check the two numbers."""
        if not 1 <= self.number <= self.count <= MAX_SHARDS:
            raise _no_shard(str(self))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """The shard in a file's name: `2-of-8`."""
        return f"{self.number}-of-{self.count}"

    def of(self, items: Sequence[T]) -> list[T]:
        """Return every N-th of `items` from the I-th on: they follow from the list alone, not from what is finished."""
        return list(items[self.number - 1 :: self.count])


def shard_from(text: str) -> Shard:
    """Return the shard that `I/N` names; raises UsageProblem for anything else."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise _no_shard(text)
    return Shard(int(found[1]), int(found[2]))


def part_of(items: Sequence[T], shard: Shard | None) -> list[T]:
    """Return what a process does of `items`: all, or its shard."""
    return list(items) if shard is None else shard.of(items)


def refuse_overwrite(shard: Shard | None, overwrite: bool) -> None:
    """Raise UsageProblem for --shard with --overwrite."""
    if shard is not None and overwrite:
        raise UsageProblem(
            "--shard contradicts --overwrite: a shard that is repeated would redo what it has finished.",
            "Give a new --out, or run with --overwrite and without --shard.",
        )


def _no_shard(text: str) -> UsageProblem:
    return UsageProblem(
        f"--shard {text}: unknown shard.",
        f"It is I/N with I from 1 to N, and N at most {MAX_SHARDS}: --shard 2/8 (array jobs that count from 1).",
    )
