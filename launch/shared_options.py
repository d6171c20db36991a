"""Options and output that several subcommands share."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR

import click
from click.shell_completion import CompletionItem

from collbench.collectives.cases.names import op_name
from collbench.collectives.errors import UsageError, printable
from collbench.collectives.option_groups import OUTPUT, RUN, SELECTION, WHAT, option
from collbench.collectives.option_types import BackendName, Operations, RankCount, Sizes

__all__ = ["DATA", "RANKS_HERE", "DomainNames", "OpNames", "OutputFile", "RankList",
           "backend_option", "csv_option", "device_option", "domain_file_option", "domains_options", "json_option",
           "library_log_option", "log_options", "only_data_on_stdout", "ops_option", "replace_text", "report_on",
           "sizes_option", "verbose_option", "warn", "write_bytes", "write_points", "write_text"]

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
            if S_ISDIR(path.stat().st_mode):        # also of an empty name; a loop of links has no end
                self.fail(f"{path}: a directory, not a file", param, ctx)
        except FileNotFoundError:
            above = next(folder for folder in path.absolute().parents if folder.exists())
            if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
                self.fail(f"{path}: {above} is not a writable directory", param, ctx)
        except OSError as error:
            self.fail(f"{path}: cannot be written: {error.strerror}", param, ctx)
        return path


_UNSTATED = "What DATA does not say"
_FILE = OutputFile(allow_dash=True)


def json_option(words: str) -> Callable:
    """`--json FILE`, with `words` as its help."""
    return option("--json", "json_file", group=OUTPUT, type=_FILE, default=None, help=words)


def csv_option(words: str) -> Callable:
    """`--csv FILE`, with `words` as its help."""
    return option("--csv", "csv_file", group=OUTPUT, type=_FILE, default=None, help=words)


def library_log_option(command: Callable) -> Callable:
    """`--library-log` or `--no-library-log`, as `library_log`."""
    return option("--library-log/--no-library-log", group=RUN, default=True,
                  help="On accelerators, first start the ranks for a moment with the communication library's own log, "
                       "to record transports, channels and algorithms.")(command)


def device_option(command: Callable) -> Callable:
    """`--device TYPE`, of commands that do not have all measuring options."""
    return option("--device", group=WHAT, default="auto", show_default=True, metavar="auto|cpu|TYPE",
                  help="Where the buffers are, as for collbench run.")(command)


def backend_option(command: Callable) -> Callable:
    """`--backend NAME`, of commands that do not have all measuring options."""
    return option("--backend", group=WHAT, type=BackendName(), default=None,
                  help="Backend of torch.distributed, as for collbench run.  [default: that of the device]")(command)


def ops_option(words: str) -> Callable:
    """`--ops NAME,...` of commands that read DATA, as a tuple `ops`, with `words` as its help."""
    return option("--ops", group=SELECTION, type=OpNames(), default=(), help=words)


def sizes_option(words: str) -> Callable:
    """`--sizes SIZE,...` of commands that read DATA, as a tuple `sizes` of bytes, with `words` as its help."""
    return option("--sizes", group=SELECTION, type=Sizes(), default=(), help=words)


def log_options(command: Callable) -> Callable:
    """What the user can add if a log does not contain it."""
    for decorate in (option("--log-op", group=_UNSTATED, default=None, metavar="NAME",
                            help="Operation, if the log does not name it."),
                     option("--log-ranks", group=_UNSTATED, type=RankCount(), default=None,
                            help="Rank count, if the log does not contain it.")):
        command = decorate(command)
    return command


def domains_options(command: Callable) -> Callable:
    """User's domains, the one that DATA was measured on, and its cards; parameters `file`, `measured_on`, `nic`."""
    for decorate in (domain_file_option,
                     option("--nic", group=_UNSTATED, default=None, metavar="CARDS",
                            help="Network cards of a host and the rate of each, such as 8x400G, instead of those that "
                                 "the facts of the domain assume."),
                     option("--measured-on", group=_UNSTATED, type=DomainNames("NAME"), default=None,
                            help="Domain that DATA was measured on, if DATA does not name its accelerator; `collbench "
                                 "domains` lists them.")):
        command = decorate(command)
    return command


def domain_file_option(command: Callable) -> Callable:
    """`--domain-file FILE`, as `file`."""
    return click.option("--domain-file", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
                        default=None,
                        help="TOML file with additional domains, in the format of the shipped ones.")(command)


def verbose_option(command: Callable) -> Callable:
    """`-v` or `--verbose`, as `verbose`."""
    return option("-v", "--verbose", group=OUTPUT, is_flag=True,
                  help="Print findings, predictions and tables before the ten lines of the answer.")(command)


class DomainNames(click.ParamType):
    """One or several names of domains, resolved by the command; the shell completes them."""

    def __init__(self, name: str = "NAME,...") -> None:
        self.name = name

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Short names of the shipped domains."""
        from collbench.analysis.domains.facts import load_domains
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{key}", help=domain.name) for key, domain in load_domains().items()
                if key.startswith(last)]


class OpNames(Operations):
    """Operations in DATA, or `all`, in any spelling; data may also have some that the catalog lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = {"all": ("all",)}

    def resolve(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it is stored."""
        return op_name(name)


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
        raise UsageError("only one output can be -, which is standard output: give a file to each other one")
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


def report_on(data: Path, out: Path | None, verbose: bool = False) -> None:
    """Write the page on `data` into `out`, if given; print the answer, and with `verbose` everything else before it."""
    from collbench.analysis.report.story import build_story
    from collbench.analysis.report.terminal import show
    from collbench.analysis.report.write import write_report
    story = build_story(data, page=out is not None)
    page = str(write_report(story, out, warn)) if out else ""
    show(story, verbose=verbose, page=page)


def write_points(path: Path, json_file: Path | None, csv_file: Path | None) -> None:
    """Write the measured points of a run directory to the files that are not None."""
    if not (json_file or csv_file):
        return
    from collbench.analysis.frames.load import load
    points = load(path).all_points
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
        name = "standard output" if str(file) == "-" else file
        raise UsageError(f"{name}: cannot be written: {error.strerror}") from None


def replace_text(file: Path, text: str) -> None:
    """Like `write_text`, for a file that others read at any time: they see the old one or the new one, whole."""
    if str(file) == "-":
        write_text(file, text)
        return
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write_text(draft, text)
        draft.replace(file)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def write_bytes(file: Path, content: bytes) -> None:
    """Write `content` to `file` and create its directory. UsageError if that fails."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
