"""The `collbench` command: finds its subcommands, and turns errors into one line and an exit status.

Exit status: 0 success; 1 a result was wrong or a run failed; 2 invalid request or environment, nothing was started;
3 a rank hung, died or failed and the job ended, with that case and everything before it in the journal; 4 a gate cannot
tell; 124 time limit reached; 130 (Ctrl-C) or 143 stopped by a signal, everything saved. 70 an internal error, 141 a
closed pipe.
"""

import errno
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from collbench.collectives.errors import CollbenchError, UsageError, printable, show_traceback

from . import commands

__all__ = ["cli", "main"]

# Titles of the help, by the SECTION of a command's module.
_SECTIONS = {"measure": "Measure", "read": "Read", "forecast": "Forecast", "gate": "Gate", "manage": "Manage"}
_INTERNAL_ERROR = 70    # EX_SOFTWARE; 1 would read as "slower" or "wrong"
_SIGPIPE = 13           # which Windows does not have
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)     # what is written to files is refused by name
_LONGEST = 1500         # characters of an error message; a list of all operations is shorter


class _ClosedPipeError(Exception):
    """The reader of our output has closed it. click would take a BrokenPipeError for itself, and exit with 1."""


class _SubcommandGroup(click.Group):
    """Subcommands are the modules of launch/commands, imported on demand; import_ stands for import.

    A module has `command` and SECTION, a key of _SECTIONS.
    """

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None,
                     **extra: Any) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:
            raise _ClosedPipeError from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ClosedPipeError from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Called by click for the help: the commands by section, each with its whole short help."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in _SECTIONS.values()}
        for name in self.list_commands(ctx):
            module = self._module(name)
            sections[_SECTIONS[module.SECTION]].append((name, module.command.short_help or ""))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context | None) -> list[str]:
        return sorted(module.name.rstrip("_") for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = self._module(cmd_name).command
        return command

    @staticmethod
    def _module(command: str) -> ModuleType:
        name = next(module.name for module in pkgutil.iter_modules(commands.__path__)
                    if module.name.rstrip("_") == command)
        return import_module(f"{commands.__name__}.{name}")


@click.group(cls=_SubcommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="collbench")
def cli() -> None:
    """Measure the interconnect at hand and predict its performance at 72 and 384 accelerators, with error bars.

    Start with: collbench bench
    """


def _check_text(words: Sequence[str]) -> None:
    """UsageError for arguments that are not UTF-8: they end up in journals and scripts, which are."""
    for word in words:
        if any("\ud800" <= char <= "\udfff" for char in word):
            raise UsageError(f"{word!r:.80} on the command line is not UTF-8 text; rename the file")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Errors are one line; COLLBENCH_TRACEBACK=1 adds where they were raised."""
    try:
        words = sys.argv[1:] if arguments is None else list(arguments)
        _check_text(words)
        status = cli(args=words or ["--help"], prog_name="collbench", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status)
    except click.Abort:
        _fail("interrupted", 128 + signal.SIGINT)
    except (BrokenPipeError, _ClosedPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)    # for what is left to flush
        sys.exit(128 + _SIGPIPE)
    except Exception as error:
        show_traceback(error)
        _fail(*_explained(error))


def _explained(error: Exception) -> tuple[str, int]:
    """One line about an error, and the exit status."""
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        return error.format_message() + (f" (see {context.command_path} --help)" if context else ""), error.exit_code
    if isinstance(error, CollbenchError):
        return str(error), error.exit_status
    if isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT_ERRORS:
        return f"standard output cannot be written: {error.strerror}", 1
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (f"internal error: {type(error).__name__}: {error} [{Path(where.filename).name}:{where.lineno}]; "
            "COLLBENCH_TRACEBACK=1 shows more"), _INTERNAL_ERROR


def _fail(text: str, status: int) -> None:
    """Exit with one line on standard error, shortened and with control characters escaped."""
    text = printable(text)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST - 200]} ... {text[-195:]}"
    click.echo(f"collbench: {text}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
