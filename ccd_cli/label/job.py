"""One labeling job: the recipe with everything that was resolved for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.label import LabelRecipe
from ccd_cli.core.errors import TrainingStopped, UsageProblem
from ccd_cli.core.files import write_json
from ccd_cli.label.folder import LabelFolder
from ccd_cli.label.plan import Plan
from ccd_cli.teachers.load import ModelRef


@dataclass
class LabelJob:
    """The recipe, the output folder, the plan, and for each teacher its weights, its precision and what runs it.

    Of ground truth, the weights are those of the network that fills its holes, None where none does.

    `threads` read and encode images. `state` is what `label.json` holds: `teachers` in it are the facts (name, kind,
    license, hash of the weights) of each teacher that has been loaded, by its number as text.
    """

    recipe: LabelRecipe
    folder: LabelFolder
    plan: Plan
    references: list[ModelRef | None]
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
        entries = self.recipe.teachers
        names = [
            GROUND_TRUTH if ref is None or entry.model == GROUND_TRUTH else ref.name
            for entry, ref in zip(entries, self.references, strict=True)
        ]
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
            self._save()

    def list_unreadable(self, reasons: dict[str, str]) -> None:
        """Record the images that cannot be read (reason by path); raises as `check_unreadable`."""
        if self.folder.only is None:
            self.folder.write_unreadable(reasons)
        else:
            self._save(reasons)
        self.check_unreadable(reasons)

    def take_over_found(self) -> None:
        """Record what processes with --shard found out; such a process itself records only the teachers, to compare its own.

        Raises UsageProblem where the weights differ, and as `check_unreadable`.
        """
        unreadable: dict[str, str] = {}
        for found in self.folder.read_found():
            for number, facts in sorted(found.teachers.items()):
                self.record_teacher(int(number), facts.model_dump())
            unreadable |= found.unreadable
        if unreadable and self.folder.only is None:
            self.list_unreadable(self.folder.unreadable() | unreadable)

    def _save(self, unreadable: dict[str, str] | None = None) -> None:
        folder, teachers = self.folder, self.state["teachers"]
        if folder.only is None:
            write_json(folder.state, self.state)
        else:
            known = folder.unreadable() if unreadable is None else unreadable
            write_json(folder.found(folder.only), {"teachers": teachers, "unreadable": known})

    def check_unreadable(self, reasons: Mapping[str, str]) -> None:
        """Raise TrainingStopped when more than the allowed fraction of the images cannot be read (reason by path)."""
        total, limit = len(self.plan.images), self.recipe.images.max_skipped
        if len(reasons) > limit * total:
            raise TrainingStopped(
                f"{len(reasons)} of {total} images cannot be read, more than images.max_skipped {limit:.3g} allows: "
                f"{min(reasons.values())}, for instance.",
                "Remove them, or raise it: --set images.max_skipped=0.1",
            )
