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


def find_weights(model: str) -> Path:
    """Return the weights of the catalog teacher `model`; `TeacherError` says what goes where if they are absent."""
    teacher = card(model)
    path = weights_path(teacher)
    if not path.exists() and teacher.path is not None:
        raise TeacherError(f"The weights of {teacher.name} are not where its card says: there is no {path}.")
    if not path.exists():
        consent = "" if teacher.commercial else " --allow-noncommercial"
        raise TeacherError(
            f"The weights of {teacher.name} are not on this machine: there is no {path}.",
            f"Get them from {teacher.url} with: ccd teachers pull {teacher.name}{consent}",
        )
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
