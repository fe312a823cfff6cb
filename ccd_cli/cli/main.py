"""The `ccd` command: a group whose commands load only when they are used, and the one place where errors are shown."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

import ccd_cli
from ccd_cli.cli.options import check_known
from ccd_cli.core.compute import memory_error
from ccd_cli.core.errors import CcdError, Interrupted, RecipeError, first_line
from ccd_cli.core.nearest import did_you_mean

GROUPS = {
    "Depth from images": {
        "predict": "Predict depth for images and videos, with point clouds.",
        "pointcloud": "Turn images and depth maps into colored point clouds.",
    },
    "Train a student": {
        "recipes": "List, show, explain, write and check recipes.",
        "label": "Write multi-teacher pseudo-labels into shards for training.",
        "distill": "Train a student by distillation from one or several teachers.",
    },
    "Look and measure": {
        "inspect": "One page of predictions, a run, labels or an evaluation; runs compared.",
        "eval": "Score models or predictions on datasets with ground-truth depth.",
        "data": "List, check and prepare the evaluation datasets.",
        "analyze": "Measure, before training, what label noise and teachers' errors cost.",
        "bench": "Measure speed, start, memory and error of every runtime.",
    },
    "Models": {
        "teachers": "List the model catalog; download, verify and remove weights.",
        "export": "Export a model for other software, checked there.",
    },
    "This installation": {
        "doctor": "Print versions, devices and cache folder, for bug reports.",
        "completion": "Print the completion script of a shell: bash, zsh, fish.",
    },
}
"""Commands by what one does with them, with their one-line help."""
COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}


NO_ARGUMENTS: tuple[type[click.UsageError], ...] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)])
)
"""How click of 8.2 and later shows the help of a command without arguments."""


class LazyGroup(click.Group):
    """A group that imports `ccd_cli.cli.<command>` when the command is looked up, and shows errors in one plain line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"ccd_cli.cli.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is typed; an unknown one is an error with the nearest names."""
        check_known(self, ctx, args)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands with their one-line help, importing none of them."""
        width = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), about) for name, about in group.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands with their one-line help, importing none of them, and the options of the group itself."""
        commands = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; library errors become one plain line and an exit code."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if isinstance(error, NO_ARGUMENTS):
                raise
            show_usage(error)
            ctx.exit(error.exit_code)
        except CcdError as error:
            if os.environ.get("CCD_DEBUG") == "1":
                traceback.print_exc()
            show(error)
            ctx.exit(error.exit_code)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            if os.environ.get("CCD_DEBUG") == "1":
                traceback.print_exc()
            name = f"{error.filename}: " if error.filename else ""
            show(CcdError(f"{name}{error.strerror or error}."))
            ctx.exit(1)


def show_usage(error: click.UsageError) -> None:
    """Print a mistake in the command line in the style of all errors, and where its help is."""
    where = error.ctx.command_path if error.ctx else "ccd"
    message = error.format_message().rstrip()
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        message = no_such_option(error.option_name, error.ctx)
    click.echo(
        f"ccd: error: {message}{'' if message.endswith(('.', '?', ')')) else '.'} Help: {where} --help", err=True
    )


def no_such_option(name: str, ctx: click.Context) -> str:
    """Return what is said of an option that a command does not have."""
    known = [flag for param in ctx.command.get_params(ctx) for flag in (*param.opts, *param.secondary_opts)]
    hint = did_you_mean(name, [flag for flag in known if flag.startswith("--")])
    return f"No such option '{name}'.{' ' + hint if hint else ''}"


def show(error: CcdError) -> None:
    """Print an error and its hint on stderr, without a traceback."""
    if isinstance(error, RecipeError):
        click.echo(f"ccd: error: {error.message}", err=True)
        for path, problem in error.problems:
            click.echo(f"  {path}: {problem}", err=True)
        return
    prefix = "" if isinstance(error, Interrupted) else "error: "
    click.echo(f"ccd: {prefix}{error.message}" + (f" {error.hint}" if error.hint else ""), err=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(ccd_cli.__version__, prog_name="ccd")
def cli() -> None:
    """Distill, evaluate and run monocular depth models.

    Example: ccd predict image.jpg
    """


def main() -> NoReturn:
    """Entry point of the `ccd` executable."""
    # Threads that wait spin by default, and spinning threads starve the photo threads and every other program: on two busy
    # cores a training step took 8 s instead of 0.4 s (tests/benchmarks/bench_wait_policy.py). Set before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = cli.main(prog_name="ccd", standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.Abort:
        click.echo("ccd: interrupted", err=True)
        code = 128 + signal.SIGINT
    except NO_ARGUMENTS as error:
        error.show()
        code = error.exit_code
    except click.UsageError as error:
        show_usage(error)
        code = error.exit_code
    except click.ClickException as error:
        show(CcdError(error.format_message()))
        code = error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    except Exception as error:
        if os.environ.get("CCD_DEBUG") == "1":
            raise
        if plain := memory_error(
            error, "Other programs may hold it; else lower --resolution or --batch, or use --device cpu."
        ):
            show(plain)
        else:
            text = f"{type(error).__name__}: {first_line(error)}"
            click.echo(f"ccd: error: {text}. This is a bug; CCD_DEBUG=1 shows where.", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
