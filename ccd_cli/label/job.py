"""One labeling job: the recipe with everything that was resolved for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ccd_cli.config.label import LabelRecipe
from ccd_cli.core.errors import TrainingStopped, UsageProblem
from ccd_cli.core.files import write_json
from ccd_cli.label.folder import LabelFolder
from ccd_cli.label.plan import Plan
from ccd_cli.teachers.load import ModelRef


@dataclass
class LabelJob:
    """The recipe, the output folder, the plan, and for each teacher its weights, its precision and what runs it.

    `threads` read and encode images. `state` is what `label.json` holds: `teachers` in it are the facts (name, kind,
    license, hash of the weights) of each teacher that has been loaded, by its number as text.
    """

    recipe: LabelRecipe
    folder: LabelFolder
    plan: Plan
    references: list[ModelRef]
    precisions: list[str]
    runtimes: list[str]
    device: torch.device
    threads: int
    recipe_sha256: str
    state: dict[str, Any]

    def for_worker(self) -> LabelJob:
        """Return the job as another process needs it: without the list of images."""
        return replace(self, plan=self.plan.without_images())

    def teacher_name(self, teacher: int) -> str:
        """Return a teacher's name, with its number where two have the same."""
        names = [ref.name for ref in self.references]
        return names[teacher] if names.count(names[teacher]) == 1 else f"{names[teacher]} ({teacher + 1})"

    def check_teacher(self, teacher: int, facts: dict[str, Any]) -> None:
        """Raise UsageProblem where a loaded teacher is no longer what it was when its labels began."""
        before = self.state["teachers"].get(str(teacher))
        if before is not None and before != facts:
            raise UsageProblem(
                f"The weights of {facts['teacher']} have changed since labeling began.",
                "Restore them, or start over with --overwrite or another --out.",
            )

    def record_teacher(self, teacher: int, facts: dict[str, Any]) -> None:
        """Record a teacher's facts, once; raises UsageProblem where they are not those recorded before."""
        self.check_teacher(teacher, facts)
        if str(teacher) not in self.state["teachers"]:
            self.state["teachers"][str(teacher)] = facts
            write_json(self.folder.state, self.state)

    def check_unreadable(self, reasons: Mapping[str, str]) -> None:
        """Raise TrainingStopped when more than the allowed fraction of the images cannot be read (reason by path)."""
        total, limit = len(self.plan.images), self.recipe.images.max_skipped
        if len(reasons) > limit * total:
            raise TrainingStopped(
                f"{len(reasons)} of {total} images cannot be read, more than images.max_skipped {limit:.3g} allows: "
                f"{min(reasons.values())}, for instance.",
                "Remove them, or raise it: --set images.max_skipped=0.1",
            )
