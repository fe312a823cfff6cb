"""Errors that library code raises and only the command line prints.

Every error carries one plain sentence (`message`) and, where there is something to do, a `hint`. The command line
prints `message` and `hint` on one line each and exits with `exit_code`; a traceback appears only with `CCD_DEBUG=1`.
"""

from __future__ import annotations

from typing import Any


class CcdError(Exception):
    """Something failed; `message` says what, `hint` says what to do. Exit code 1."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (type(self), self.args), self.__dict__  # errors cross processes, whatever their __init__ takes


def _same(kind: type[CcdError], args: tuple[Any, ...]) -> CcdError:
    """An error of a kind, before its attributes are set."""
    return kind.__new__(kind, *args)


class CcdWarning(UserWarning):
    """Something that may need the user: what a command prints as a warning is a Python warning in the Python API."""


def first_line(error: BaseException) -> str:
    """Return the first line of a foreign error, cut and without a full stop, or its type's name where it says nothing."""
    lines = str(error).strip().splitlines()
    return (lines[0][:160] if lines else type(error).__name__).rstrip(".")


class UsageProblem(CcdError):
    """The command or its inputs contradict each other. Exit code 2."""

    exit_code = 2


class ProcessLost(CcdError):
    """Another process of this run has ended or does not answer: what the matter is, that one says. Exit code 3 within a run."""

    exit_code = 3


class Unwritable(CcdError):
    """Nothing more can be written: the disk is full, read-only or failing. The rest of a batch would fail as well."""


class RecipeError(CcdError):
    """A recipe or another YAML file is invalid; `problems` lists all of them as (key path, what is wrong). Exit code 2."""

    exit_code = 2

    def __init__(self, source: str, problems: list[tuple[str, str]], what: str = "recipe") -> None:
        count = len(problems)
        super().__init__(f"{source}: {count} problem{'s' if count != 1 else ''} in the {what}.")
        self.source = source
        self.problems = problems

    def __str__(self) -> str:
        return "\n  ".join([super().__str__(), *(f"{path}: {problem}" for path, problem in self.problems)])


class CheckpointError(CcdError):
    """A weights file cannot be used: unreadable, unsafe, of an unknown layout, or with missing or extra tensors."""


class ImageError(CcdError):
    """An image or depth file cannot be read; the message names the file and the reason."""


class TeacherError(CcdError):
    """A teacher is unknown, not on this machine, or of a kind that this recipe cannot use."""


class UnknownModel(TeacherError):
    """A word that names no model, as a misspelt one. Exit code 2, as for every other word that names nothing."""

    exit_code = 2


class TrainingStopped(CcdError):
    """A guard stopped the run (drift, non-finite losses, too many unreadable photos); finished work is saved."""


class Interrupted(CcdError):
    """A signal stopped the run after its state was saved; exit code 130 (Ctrl-C) or 143 (SIGTERM)."""

    def __init__(self, message: str, hint: str = "", exit_code: int = 130) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
