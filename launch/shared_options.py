"""Options and output that several subcommands share."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from collbench.collectives.errors import UsageError, printable
from collbench.collectives.options import RankCount

__all__ = ["DATA", "RANKS_HERE", "OutputFile", "RankList", "csv_option", "device_option", "domains_options",
           "json_option", "library_log_option", "log_options", "only_data_on_stdout", "report_on", "verbose_option",
           "warn", "write_points", "write_text"]

DATA = click.argument("data", type=click.Path(path_type=Path, exists=True))
RANKS_HERE = ("Ranks to start on this host, unless a launcher has started some.  [default: one per accelerator; on "
              "CPUs one per core, from 8 to 32]")


class OutputFile(click.Path):
    """An output file; checked for write access at once rather than after a long measurement."""

    def __init__(self, allow_dash: bool = False) -> None:
        super().__init__(path_type=Path, allow_dash=allow_dash, dir_okay=False, writable=True)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value if isinstance(value, Path) else str(value), param, ctx)))
        if self.allow_dash and str(path) == "-":
            return path
        try:
            path.lstat()
        except FileNotFoundError:
            above = next(folder for folder in path.absolute().parents if folder.exists())
            if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
                self.fail(f"{path}: {above} is not a writable directory", param, ctx)
        except OSError as error:
            self.fail(f"{path}: cannot be written: {error.strerror}", param, ctx)
        return path


_OUTPUT = OutputFile(allow_dash=True)


def json_option(words: str) -> Callable:
    """`--json FILE`, with `words` as its help."""
    return click.option("--json", "json_file", type=_OUTPUT, default=None, help=words)


def csv_option(words: str) -> Callable:
    """`--csv FILE`, with `words` as its help."""
    return click.option("--csv", "csv_file", type=_OUTPUT, default=None, help=words)


def library_log_option(command: Callable) -> Callable:
    """`--library-log` or `--no-library-log`, as `library_log`."""
    return click.option("--library-log/--no-library-log", default=True,
                        help="On accelerators, first start the ranks for a moment with the communication library's "
                             "own log, to record transports, channels and algorithms.")(command)


def device_option(command: Callable) -> Callable:
    """`--device TYPE`, of commands that do not have all measuring options."""
    return click.option("--device", default="auto", show_default=True, metavar="auto|cpu|TYPE",
                        help="Where the buffers are, as for collbench run.")(command)


def log_options(command: Callable) -> Callable:
    """What the user can add if a log does not contain it."""
    for option in (click.option("--log-op", default=None, metavar="NAME",
                                help="Operation, if the log does not name it."),
                   click.option("--log-ranks", type=RankCount(), default=None,
                                help="Rank count, if the log does not contain it.")):
        command = option(command)
    return command


def domains_options(command: Callable) -> Callable:
    """User's domains, the one that DATA was measured on, and its cards; parameters `file`, `measured_on`, `nic`."""
    for option in (click.option("--measured-on", default=None, metavar="NAME", help="Domain that DATA was measured on, "
                                "if DATA does not name its accelerator; `collbench domains` lists them."),
                   click.option("--nic", default=None, metavar="CARDS", help="Network cards of a host and the rate of "
                                "each, such as 8x400G, instead of those that the facts of the domain assume."),
                   click.option("--domain-file", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
                                default=None,
                                help="TOML file with additional domains, in the format of the shipped ones.")):
        command = option(command)
    return command


def verbose_option(command: Callable) -> Callable:
    """`-v` or `--verbose`, as `verbose`."""
    return click.option("-v", "--verbose", is_flag=True,
                        help="Print findings, predictions and tables before the ten lines of the answer.")(command)


class RankList(click.ParamType):
    """Comma-separated rank counts, sorted and without duplicates."""

    name = "N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            counts = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers such as 72,384", param, ctx)
        if counts[0] < 2 or counts[-1] > 1_000_000:
            self.fail(f"{value!r}: rank counts must be from 2 to 1000000", param, ctx)
        return counts


@contextmanager
def only_data_on_stdout(*files: Path | None) -> Iterator[None]:
    """If one of `files` is standard output, this process and those that it starts print to standard error instead.

    UsageError if several are: nobody could tell them apart.
    """
    wanted = [file for file in files if str(file) == "-"]
    if len(wanted) > 1:
        raise UsageError("standard output can take one of --json and --csv: give a file to the other")
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def report_on(data: Path, out: Path, verbose: bool = False) -> None:
    """Write the page on `data` into `out`, and print the answer; with `verbose` everything else before it."""
    from collbench.analysis.report.story import build_story
    from collbench.analysis.report.terminal import show
    from collbench.analysis.report.write import write_report
    story = build_story(data, page=True)
    page = write_report(story, out, warn)
    show(story, verbose=verbose, page=str(page))


def write_points(path: Path, json_file: Path | None, csv_file: Path | None) -> None:
    """Write the measured points of a run directory to the files that are not None."""
    if not (json_file or csv_file):
        return
    from collbench.analysis.frames.load import load
    points = load(path).points
    if json_file:
        from collbench.analysis.text.json_text import json_rows, json_text
        write_text(json_file, json_text("run", {"points": json_rows(points)}))
    if csv_file:
        from collbench.analysis.text.safe_csv import to_csv
        write_text(csv_file, to_csv(points))


def warn(words: str) -> None:
    """Print a line on standard error, with control characters from quoted files escaped."""
    click.echo(printable(f"collbench: {words}"), err=True)


def write_text(file: Path, text: str) -> None:
    """Write `text` to `file` (- is standard output) and create its directory. UsageError if that fails."""
    if str(file) == "-" and sys.stdout.isatty():
        text = printable(text, keep="\n")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with click.open_file(str(file), "w", encoding="utf-8") as stream:
            stream.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
