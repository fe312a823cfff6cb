"""What Python callers hear: warnings as Python warnings, progress where they ask for it, errors without flags of the command."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ccd_cli.core.errors import CcdError, CcdWarning
from ccd_cli.core.report import Report, Silent

_FLAG = re.compile(r"(?<![\w-])--(?:no-)?([a-z][a-z0-9]*(?:-[a-z0-9]+)*)")
_COMMANDS = re.compile(r"\b(ccd|pip|torchrun) |--set\b")
_INSIDE = {"ccd_cli", "contextlib"}  # of the library, and the frames of its decorators


class Quiet(Silent):
    """A report that shows nothing; warnings become `CcdWarning`, which `warnings` filters as any other."""

    def warn(self, text: str) -> None:
        """Keep a warning, and give it to Python."""
        super().warn(text)
        warn(text)


def warn(text: str) -> None:
    """Give a warning to Python, as one of the line that called ccd."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(in_python(text), CcdWarning, stacklevel=level)


def report_for(progress: bool, downloads: bool = False) -> Report:
    """Return a report that is quiet, or the command's bars on stderr; `downloads` counts bytes."""
    if not progress:
        return Quiet()
    if downloads:
        from ccd_cli.terminal.download import DownloadReport

        return DownloadReport()
    from ccd_cli.terminal.report import RichReport

    return RichReport()


@contextmanager
def plain_errors() -> Iterator[None]:
    """Let errors speak of arguments, not of flags: `max_depth`, where the command line has `--max-depth`."""
    try:
        yield
    except CcdError as error:
        error.message, error.hint = in_python(error.message), in_python(error.hint)
        error.args = (error.message,)
        raise


def in_python(text: str) -> str:
    """Return a message with flags as names of arguments; one that quotes a command stays as it is."""
    return text if _COMMANDS.search(text) else _FLAG.sub(lambda found: found[1].replace("-", "_"), text)
