"""What a tracker is, and what it is told of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ccd_cli.config.distill import DistillRecipe

Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Subject:
    """What a tracker is told of a run: the recipe, where files may go, and the id of the run that is continued (None: new)."""

    recipe: DistillRecipe
    folder: Path
    identity: str | None


class Tracker(Protocol):
    """A run that is open in a tracker; every method may raise anything."""

    identity: str
    """What finds the run again on resume."""

    def log(self, values: dict[str, Any], step: int) -> None:
        """Take numbers, and images uint8 [H, W, 3], of a step; steps come in order, after a resume some of them again."""
        ...

    def close(self, status: Status) -> None:
        """End the run, or what of it was in this process."""
        ...


Opener = Callable[[Subject], Tracker]
