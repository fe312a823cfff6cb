"""Where the weights of a teacher are, or belong."""

from __future__ import annotations

import json
from pathlib import Path

from ccd_cli.core.errors import TeacherError
from ccd_cli.core.paths import cache_folder
from ccd_cli.teachers.registry import Card, card


def weights_path(teacher: Card) -> Path:
    """Return where a teacher's weights belong (a folder for whole repositories), there or not."""
    if teacher.path is not None:
        return teacher.path
    folder = cache_folder() / "teachers" / teacher.name
    return folder / Path(teacher.file).name if teacher.file else folder


class NotReady(TeacherError):
    """A model of the catalog lacks weights, a package, or both: `weights` (names) and `packages` ({package: extra}) say what."""

    def __init__(self, teacher: Card, package: str = "") -> None:
        path = weights_path(teacher)
        lacks_weights = not path.exists() and teacher.path is None
        self.weights = (teacher.name,) if lacks_weights else ()
        self.packages = {package: teacher.requires} if package else {}
        self.consent = lacks_weights and not teacher.commercial
        flag = " --allow-noncommercial" if self.consent else ""
        install = f'pip install -e ".[{teacher.requires}]"'
        pull = f"ccd teachers pull {teacher.name}{flag}"
        lacking = f"The weights of {teacher.name} are not on this machine: there is no {path}."
        if package and lacks_weights:
            super().__init__(f"{teacher.name} needs {package}. {lacking}", f"Get both with: {install} && {pull}")
        elif package:
            super().__init__(f"{teacher.name} needs {package}.", f"Install it with: {install}")
        else:
            super().__init__(lacking, f"Get them from {teacher.url} with: {pull}")


def find_weights(model: str) -> Path:
    """Return the weights of the catalog teacher `model`; `TeacherError` says what goes where if they are absent."""
    teacher = card(model)
    path = weights_path(teacher)
    if not path.exists() and teacher.path is not None:
        raise TeacherError(f"The weights of {teacher.name} are not where its card says: there is no {path}.")
    if not path.exists():
        raise NotReady(teacher)
    return path


def recorded_student(run: Path, otherwise: str) -> str:
    """Return the sha256 of the student that a finished run recorded in `run.json`; `otherwise` where nothing is recorded.

    "" for a record that is damaged.
    """
    try:
        return str(json.loads((run / "run.json").read_bytes())["files"]["student.safetensors"]["sha256"])
    except OSError:
        return otherwise
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
