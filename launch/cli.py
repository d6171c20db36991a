"""`collbench`: finds its subcommands, and turns errors into one line and an exit code; nothing else.

Exit status: 0 all well; 1 a result was wrong or a run failed; 2 what was asked for cannot be; 3 a rank hung, died or
failed and the job had to end, the case is in the journal and everything before it is safe; 124 out of time;
143 told to stop, everything saved.
"""

import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from collbench.collectives.errors import CollbenchError, UsageError, printable

from . import commands

__all__ = ["cli", "main"]

_LONGEST = 1500         # characters of an error; a list of all operations is shorter


class _Found(click.Group):
    """Subcommands are the modules of launch/commands, imported when they are asked for; import_ stands for import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name.rstrip("_") for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        name = next(module.name for module in pkgutil.iter_modules(commands.__path__)
                    if module.name.rstrip("_") == cmd_name)
        return import_module(f"{commands.__name__}.{name}").command


@click.group(cls=_Found, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="collbench")
def cli() -> None:
    """Measure the interconnect you have, and say with honest error bars what it means at 72 and at 384 accelerators.

    Start with: collbench bench
    """


def _check_text(words: Sequence[str]) -> None:
    """What is typed ends up in journals and scripts, which are UTF-8: say so before anything else is done."""
    for word in words:
        if any("\ud800" <= char <= "\udfff" for char in word):
            raise UsageError(f"{word!r:.80} in the command line is not UTF-8 text; a file can be given another name")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that a person can act on are one line."""
    try:
        words = sys.argv[1:] if arguments is None else list(arguments)
        _check_text(words)
        sys.exit(cli(args=words or ["--help"], prog_name="collbench", standalone_mode=False))
    except click.ClickException as error:
        asked = f" (see {error.ctx.command_path} --help)" if getattr(error, "ctx", None) else ""
        _say(f"{error.format_message()}{asked}")
        sys.exit(error.exit_code)
    except click.Abort:
        _say("interrupted")
        sys.exit(1)
    except CollbenchError as error:
        _say(str(error))
        sys.exit(error.exit_status)
    except BrokenPipeError:     # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(141)


def _say(words: str) -> None:
    """One line on standard error, however long and strange what it quotes."""
    words = printable(words)
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST - 200]} ... {words[-195:]}"
    click.echo(f"collbench: {words}", err=True)


if __name__ == "__main__":
    main()
