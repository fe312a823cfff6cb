"""Options that commands of all kinds share: how much is printed, JSON, changes to a recipe."""

import json
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ccd_cli.core.options import option

if TYPE_CHECKING:
    from ccd_cli.terminal.report import RichReport


def command_line() -> str:
    """Return the command as typed, for reports."""
    return shlex.join(["ccd", *sys.argv[1:]])


@dataclass(frozen=True, kw_only=True)
class Screen:
    """How much a command prints."""

    verbose: bool = option(False, "Print more detail.", "Other", flags="-v --verbose")
    quiet: bool = option(False, "Print only warnings and errors.", "Other", flags="-q --quiet")

    def report(self) -> "RichReport":
        """Return the report that shows progress and notes on stderr."""
        from ccd_cli.terminal.report import RichReport

        return RichReport(quiet=self.quiet, verbose=self.verbose)

    def download_report(self) -> "RichReport":
        """Return a report whose progress is counted in bytes."""
        from ccd_cli.terminal.download import DownloadReport

        return DownloadReport(quiet=self.quiet, verbose=self.verbose)


@dataclass(frozen=True, kw_only=True)
class JsonScreen(Screen):
    """The same for a command whose result is also there as JSON."""

    as_json: bool = option(False, "Print the result as one JSON document on stdout.", "Output", flags="--json")

    def document(self, value: Any) -> None:
        """Print the result on stdout, if that was asked for."""
        if self.as_json:
            from ccd_cli.core.files import plain

            click.echo(json.dumps(plain(value), indent=2, allow_nan=False))


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """Changes to a recipe."""

    overrides: tuple[str, ...] = option(
        (), "Override a recipe key; repeatable.", "Input", flags="--set", metavar="KEY.PATH=VALUE"
    )


@dataclass(frozen=True, kw_only=True)
class RecipeChanges(Overrides):
    """What a command that runs a recipe does with it first."""

    dry_run: bool = option(False, "Print the resolved recipe and exit.", "Other")
