"""`ccd completion`: what a shell needs to complete commands, options, recipes, models and run folders."""

from __future__ import annotations

from typing import Literal

import click

from ccd_cli.cli.options import Command, NearChoice, options_from
from ccd_cli.cli.screen import Screen

VARIABLE = "_CCD_COMPLETE"
"""The variable through which a shell asks the command for completions (click's protocol)."""
Shell = Literal["bash", "zsh", "fish"]
SHELLS: tuple[Shell, ...] = ("bash", "zsh", "fish")
_BEFORE_BASH = "COMP_WORDBREAKS=${COMP_WORDBREAKS//:}  # builtin:tiny is one word\n"


@click.command(cls=Command)
@click.argument("shell", type=NearChoice(SHELLS), metavar="SHELL")
@options_from(screen=Screen)
def command(shell: Shell, screen: Screen) -> None:
    """Print the completion script of a shell: commands, options, recipes, models, run folders.

    \b
    Once, for the shell that is open:
      eval "$(ccd completion bash)"
    For good:
      echo 'eval "$(ccd completion bash)"' >> ~/.bashrc
      echo 'eval "$(ccd completion zsh)"' >> ~/.zshrc     (after compinit)
      ccd completion fish > ~/.config/fish/completions/ccd.fish

    Example: ccd completion bash
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    from ccd_cli.cli.main import cli

    kinds = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    made = kinds[shell](cli, {}, "ccd", VARIABLE)
    script = made.source_template % made.source_vars()  # without `source`'s look at the bash of this machine
    click.echo((_BEFORE_BASH if shell == "bash" else "") + script, nl=False)
